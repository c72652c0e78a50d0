"""Counts of bits and streams of bits, against plain integers."""

import numpy as np
import pytest

from noclone.distill import cascade_words as kernels


def test_bits_are_counted():
    from numba import njit

    @njit
    def run(x):
        return kernels.count(x), kernels.trailing_zeros(x), kernels.leading_zeros(x)

    for x in np.random.default_rng(1).integers(1, 2**64, 300, np.uint64) >> np.arange(300, dtype=np.uint64) % 64:
        number = int(x)
        if number:
            expected = number.bit_count(), (number & -number).bit_length() - 1, 64 - number.bit_length()
            assert run(x) == expected


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
