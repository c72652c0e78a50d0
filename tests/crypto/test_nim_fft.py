"""The transform over nimbers, against the definition and a slow transform; and the cut of large ones into rows."""

import numpy as np
import pytest

from noclone.crypto import nim_fft, nim_product
from noclone.crypto.nim_simd import MATRICES
from noclone.crypto.nimbers import multiply, point
from noclone.crypto.vectors import SIMD

TABLE, NUMBERS = (array.ctypes.data for array in nim_fft.tables())


def random_points(n, seed=1):
    return np.random.default_rng(seed).integers(0, 2**64, (n, 8), np.uint64)


def nimbers_of(points):
    """Return the sixteen nimbers of each point: its quarters hold their bytes 0, 2, 1 and 3."""
    quarters = points.view(np.uint8).reshape(-1, 4, 16).astype(np.int64)
    return quarters[:, 0] | quarters[:, 2] << 8 | quarters[:, 1] << 16 | quarters[:, 3] << 24


def x_at(i, place):
    """Evaluate X_i by its definition: the product of s_j(place) over the bits j of i."""
    product, s = 1, place
    for j in range(i.bit_length()):
        if i >> j & 1:
            product = multiply(product, s)
        s = multiply(s, s) ^ s
    return product


def slow_down(values, levels, block):
    x = list(values)
    for level in range(levels, 0, -1):
        half = 1 << level - 1
        for b in range(1 << levels - level):
            w = point(2 * ((block << levels - level) + b))
            for i in range(2 * half * b, 2 * half * b + half):
                x[i] ^= multiply(x[i + half], w)
                x[i + half] ^= x[i]
    return x


def down(points, levels, block=0, width=1, n_out=None):
    n = 1 << levels if n_out is None else n_out
    nim_fft.down(SIMD, points.ctypes.data, levels, block, width, 1 << levels, n, width, 0, NUMBERS, TABLE)


def up(points, levels, block=0, width=1, n_known=None):
    n = 1 << levels if n_known is None else n_known
    nim_fft.up(SIMD, points.ctypes.data, levels, block, width, n, width, 0, NUMBERS, TABLE)


def test_matrices_multiply_as_the_processor_reads_them():
    """Intel's definition: bit i of the result is the parity of the byte and byte 7 - i of the matrix."""
    table, _ = nim_fft.tables()
    matrices = table[MATRICES:].reshape(256, 8)
    for factor in (0, 1, 2, 3, 77, 128, 254, 255):
        for x in range(256):
            bits = [int(matrices[factor, 7 - i] & x).bit_count() & 1 for i in range(8)]
            assert sum(bit << i for i, bit in enumerate(bits)) == multiply(factor, x)


def test_down_evaluates_in_the_novel_basis():
    for i in [0, 1, 2, 3, 7, 8, 15, 21, 31]:
        unit = np.zeros((32, 8), np.uint64)
        unit[i, 0] = 1
        down(unit, 5)
        assert list(nimbers_of(unit)[:, 0]) == [x_at(i, point(j)) for j in range(32)]
        assert not nimbers_of(unit)[:, 1:].any()


# Blocks whose twiddles lie below 2^8, across 2^8, below 2^16, across 2^16 (three of their levels), beyond it.
@pytest.mark.parametrize(
    ("levels", "block"), [(5, 0), (4, 7), (4, 9), (4, 5000), (4, 1 << 13), (2, 1 << 15), (6, 12345), (4, 99_999)]
)
def test_down_and_up_agree_with_the_slow_transform(levels, block):
    a = random_points(1 << levels)
    before, start = a.copy(), nimbers_of(a)
    down(a, levels, block)
    found = nimbers_of(a)
    for column in (0, 7, 15):
        assert slow_down(start[:, column].tolist(), levels, block) == found[:, column].tolist()
    up(a, levels, block)
    assert np.array_equal(a, before)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("levels", [4, 5, 6])
def test_as_many_values_as_coefficients_suffice(levels, width):
    for n in range(1, (1 << levels) + 1):
        a = np.zeros((width << levels, 8), np.uint64)
        a[: n * width] = random_points(n * width, n)
        before = a.copy()
        down(a, levels, 0, width, n)
        a[n * width :] = 0
        up(a, levels, 0, width, n)
        assert np.array_equal(a, before)


# From the smallest up, at the edges between whole columns and strips, with twiddles below 2^8, 2^16 and beyond.
@pytest.mark.parametrize(
    ("n_in", "n_points"),
    [
        (1, 16),
        (9, 20),
        (20, 32),
        (33, 64),
        (40, 104),
        (700, 1280),
        (8192, 8192),
        (3001, 3 << 12),
        (5000, 16 << 10),
        (2, 9 << 13),
    ],
)
def test_rows_and_columns_make_no_difference(n_in, n_points):
    k = (n_points - 1).bit_length()
    whole = np.zeros((1 << k, 8), np.uint64)
    whole[:n_in] = random_points(n_in)
    partners = random_points(n_points, 2)
    with nim_product.workspace(n_points) as work:
        assert not work.any()
        work[:n_in] = whole[:n_in]
        nim_product.multiply(work, n_in, n_points, partners.view(np.uint8).reshape(-1))
        found = work[:n_points].copy()
    assert not work.any()
    # The twin does all columns where they lie, then all rows, and tiles nothing
    rows = whole.reshape(-1, 1 << min(k, 12), 8)
    if k > 12:
        down(whole, k - 12, 0, 1 << 12)
    for block, row in enumerate(rows):
        down(row, min(k, 12), block)
    nim_fft.multiply_values(SIMD, whole.ctypes.data, n_points, partners.ctypes.data)
    whole[n_points:] = 0
    if k > 12:
        assert n_points % 4096 == 0
        for block in range(n_points >> 12):
            up(rows[block], 12, block)
        up(whole, k - 12, 0, 1 << 12, n_points >> 12)
    else:
        up(whole, k, 0, 1, n_points)
    assert np.array_equal(found, whole[:n_points])


def test_two_users_of_one_thread_do_not_share_an_array():
    with nim_product.workspace(64) as first:
        first[:] = 1
        with nim_product.workspace(64) as second:
            assert not second.any()
            assert not np.shares_memory(first, second)
    assert not first.any()
    with nim_product.workspace(16) as again:
        assert not again.any()
