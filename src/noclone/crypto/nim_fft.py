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
    FIRST_CARRIED,
    FIRST_TWIDDLE,
    add_multiple,
    add_points,
    clear_points,
    copy_points,
    two_levels,
    two_levels_back,
)
from noclone.kernels import kernel

_ROW_LOG2 = 12  # no row or column is longer: omega_(2b) is kept for b < 2^(12 - 1)

Points = NDArray[np.uint64]  # shape (n, 8)


@lru_cache(maxsize=1)
def tables() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return what `nim_simd` reads of products of bytes, and omega_(2b) behind 64 other numbers.

    The former: products with halves of a byte, with 128, and as matrices. Number j < 32 is beta_(j+1), number 32 + j is
    2^j times 2^15.
    """
    products = np.zeros((256, 256), np.uint8)
    for i in range(8):
        row = np.zeros(256, np.uint8)
        for j in range(8):
            row[1 << j : 2 << j] = row[: 1 << j] ^ np.uint8(nimbers.multiply(1 << i, 1 << j))
        products[1 << i : 2 << i] = products[: 1 << i] ^ row
    entries = np.hstack([products[:, :16], products[:, ::16]])
    betas = nimbers.cantor_basis()
    twiddles = np.zeros(1 << _ROW_LOG2 - 1, np.int64)
    for j in range(_ROW_LOG2 - 1):
        twiddles[1 << j : 2 << j] = twiddles[: 1 << j] ^ betas[j + 1]
    numbers = np.zeros(FIRST_TWIDDLE, np.int64)
    numbers[:31] = betas[1:]
    numbers[FIRST_CARRIED : FIRST_CARRIED + 16] = [nimbers.multiply(1 << j, 1 << 15) for j in range(16)]
    numbers = np.concatenate([numbers, twiddles])
    return np.concatenate([entries.ravel(), products[128], _matrices(products).ravel()]), numbers


def _matrices(products: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the matrix of a product with each byte, 8 rows each, the last one first, as GF2P8AFFINEQB wants them.

    Bit j of row i is bit i of the product with 2^j (Intel SDM volume 2, GF2P8AFFINEQB).
    """
    columns = products[:, 1 << np.arange(8)]  # of each factor the products with 2^j
    bits = columns[:, None, :] >> np.arange(7, -1, -1)[None, :, None] & 1
    return np.packbits(bits.astype(np.uint8), axis=2, bitorder="little")[:, :, 0]


@njit(inline="always")
def _down(simd, at, levels, block, width, n_out, numbers, table):  # type: ignore[no-untyped-def]
    """Transform block `block` of 2^levels rows of `width` points; only the first n_out rows are needed.

    A number of levels that is odd needs block 0, whose first twiddle is zero.
    """
    level = levels
    if level & 1:
        level -= 1
        add_points(simd, at + (width << level) * 64, at, width << level)
    while level >= 2:
        n = (n_out + (1 << level) - 1) >> level
        two_levels(simd, at, width << (level - 2), n, block << (levels - level), numbers, table)
        level -= 2


@njit(inline="always")
def _up(simd, at, levels, block, width, numbers, table):  # type: ignore[no-untyped-def]
    """Undo `_down`, for any block, all of whose rows are known."""
    level = 2
    while level <= levels:
        n = 1 << (levels - level)
        two_levels_back(simd, at, width << (level - 2), n, block << (levels - level), numbers, table)
        level += 2
    if levels & 1:
        n = width << (levels - 1)
        add_points(simd, at + n * 64, at, n)
        add_multiple(simd, at, at + n * 64, n, block, numbers, table)


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
                n = beyond * width
                add_multiple(simd, at + n_known * row, right + n_known * row, n, block >> 1, numbers, table)
                continue
        _up(simd, at, level, block, width, numbers, table)
        if whole:
            break
        n_known += -1 << level
        add_points(simd, right + n_known * row, at + n_known * row, ((1 << level) - n_known) * width)
        at = right
        block += 1
    for _ in range(depth):
        n = width << level
        if block & 1:
            add_points(simd, at, at - n * 64, n)
            at -= n * 64
        block >>= 1
        add_multiple(simd, at, at + n * 64, n, block, numbers, table)
        level += 1


@kernel
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


@kernel
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


@kernel
def multiply_tiles(simd, at, log2_tile, block, n, partners, numbers, table):  # type: ignore[no-untyped-def]
    """Turn n blocks of coefficients into values, multiply these by their partners, and turn them back."""
    for i in range(n):
        place = at + (i << log2_tile) * 64
        _down(simd, place, log2_tile, block + i, 1, 1 << log2_tile, numbers, table)
        multiply_points(simd, place, partners + (i << log2_tile) * 64, 1 << log2_tile)
        _up(simd, place, log2_tile, block + i, 1, numbers, table)


@kernel
def multiply_values(simd, at, n, partners):  # type: ignore[no-untyped-def]
    """Multiply n values, a multiple of 4, by their partners."""
    multiply_points(simd, at, partners, n)
