"""The polynomial hash, against big integers, and its collision bound, against counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.bits import words_from_bytes
from noclone.crypto import gf128
from noclone.crypto.polynomial_hash import collision_bound, digest, tag_bits_for

KEY = bytes(range(1, 17))


def slow_digest(data, n_bits, key, tag_bits):
    message = int.from_bytes(data, "little") & ((1 << n_bits) - 1)
    h, total = int.from_bytes(key, "little"), 0
    for i in range(-(-n_bits // 128)):
        total = gf128.multiply(total ^ (message >> 128 * i) & gf128.MASK, h)
    total = gf128.multiply(total ^ n_bits, h)
    return (total & ((1 << tag_bits) - 1)).to_bytes((tag_bits + 7) // 8, "little")


@settings(deadline=None)
@given(st.binary(max_size=800), st.binary(min_size=16, max_size=16), st.integers(1, 128), st.data())
def test_agrees_with_big_integers(data, key, tag_bits, draw):
    n_bits = draw.draw(st.integers(0, 8 * len(data)))
    assert digest(data, n_bits, key, tag_bits) == slow_digest(data, n_bits, key, tag_bits)


@pytest.mark.parametrize("n_blocks", [0, 1, 14, 15, 16, 17, 30, 31, 32, 33, 47, 48, 64])
@pytest.mark.parametrize("extra_bits", [-1, 0, 1])
def test_agrees_around_every_step(n_blocks, extra_bits):
    n_bits = max(0, 128 * n_blocks + extra_bits)
    data = np.random.default_rng(n_blocks).bytes(16 * n_blocks + 16)
    assert digest(data, n_bits, KEY, 128) == slow_digest(data, n_bits, KEY, 128)


def test_words_and_bytes_give_the_same_tag():
    data = np.random.default_rng(1).bytes(1000)
    assert digest(words_from_bytes(data), 7997, KEY, 64) == digest(data, 7997, KEY, 64)
    assert digest(memoryview(data)[3:], 7000, KEY, 64) == digest(data[3:], 7000, KEY, 64)


def test_bits_behind_the_end_do_not_count_but_the_length_does():
    assert digest(b"\xff\x07", 11, KEY, 128) == digest(b"\xff\xff", 11, KEY, 128)
    tags = {digest(bytes(64), n_bits, KEY, 128) for n_bits in range(513)}
    assert len(tags) == 513


def test_xor_universal_for_every_key_of_a_small_subfield():
    # Keys from the subfield GF(2^8) are the roots that a polynomial of low degree can have there: no difference of two
    # messages of M blocks may be hit by more than M + 1 of them.
    generator = gf128.power(2, ((1 << 128) - 1) // 255)
    subfield = [0, *(gf128.power(generator, i) for i in range(255))]
    assert len(set(subfield)) == 256
    rng = np.random.default_rng(5)
    for n_blocks in (1, 2, 5):
        one, other = rng.bytes(16 * n_blocks), rng.bytes(16 * n_blocks)
        hits = {}
        for h in subfield:
            key = h.to_bytes(16, "little")
            pair = zip(digest(one, 128 * n_blocks, key, 128), digest(other, 128 * n_blocks, key, 128), strict=True)
            difference = bytes(a ^ b for a, b in pair)
            hits[difference] = hits.get(difference, 0) + 1
        assert max(hits.values()) <= n_blocks + 1


def test_the_bound_is_reached_by_a_message_with_all_its_roots():
    # The product of (h - r) over M roots is a difference of two messages that collide under exactly these keys and 0.
    roots = [3, 5, 7, 11]
    coefficients = [1]
    for r in roots:
        shifted = [*coefficients, 0]
        for i, c in enumerate(coefficients):
            shifted[i + 1] ^= gf128.multiply(c, r)
        coefficients = shifted
    # The hash multiplies it by h^2, for the last power is the length's, which is the same in both.
    data = b"".join(c.to_bytes(16, "little") for c in coefficients)
    zero = bytes(len(data))
    for r in [*roots, 0]:
        key = r.to_bytes(16, "little")
        assert digest(data, 8 * len(data), key, 128) == digest(zero, 8 * len(data), key, 128)
    assert digest(data, 8 * len(data), KEY, 128) != digest(zero, 8 * len(data), KEY, 128)


def test_collision_bound_and_tag_length_agree():
    assert collision_bound(128, 64) == 2 * 2.0**-64
    assert collision_bound(129, 64) == 3 * 2.0**-64
    assert collision_bound(10**6, 1) == 1.0
    for n_bits, epsilon in [(10**5, 1e-10), (10**6, 1e-15), (10**9, 1e-15), (1, 0.5)]:
        tag_bits = tag_bits_for(n_bits, epsilon)
        assert collision_bound(n_bits, tag_bits) <= epsilon
        assert tag_bits == 1 or collision_bound(n_bits, tag_bits - 1) > epsilon


def test_what_cannot_be_hashed_is_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        digest(b"abc", 24, b"short", 64)
    with pytest.raises(ValueError, match="1 to 128"):
        digest(b"abc", 24, KEY, 129)
    with pytest.raises(ValueError, match="do not lie"):
        digest(b"abc", 25, KEY, 64)
    with pytest.raises(ValueError, match="no tag"):
        tag_bits_for(10**9, 1e-38)
    with pytest.raises(ValueError, match="between 0 and 1"):
        tag_bits_for(10**9, 0.0)
