"""The one-time pad against its definition, written out byte by byte."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.poly1305 import Poly1305
from hypothesis import given
from hypothesis import strategies as st

from noclone.crypto.one_time_pad import KEY_BYTES, OneTimePad, erase, pad_bytes
from noclone.errors import AuthenticationError, KeysExhausted


@given(st.binary(max_size=200), st.binary(max_size=50), st.integers(0, 20))
def test_it_is_shannons_pad_and_a_tag_over_all(message: bytes, header: bytes, spare: int) -> None:
    pad = os.urandom(pad_bytes(len(message)) + spare)
    ciphertext, tag = OneTimePad(pad).seal(header, message)
    assert ciphertext == bytes(m ^ p for m, p in zip(message, pad[KEY_BYTES:], strict=False))
    assert tag == Poly1305.generate_tag(pad[:KEY_BYTES], len(header).to_bytes(8, "big") + header + ciphertext)
    assert OneTimePad(pad).open(header, ciphertext, tag) == message


@given(st.binary(min_size=1, max_size=60), st.binary(max_size=20), st.data())
def test_any_flipped_bit_is_refused(message: bytes, header: bytes, data: st.DataObject) -> None:
    pad = os.urandom(pad_bytes(len(message)))
    ciphertext, tag = OneTimePad(pad).seal(header, message)
    whole = bytearray(header + ciphertext + tag)
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    middle, end = len(header), len(header) + len(ciphertext)
    with pytest.raises(AuthenticationError):
        OneTimePad(pad).open(bytes(whole[:middle]), bytes(whole[middle:end]), bytes(whole[end:]))


def test_bytes_cannot_move_between_header_and_ciphertext() -> None:
    pad = os.urandom(100)
    ciphertext, tag = OneTimePad(pad).seal(b"head", b"a message")
    with pytest.raises(AuthenticationError):
        OneTimePad(pad).open(b"head" + ciphertext[:1], ciphertext[1:], tag)


def test_a_pad_is_used_once() -> None:
    pad = OneTimePad(os.urandom(64))
    ciphertext, tag = pad.seal(b"", b"once")
    assert pad.spent
    for again in (lambda: pad.seal(b"", b"once"), lambda: pad.open(b"", ciphertext, tag)):
        with pytest.raises(KeysExhausted, match="twice"):
            again()


def test_a_failed_opening_spends_it_too() -> None:
    pad = OneTimePad(os.urandom(64))
    with pytest.raises(AuthenticationError):
        pad.open(b"", b"forged", bytes(16))
    assert pad.spent


@pytest.mark.parametrize("n_bytes", [0, 1, KEY_BYTES - 1])
def test_a_pad_must_at_least_key_the_tag(n_bytes: int) -> None:
    with pytest.raises(KeysExhausted):
        OneTimePad(os.urandom(n_bytes))


def test_a_short_pad_seals_nothing_and_is_gone() -> None:
    pad = OneTimePad(os.urandom(KEY_BYTES + 4))
    with pytest.raises(KeysExhausted, match="too short"):
        pad.seal(b"", b"12345")
    assert pad.spent


def test_an_erased_pad_is_refused() -> None:
    secret = bytearray(os.urandom(64))
    erase(secret)
    assert secret == bytes(64)
    with pytest.raises(KeysExhausted, match="erased"):
        OneTimePad(secret)
    pad = OneTimePad(os.urandom(64))
    pad.erase()
    with pytest.raises(KeysExhausted):
        pad.seal(b"", b"")


def test_it_does_not_show_itself() -> None:
    secret = os.urandom(64)
    pad = OneTimePad(secret)
    assert secret.hex() not in repr(pad)
    assert repr(secret) not in repr(pad) + repr(vars(pad).keys())
