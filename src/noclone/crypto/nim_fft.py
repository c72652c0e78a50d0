"""Additive FFT over nimbers: from coefficients to values at N points and back, on vectors of nimbers.

A coefficient, or value, is a "point" of 64 bytes (`crypto.nim_simd`): sixteen independent transforms over the nimbers
below 2^32 run side by side, and as all N <= 2^16 first points lie below 2^16, 2^8 .. so do most twiddles.

The points are omega_i = sum of beta_j over the bits j of i (`nimbers.point`). Coefficients belong to the basis of Lin,
Chung and Han ("Novel polynomial basis and its application to Reed-Solomon erasure codes", FOCS 2014): X_i is the
product of s_j over the bits j of i, where s_0(x) = x and s_(j+1) = s_j^2 + s_j vanishes on the first 2^(j+1) points;
X_i has degree i. Because s_j(beta_j) = 1 in a Cantor basis, no scaling is left, and the twiddle of block b is
omega_(2b) at every level. N need not be a power of two: the first N values of a polynomial of degree below N are
turned back into its coefficients as in van der Hoeven's truncated transform (ISSAC 2004; Coxon 2018 for this basis).

The kernels take rows of some `width` of points alike, and a block's number, so that a large transform can be cut into
rows and columns that stay near the processor (`crypto.nim_product`). What they share is inlined by Numba: compiled on
its own and linked, each would be optimised again for each user, which makes the first run slow.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from noclone.crypto import nimbers
from noclone.crypto.gf512_simd import multiply_points
from noclone.crypto.nim_simd import (
    add_multiple,
    clear_points,
    copy_points,
    two_levels_8,
    two_levels_8_back,
    two_levels_16,
    two_levels_16_back,
    two_levels_32,
    two_levels_32_back,
)

MAX_LOG2 = 24
_ROW_LOG2 = 12  # no row or column is longer: omega_(2b) is kept for b < 2^(12 - 1)
_NUMBERS = 64 + (1 << _ROW_LOG2 - 1)

Points = NDArray[np.uint64]  # shape (n, 8)


@lru_cache(maxsize=1)
def tables() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return products of bytes and with 128, as `nim_simd` looks them up, and omega_(2b) behind 64 other numbers.

    Number j < 32 is beta_(j+1), number 32 + j is 2^j times 2^15.
    """
    products = np.zeros((256, 256), np.uint8)
    for i in range(8):
        row = np.zeros(256, np.uint8)
        for j in range(8):
            row[1 << j : 2 << j] = row[: 1 << j] ^ np.uint8(nimbers.multiply(1 << i, 1 << j))
        products[1 << i : 2 << i] = products[: 1 << i] ^ row
    entries = np.hstack([products[:, :16], products[:, ::16]])
    numbers = np.zeros(_NUMBERS, np.int64)
    betas = nimbers.cantor_basis()
    numbers[:31] = betas[1:]
    numbers[32:48] = [nimbers.multiply(1 << j, 1 << 15) for j in range(16)]
    for j in range(_ROW_LOG2 - 1):
        numbers[64 + (1 << j) : 64 + (2 << j)] = numbers[64 : 64 + (1 << j)] ^ betas[j + 1]
    return np.concatenate([entries.ravel(), products[128]]), numbers


@njit(inline="always")
def _sum_of(numbers, start, bits):  # type: ignore[no-untyped-def]
    """Return the sum of the numbers that a set of bits names."""
    total = 0
    place = start
    rest = bits
    while rest:
        if rest & 1:
            total ^= numbers[place]
        rest >>= 1
        place += 1
    return total


@njit(inline="always")
def _down(simd, at, levels, block, width, n_out, numbers, table):  # type: ignore[no-untyped-def]
    """Transform block `block` of 2^levels rows of `width` points; only the first n_out rows are needed.

    A number of levels that is odd needs block 0, whose first twiddle is zero.
    """
    level = levels
    if level & 1:
        level -= 1
        add_multiple(simd, at + (width << level) * 64, at, table, width << level, 1)
    while level >= 2:
        high = _sum_of(numbers, 0, block << (levels - level))
        low = _sum_of(numbers, 0, block << (levels - level + 1))
        quarter = width << (level - 2)
        for j in range((n_out + (1 << level) - 1) >> level):
            w, w0 = high ^ numbers[64 + j], low ^ numbers[64 + 2 * j]
            w1 = w0 ^ numbers[0]
            rows = at + 256 * j * quarter
            if (w | w0 | w1) < 256:
                two_levels_8(simd, rows, quarter * 64, table, quarter, w, w0, w1)
            elif (w | w0 | w1) < 65536:
                two_levels_16(simd, rows, quarter * 64, table, quarter, w, w0, w1)
            else:
                z, z0, z1 = (
                    _sum_of(numbers, 32, w >> 16),
                    _sum_of(numbers, 32, w0 >> 16),
                    _sum_of(numbers, 32, w1 >> 16),
                )
                two_levels_32(simd, rows, quarter * 64, table, quarter, w, w0, w1, z, z0, z1)
        level -= 2


@njit(inline="always")
def _up(simd, at, levels, block, width, numbers, table):  # type: ignore[no-untyped-def]
    """Undo `_down`, for any block, all of whose rows are known."""
    level = 2
    while level <= levels:
        high = _sum_of(numbers, 0, block << (levels - level))
        low = _sum_of(numbers, 0, block << (levels - level + 1))
        quarter = width << (level - 2)
        for j in range(1 << (levels - level)):
            w, w0 = high ^ numbers[64 + j], low ^ numbers[64 + 2 * j]
            w1 = w0 ^ numbers[0]
            rows = at + 256 * j * quarter
            if (w | w0 | w1) < 256:
                two_levels_8_back(simd, rows, quarter * 64, table, quarter, w, w0, w1)
            elif (w | w0 | w1) < 65536:
                two_levels_16_back(simd, rows, quarter * 64, table, quarter, w, w0, w1)
            else:
                z, z0, z1 = (
                    _sum_of(numbers, 32, w >> 16),
                    _sum_of(numbers, 32, w0 >> 16),
                    _sum_of(numbers, 32, w1 >> 16),
                )
                two_levels_32_back(simd, rows, quarter * 64, table, quarter, w, w0, w1, z, z0, z1)
        level += 2
    if levels & 1:
        n = width << (levels - 1)
        add_multiple(simd, at + n * 64, at, table, n, 1)
        add_multiple(simd, at, at + n * 64, table, n, _sum_of(numbers, 0, block))


@njit(inline="always")
def _up_truncated(simd, start, levels, first, width, known, numbers, table):  # type: ignore[no-untyped-def]
    """Turn rows that are values in the first `known`, coefficients in the others, into coefficients.

    Halves are done from the largest down: a whole left half is transformed, and tells what the right half's known
    coefficients make of it; if less than half is known, the right half is, and only the left half is left to do. All
    twiddles but those in `_up` lie below 256 if `known` is a multiple of 1/16 of all.
    """
    row = width * 64
    at, level, block, n_known, depth = start, levels, first, known, 0
    while n_known:
        whole = n_known == 1 << level
        if not whole:
            level -= 1
            block *= 2
            depth += 1
            right = at + (row << level)
            beyond = (1 << level) - n_known
            if beyond > 0:
                w = _sum_of(numbers, 0, block >> 1)
                add_multiple(simd, at + n_known * row, right + n_known * row, table, beyond * width, w)
                continue
        _up(simd, at, level, block, width, numbers, table)
        if whole:
            break
        n_known += -1 << level
        add_multiple(simd, right + n_known * row, at + n_known * row, table, ((1 << level) - n_known) * width, 1)
        at = right
        block += 1
    for _ in range(depth):
        n = width << level
        if block & 1:
            add_multiple(simd, at, at - n * 64, table, n, 1)
            at -= n * 64
        block >>= 1
        add_multiple(simd, at, at + n * 64, table, n, _sum_of(numbers, 0, block))
        level += 1


@njit(cache=True, nogil=True)
def down(simd, at, levels, block, width, n_in, n_out, strip, near, numbers, table):  # type: ignore[no-untyped-def]
    """Turn the coefficients of block `block`, 2^levels rows of `width` points, into values.

    Only the first n_in rows are not zero, and only the first n_out values of each column are asked for. The work is
    done where it lies if `near` is 0; else `strip` columns at a time are copied there.
    """
    for start in range(0, width, strip):
        place = at
        if near:
            place = near
            for row in range(n_in):
                copy_points(simd, near + row * strip * 64, at + (row * width + start) * 64, strip)
            clear_points(simd, near + n_in * strip * 64, ((1 << levels) - n_in) * strip)
        _down(simd, place, levels, block, strip, n_out, numbers, table)
        if near:
            for row in range(n_out):
                copy_points(simd, at + (row * width + start) * 64, near + row * strip * 64, strip)


@njit(cache=True, nogil=True)
def up(simd, at, levels, block, width, n_known, strip, near, numbers, table):  # type: ignore[no-untyped-def]
    """Turn values back into coefficients; rows from n_known on hold coefficients that are zero, or lie in no memory."""
    for start in range(0, width, strip):
        place = at
        if near:
            place = near
            for row in range(n_known):
                copy_points(simd, near + row * strip * 64, at + (row * width + start) * 64, strip)
            clear_points(simd, near + n_known * strip * 64, ((1 << levels) - n_known) * strip)
        _up_truncated(simd, place, levels, block, strip, n_known, numbers, table)
        if near:
            for row in range(n_known):
                copy_points(simd, at + (row * width + start) * 64, near + row * strip * 64, strip)


@njit(cache=True, nogil=True)
def multiply_tiles(simd, at, log2_tile, block, n, partners, numbers, table):  # type: ignore[no-untyped-def]
    """Turn n blocks of coefficients into values, multiply these by their partners, and turn them back."""
    for i in range(n):
        place = at + (i << log2_tile) * 64
        _down(simd, place, log2_tile, block + i, 1, 1 << log2_tile, numbers, table)
        multiply_points(simd, place, partners + (i << log2_tile) * 64, 1 << log2_tile)
        _up(simd, place, log2_tile, block + i, 1, numbers, table)


@njit(cache=True, nogil=True)
def multiply_values(simd, at, n, partners):  # type: ignore[no-untyped-def]
    """Multiply n values, a multiple of 4, by their partners."""
    multiply_points(simd, at, partners, n)
