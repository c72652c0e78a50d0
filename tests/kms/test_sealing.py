"""Names of keys, and the seal that they lie under in a key store."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.errors import StoreError
from noclone.kms.keys import Span, direction_of, key_id_of
from noclone.kms.sealing import Sealer, encode, load_kek

KEK = bytes(range(32))


@given(st.text(max_size=20), st.integers(0, 1 << 40), st.integers(0, 1), st.integers(0, 1 << 30))
def test_key_ids_are_version_8_uuids_and_depend_on_every_part(link: str, block: int, way: int, first: int) -> None:
    identifier = uuid.UUID(key_id_of(Span(link, block, first, 1), way))
    assert identifier.version == 8
    assert identifier.variant == uuid.RFC_4122
    others = {
        key_id_of(Span(link + "x", block, first, 1), way),
        key_id_of(Span(link, block + 1, first, 1), way),
        key_id_of(Span(link, block, first + 1, 1), way),
        key_id_of(Span(link, block, first, 1), 1 - way),
    }
    assert len(others) == 4
    assert str(identifier) not in others
    assert str(identifier) == key_id_of(Span(link, block, first, 9), way)


def test_directions_are_opposite_at_the_two_ends() -> None:
    assert direction_of("alder", "birch") == 0
    assert direction_of("birch", "alder") == 1


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_different_lists_never_encode_alike(first: list[bytes], second: list[bytes]) -> None:
    assert (encode(*first) == encode(*second)) == (first == second)


def test_a_sealed_secret_opens_only_as_what_it_is() -> None:
    sealer = Sealer(KEK, "store-1")
    sealed = sealer.seal(b"secret", "key", "id-1", "birch", "slave")
    assert sealer.open(sealed, "key", "id-1", "birch", "slave") == b"secret"
    assert sealer.seal(b"secret", "key", "id-1", "birch", "slave") != sealed
    for context in (
        ("key", "id-2", "birch", "slave"),
        ("key", "id-1", "cedar", "slave"),
        ("key", "id-1", "birch", "x"),
    ):
        with pytest.raises(StoreError):
            sealer.open(sealed, *context)
    with pytest.raises(StoreError):
        Sealer(KEK, "store-2").open(sealed, "key", "id-1", "birch", "slave")
    with pytest.raises(StoreError):
        sealer.open(sealed[:11], "key", "id-1", "birch", "slave")


def test_a_key_encryption_key_must_be_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    with pytest.raises(StoreError, match="cannot be read"):
        load_kek(path)
    path.write_text(KEK.hex() + "\n")
    path.chmod(0o640)
    with pytest.raises(StoreError, match="others than its owner"):
        load_kek(path)
    path.chmod(0o600)
    assert load_kek(path) == KEK
    path.write_text(KEK.hex()[:-2])
    with pytest.raises(StoreError, match="64 hexadecimal digits") as short:
        raise_hint(lambda: load_kek(path))
    assert KEK.hex()[:16] not in str(short.value)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(StoreError):
        load_kek(link)


def raise_hint(call: Callable[[], object]) -> None:
    try:
        call()
    except StoreError as error:
        raise StoreError(f"{error.message}; {error.hint}") from None
