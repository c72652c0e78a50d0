"""Gathering and spreading bits, against loops over bits; and streams of bits against a plain integer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.distill import cascade_words as kernels

WORD = st.integers(0, 2**64 - 1)


def slow_gather(x, mask):
    bits = [x >> i & 1 for i in range(64) if mask >> i & 1]
    return sum(bit << i for i, bit in enumerate(bits))


@given(WORD, WORD)
def test_portable_gather_and_spread_undo_each_other(x, mask):
    packed = kernels.gather_portable(np.uint64(x), np.uint64(mask))
    assert packed == slow_gather(x, mask)
    assert kernels.spread_portable(np.uint64(packed), np.uint64(mask)) == x & mask


def test_the_instructions_do_what_the_loops_do():
    from numba import njit

    @njit
    def run(x, mask):
        return (
            kernels.gather(x, mask),
            kernels.spread(x, mask),
            kernels.count(x),
            kernels.trailing_zeros(x),
            kernels.leading_zeros(x),
        )

    rng = np.random.default_rng(1)
    for x, mask in rng.integers(1, 2**64, (300, 2), np.uint64):
        number = int(x)
        assert run(x, mask) == (
            slow_gather(number, int(mask)),
            kernels.spread_portable(x, mask),
            number.bit_count(),
            (number & -number).bit_length() - 1,
            64 - number.bit_length(),
        )


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_of_bits_comes_back(seed):
    rng = np.random.default_rng(seed)
    words, at, whole, parts = np.zeros(60, np.uint64), 0, 0, []
    for n in rng.integers(1, 65, 50).tolist():
        value = int(rng.integers(0, 2**64, dtype=np.uint64)) & ((1 << n) - 1)
        kernels.put(words, at, np.uint64(value), n)
        parts.append((at, n, value))
        whole |= value << at
        at += n
    assert int.from_bytes(words.tobytes(), "little") == whole
    assert all(int(kernels.take(words, at, n)) & ((1 << n) - 1) == value for at, n, value in parts)
