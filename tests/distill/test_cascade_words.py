"""Counts of bits and streams of bits, against plain integers."""

import numpy as np
import pytest

from noclone.bits import unpack
from noclone.distill import cascade_words as kernels


def test_bits_are_counted():
    from numba import njit

    @njit
    def run(x):
        return kernels.count(x), kernels.trailing_zeros(x)

    for x in np.random.default_rng(1).integers(1, 2**64, 300, np.uint64) >> np.arange(300, dtype=np.uint64) % 64:
        number = int(x)
        if number:
            expected = number.bit_count(), (number & -number).bit_length() - 1
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


def test_memory_is_read_and_written_by_address():
    from numba import njit

    @njit
    def read(at):
        return kernels.load(at), kernels.load_int(at), kernels.load_short(at), kernels.load_byte(at)

    @njit
    def write(at, value):
        kernels.prefetch(at)
        kernels.store(at, value)
        kernels.store_int(at + 8, value)
        kernels.store_byte(at + 12, value)

    row = np.random.default_rng(3).integers(128, 256, 64, np.uint8)
    for i in range(9):  # aligned or not
        raw = row[i : i + 8].tobytes()
        expected = [int.from_bytes(raw[:n], "little", signed=n > 2) for n in (8, 4, 2, 1)]
        assert read(row.ctypes.data + i) == tuple(expected)
    before = row.copy()
    write(row.ctypes.data + 5, -0x0123456789ABCDEF)
    number = (-0x0123456789ABCDEF).to_bytes(8, "little", signed=True)
    assert row.tobytes() == before[:5].tobytes() + number + number[:4] + number[:1] + before[18:].tobytes()


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 300])
def test_bits_become_bytes_and_bytes_bits(n):
    words = np.random.default_rng(n).integers(0, 2**64, 6, np.uint64)
    row = np.full(6 * 64, 9, np.uint8)
    kernels.bytes_of_bits(words.ctypes.data, n, row.ctypes.data)
    written = 64 * -(-n // 64)
    assert row[:written].tolist() == unpack(words, written).tolist()
    assert (row[written:] == 9).all()
    back = np.full(6, 7, np.uint64)
    kernels.bits_of_bytes(row.ctypes.data, n, back.ctypes.data)
    assert unpack(back, n).tolist() == unpack(words, n).tolist()
    if n % 64:
        assert int(back[n // 64]) >> n % 64 == 0
    assert (back[-(-n // 64) :] == 7).all()


def test_transposing_turns_rows_into_columns():
    a = np.random.default_rng(6).integers(0, 2**64, 64, np.uint64)
    before = a[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    kernels.transpose64(a)
    assert np.array_equal(a[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1), before.T)
