"""Tags of a transcript: against big integers, in pieces of any size, each once; and that lengths count."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.crypto import gf128
from noclone.crypto.transcript_hash import TranscriptTags, transcript_forgery_bound
from noclone.errors import AuthenticationError

KEYS = bytes(range(32)), bytes(range(100, 132))


def slow_tag(data, keys, end):
    h = int.from_bytes(keys[0][:16], "little")
    padded = data + bytes(-(len(data) + 16) % 256) + len(data).to_bytes(16, "little")
    total = 0
    for i in range(0, len(padded), 16):
        total = gf128.multiply(total ^ int.from_bytes(padded[i : i + 16], "little"), h)
    return (total ^ int.from_bytes(keys[end][16:], "little")).to_bytes(16, "little")


def tags_of(*pieces, keys=KEYS):
    tags = TranscriptTags(keys)
    for piece in pieces:
        tags.update(piece)
    return tags


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.binary(max_size=700), max_size=6),
    st.tuples(*[st.binary(min_size=32, max_size=32)] * 2),
    st.binary(max_size=40),
    st.sampled_from([0, 1]),
)
def test_agrees_with_big_integers_however_it_is_cut(pieces, keys, more, end):
    assert tags_of(*pieces, keys=keys).tag(end, more) == slow_tag(b"".join(pieces) + more, keys, end)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 239, 240, 241, 255, 256, 257, 495, 496, 497, 512, 5000])
def test_agrees_around_every_stripe(length):
    data = bytes(i * 7 & 255 for i in range(length))
    assert tags_of(data).tag(0) == slow_tag(data, KEYS, 0)
    half = tags_of(memoryview(bytearray(data))[: length // 2])
    half.update(data[length // 2 :])
    assert half.tag(1) == slow_tag(data, KEYS, 1)


def test_the_vectors_of_the_documentation():
    assert tags_of(b"noclone").tag(0).hex() == "c5eeb69b7f4f68f491e5daf558807369"
    assert tags_of(bytes(range(250)) * 4).tag(1).hex() == "3bb31e695e8902eeb9ca5eace9e13a8b"


def test_both_ends_tag_their_own_place_in_one_transcript():
    tags = tags_of(b"hello")
    first = tags.tag(0, b"header")
    assert first == slow_tag(b"helloheader", KEYS, 0)  # what came with the tag is not in the transcript
    tags.update(first)
    assert tags.tag(1) == slow_tag(b"hello" + first, KEYS, 1)
    assert tags.spent(0)
    assert tags.spent(1)


def test_a_tag_serves_once_and_only_what_was_said():
    other = tags_of(b"hello", b" bob")
    other.verify(0, slow_tag(b"hello bob!", KEYS, 0), b"!")
    with pytest.raises(AuthenticationError, match="twice"):
        other.tag(0)
    with pytest.raises(AuthenticationError, match="does not fit"):
        other.verify(1, slow_tag(b"hello eve", KEYS, 1))
    with pytest.raises(AuthenticationError, match="twice"):
        other.verify(1, slow_tag(b"hello bob", KEYS, 1))


def test_a_secret_that_repeats_itself_still_hashes():
    keys = KEYS[0], KEYS[0]
    assert tags_of(b"hello", keys=keys).tag(0) != tags_of(b"hallo", keys=keys).tag(0)


def test_zeros_behind_a_message_make_another_one():
    assert len({tags_of(bytes(n)).tag(0) for n in range(600)}) == 600


def test_forgotten_keys_tag_nothing():
    tags = tags_of(b"hello")
    tags.erase()
    assert (tags.spent(0), tags.spent(1)) == (True, True)
    with pytest.raises(AuthenticationError):
        tags.tag(0)
    with pytest.raises(ValueError, match="32 bytes"):
        TranscriptTags((b"short", bytes(32)))


@pytest.mark.parametrize(("length", "log2"), [(0, -124), (240, -124), (241, -123), (1 << 20, -111.9999)])
def test_the_bound_counts_blocks(length, log2):
    assert transcript_forgery_bound(length) == pytest.approx(2.0**log2, rel=1e-3)
    assert transcript_forgery_bound(1 << 140) == 1.0


def test_the_bound_is_met_by_a_polynomial_with_all_its_roots_in_a_subfield():
    """Keys of GF(2^8): no difference of two messages of 16 blocks is hit by more than 16 of the 256."""
    generator = gf128.power(2, ((1 << 128) - 1) // 255)
    subfield = [0, *(gf128.power(generator, i) for i in range(255))]
    one, other = bytes(range(240)), bytes(reversed(range(240)))
    hits: dict[bytes, int] = {}
    for h in subfield:
        keys = h.to_bytes(16, "little") + bytes(16), bytes(32)
        a, b = tags_of(one, keys=keys).tag(0), tags_of(other, keys=keys).tag(0)
        difference = bytes(x ^ y for x, y in zip(a, b, strict=True))
        hits[difference] = hits.get(difference, 0) + 1
    assert max(hits.values()) <= 16
