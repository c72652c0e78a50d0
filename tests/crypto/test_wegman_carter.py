"""One-time tags: the RFC's vectors, the bound, and that a key serves once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.crypto.wegman_carter import KEY_BYTES, TAG_BYTES, OneTimeKey, forgery_bound
from noclone.errors import AuthenticationError

# RFC 8439, section 2.5.2, and vectors 1 and 11 of appendix A.3.
VECTORS = [
    (
        "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
        b"Cryptographic Forum Research Group".hex(),
        "a8061dc1305136c6c22b8baf0c0127a9",
    ),
    ("00" * 32, "00" * 64, "00" * 16),
    (
        "0100000000000000040000000000000000000000000000000000000000000000",
        "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000",
        "13000000000000000000000000000000",
    ),
]


def poly1305(key: bytes, message: bytes) -> bytes:
    """RFC 8439, section 2.5.1, in big integers."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(key[16:], "little")
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at : at + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + s) % 2**128).to_bytes(16, "little")


@pytest.mark.parametrize(("key", "message", "tag"), VECTORS)
def test_rfc_8439_vectors(key, message, tag):
    tagger = OneTimeKey(bytes.fromhex(key)).tagger()
    tagger.update(bytes.fromhex(message))
    assert tagger.tag().hex() == tag


@given(key=st.binary(min_size=32, max_size=32), pieces=st.lists(st.binary(max_size=50), max_size=6))
def test_pieces_make_the_tag_of_the_whole(key, pieces):
    tagger = OneTimeKey(key).tagger()
    for piece in pieces:
        tagger.update(piece)
    assert tagger.length_bytes == len(b"".join(pieces))
    assert tagger.tag() == poly1305(key, b"".join(pieces))


@given(data=st.data())
def test_any_changed_byte_is_refused(data):
    key, message = b"k" * KEY_BYTES, data.draw(st.binary(min_size=1, max_size=80))
    maker = OneTimeKey(key).tagger()
    maker.update(message)
    whole = bytearray(message + maker.tag())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    checker = OneTimeKey(key).tagger()
    checker.update(bytes(whole[:-TAG_BYTES]))
    with pytest.raises(AuthenticationError):
        checker.verify(bytes(whole[-TAG_BYTES:]))


def test_a_key_gives_one_tagger_and_a_tagger_one_tag():
    key = OneTimeKey(b"k" * KEY_BYTES)
    tagger = key.tagger()
    with pytest.raises(AuthenticationError):
        key.tagger()
    tagger.tag()
    for again in (tagger.tag, lambda: tagger.verify(b"t" * TAG_BYTES), lambda: tagger.update(b"x")):
        with pytest.raises(AuthenticationError):
            again()


def test_a_failed_check_spends_the_tagger():
    tagger = OneTimeKey(b"k" * KEY_BYTES).tagger()
    with pytest.raises(AuthenticationError):
        tagger.verify(b"t" * TAG_BYTES)
    assert tagger.spent


def test_the_key_shows_nowhere_and_must_have_its_length():
    assert b"k" * 8 not in repr(OneTimeKey(b"k" * KEY_BYTES)).encode()
    with pytest.raises(ValueError, match="32 bytes"):
        OneTimeKey(b"short")


@pytest.mark.parametrize(("length", "log2"), [(1 << 10, -97), (1 << 16, -91), (1 << 20, -87), (1 << 24, -83)])
def test_forgery_bound_is_bernsteins(length, log2):
    # 8 ceil(L / 16) / 2^106: exact powers of two for these lengths.
    assert forgery_bound(length) == 2.0**log2
    assert forgery_bound(0) > 0
    assert forgery_bound(1 << 110) == 1.0
