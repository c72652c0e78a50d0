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


@pytest.mark.parametrize("variant", kernels.variants_here())
def test_bits_are_gathered_and_scattered_by_a_mask(variant):
    from numba import njit

    @njit
    def run(token, x, mask):
        return kernels.gather_bits(token, x, mask), kernels.scatter_bits(token, x, mask)

    rng = np.random.default_rng(2)
    masks = rng.integers(0, 2**64, 200, np.uint64) & rng.integers(0, 2**64, 200, np.uint64)
    masks[:4] = 0, 2**64 - 1, 1 << 63, 1
    for x, mask in zip(rng.integers(0, 2**64, 200, np.uint64), masks, strict=True):
        places = [i for i in range(64) if int(mask) >> i & 1]
        gathered = sum((int(x) >> place & 1) << i for i, place in enumerate(places))
        scattered = sum((int(x) >> i & 1) << place for i, place in enumerate(places))
        assert run(kernels.token(variant), x, mask) == (gathered, scattered)


def test_appended_bits_overwrite_what_was_there():
    rng = np.random.default_rng(5)
    words, bits = rng.integers(0, 2**64, 4, np.uint64), rng.integers(0, 2, 150)
    for at, bit in enumerate(bits):
        kernels.append(words, at, np.uint64(bit))
    assert int.from_bytes(words[:3].tobytes(), "little") == sum(int(bit) << i for i, bit in enumerate(bits))


def test_transposing_turns_rows_into_columns():
    a = np.random.default_rng(6).integers(0, 2**64, 64, np.uint64)
    before = a[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    kernels.transpose64(a)
    assert np.array_equal(a[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1), before.T)
