from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.crypto.combiners import MODES, Mode, Transcript, combine, encode, named, qkd_bytes
from noclone.errors import InputError

SAID = Transcript(b"offer", b"answer")
SECRETS = (b"x" * 32, b"m" * 32)
N = 96


def qkd(mode: Mode) -> bytes | None:
    return None if mode == "kem" else bytes(i % 251 + 1 for i in range(qkd_bytes(mode, N)))


def block(mode: Mode, **changed: Any) -> bytes:
    parts = {"qkd": qkd(mode), "secrets": SECRETS, "transcript": SAID, **changed}
    return bytes(combine(mode, parts["qkd"], parts["secrets"], parts["transcript"], N).key)


@pytest.mark.parametrize("mode", MODES)
def test_both_ends_get_the_same_block_and_tags(mode: Mode) -> None:
    one, two = (combine(mode, qkd(mode), SECRETS, SAID, N) for _ in range(2))
    assert one.key == two.key
    assert len(one.key) == N
    assert len({bytes(one.key[i : i + 32]) for i in range(0, N, 32)}) == N // 32
    assert (one.initiator_tag, one.target_tag) == (two.initiator_tag, two.target_tag)
    assert one.initiator_tag != one.target_tag  # or an attacker could send a tag back to whom it came from


@pytest.mark.parametrize("mode", MODES)
def test_every_part_matters(mode: Mode) -> None:
    seen = {block(mode)}
    for secrets in ((b"y" * 32, SECRETS[1]), (SECRETS[0], b"n" * 32), SECRETS[::-1], (*SECRETS, b"h" * 32)):
        seen.add(block(mode, secrets=secrets))
    for transcript in (
        Transcript(b"offe", b"ranswer"),
        Transcript(b"offer", b"answes"),
        Transcript(b"answer", b"offer"),
    ):
        seen.add(block(mode, transcript=transcript))
    ours = qkd(mode)
    if ours is not None:
        for at in (0, 33, N - 1):
            other = bytearray(ours)
            other[at] ^= 1
            seen.add(block(mode, qkd=bytes(other)))
        assert len(seen) == 11
    else:
        assert len(seen) == 8


def test_the_modes_have_nothing_in_common() -> None:
    blocks = [block(mode) for mode in MODES]
    assert len({chunk for one in blocks for chunk in (one[:32], one[32:64])}) == 8


@pytest.mark.parametrize("mode", ["everlasting", "catkdf", "caskdf"])
def test_the_tags_take_key_of_their_own(mode: Mode) -> None:
    ours = qkd(mode)
    assert ours is not None
    other = bytearray(ours)
    other[N] ^= 1  # a bit that keys the initiator's tag and that is not clamped
    one, two = combine(mode, ours, SECRETS, SAID, N), combine(mode, bytes(other), SECRETS, SAID, N)
    assert one.key == two.key
    assert one.initiator_tag != two.initiator_tag
    assert one.target_tag == two.target_tag


@pytest.mark.parametrize("mode", ["everlasting", "catkdf", "caskdf"])
def test_ends_with_different_qkd_key_have_different_tags(mode: Mode) -> None:
    other = bytearray(qkd(mode) or b"")
    other[5] ^= 1
    one, two = combine(mode, qkd(mode), SECRETS, SAID, N), combine(mode, bytes(other), SECRETS, SAID, N)
    assert one.initiator_tag != two.initiator_tag
    assert one.target_tag != two.target_tag


def test_everlasting_is_an_xor_with_the_qkd_key() -> None:
    """For an attacker who knows all KEM secrets the block is as uniform as the QKD key: a bijection of it."""
    one, two = bytearray(qkd("everlasting") or b""), bytearray(os.urandom(qkd_bytes("everlasting", N)))
    first, second = (combine("everlasting", bytes(key), SECRETS, SAID, N).key for key in (one, two))
    assert bytes(a ^ b for a, b in zip(first, second, strict=True)) == bytes(
        a ^ b for a, b in zip(one[:N], two[:N], strict=True)
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("secrets", [(), (b"",), (b"", b"m" * 32), (b"x" * 32, b""), (b"x" * 31,), (b"x" * 33,)])
def test_a_missing_or_empty_secret_is_an_error(mode: Mode, secrets: tuple[bytes, ...]) -> None:
    with pytest.raises(InputError, match="secret"):
        block(mode, secrets=secrets)


@pytest.mark.parametrize("mode", ["everlasting", "catkdf", "caskdf"])
def test_a_missing_short_or_erased_qkd_key_is_an_error(mode: Mode) -> None:
    for wrong in (None, b"", bytes(qkd(mode) or b"")[:-1], bytes(qkd(mode) or b"") + b"\1"):
        with pytest.raises(InputError, match="QKD key"):
            block(mode, qkd=wrong)
    with pytest.raises(InputError, match="zeros only"):
        block(mode, qkd=bytes(qkd_bytes(mode, N)))


def test_the_mode_without_qkd_takes_none() -> None:
    for wrong in (b"", b"q" * N):
        with pytest.raises(InputError, match="takes 0 bytes"):
            block("kem", qkd=wrong)


def test_an_unknown_mode_or_an_odd_length_is_refused() -> None:
    with pytest.raises(InputError, match="no combiner"):
        combine("xor", qkd("catkdf"), SECRETS, SAID, N)  # type: ignore[arg-type]
    for n_bytes in (0, -32, 33):
        with pytest.raises(InputError, match="multiple of 32"):
            combine("kem", None, SECRETS, SAID, n_bytes)


@pytest.mark.parametrize("said", [(b"", b"answer"), (b"offer", b"")])
def test_a_transcript_has_both_messages(said: tuple[bytes, bytes]) -> None:
    with pytest.raises(InputError, match="offer and an answer"):
        Transcript(*said)


NAMES = {"key_ID": "1", "master": "a", "slaves": ["b", "c"], "role": "master"}


def test_a_named_key_is_bound_to_each_name() -> None:
    value = os.urandom(64)
    seen = {named(value, NAMES)}
    for changed in (
        {"key_ID": "2"},
        {"master": "b"},
        {"slaves": ["b"]},
        {"slaves": ["bc"]},
        {"slaves": ["c", "b"]},
        {"role": "slave"},
    ):
        seen.add(named(value, {**NAMES, **changed}))
    seen.add(named(value[:-1] + bytes([value[-1] ^ 1]), NAMES))
    assert len(seen) == 8
    assert {len(one) for one in seen} == {64}


@pytest.mark.parametrize("missing", NAMES)
def test_an_empty_name_is_an_error(missing: str) -> None:
    for empty in ("", [], [""], b""):
        with pytest.raises(InputError, match=f"'{missing}' is empty"):
            named(b"v" * 32, {**NAMES, missing: empty})


def test_an_empty_value_is_an_error() -> None:
    with pytest.raises(InputError, match="missing or empty"):
        named(b"", NAMES)


def test_long_keys_are_named_whole() -> None:
    value = os.urandom(30_000)
    key = named(value, NAMES)
    assert len(key) == 30_000
    assert key[:64] != named(value[:64], NAMES)
    assert len({key[i : i + 32] for i in range(0, 29_984, 32)}) == 937


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=4, unique_by=lambda t: t[0]))
def test_encoding_has_one_reading(pairs: list[tuple[str, str]]) -> None:
    data, names = encode(dict(pairs)), {}
    count, data = int.from_bytes(data[:4]), data[4:]

    def take() -> str:
        nonlocal data
        size = int.from_bytes(data[:4])
        text, data = data[4 : 4 + size], data[4 + size :]
        return text.decode()

    for _ in range(count):
        name = take()
        assert int.from_bytes(data[:4]) == 1
        data = data[4:]
        names[name] = take()
    assert not data
    assert names == dict(pairs)
