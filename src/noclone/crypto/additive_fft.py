"""Additive FFT over GF(2^128) in the Cantor basis: from coefficients to values at 2^k points and back.

The points are omega_i = sum of beta_j over the bits j of i (`gf128.cantor_basis`). Coefficients belong to the basis of
Lin, Chung and Han ("Novel polynomial basis and its application to Reed-Solomon erasure codes", FOCS 2014): X_i is the
product of s_j over the bits j of i, where s_0(x) = x and s_(j+1) = s_j^2 + s_j vanishes on the first 2^(j+1) points;
X_i has degree i. Because s_j(beta_j) = 1 in a Cantor basis, no scaling is left, and the twiddle of block b is
omega_(2b) at every level: one table serves all. Elements are pairs of uint64, low half first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noclone.crypto.gf128 import cantor_basis
from noclone.crypto.gf128_simd import (
    last_levels,
    last_levels_back,
    multiply_vectors,
    one_level,
    one_level_back,
    two_levels,
    two_levels_back,
)
from noclone.crypto.vectors import SIMD
from noclone.kernels import inner, kernel

Elements = NDArray[np.uint64]  # shape (n, 2)

MIN_LOG2, MAX_LOG2 = 4, 25  # 16 points fill four vectors; 2^25 points hold 4.3e9 bits
_NEAR = 12  # 2^12 elements are 64 KiB: from here down all levels run over the same memory
_KEPT_LOG2 = 18
_kept: list[Elements] = []


def zeros(count: int) -> Elements:
    """Return `count` elements, all zero, aligned to a cache line."""
    raw = np.zeros(2 * count + 8, np.uint64)
    skip = (-raw.ctypes.data // 8) % 8
    return raw[skip : skip + 2 * count].reshape(count, 2)


def twiddles(log2_points: int) -> Elements:
    """Return omega_(2b) for b = 0 .. 2^(k-1) - 1; small tables are kept and shared."""
    if _kept and len(_kept[0]) >= 1 << (log2_points - 1):
        return _kept[0]
    basis = cantor_basis(MAX_LOG2)
    table = zeros(1 << (log2_points - 1))
    for j in range(log2_points - 1):
        beta = basis[j + 1]
        table[1 << j : 2 << j, 0] = table[: 1 << j, 0] ^ np.uint64(beta & (2**64 - 1))
        table[1 << j : 2 << j, 1] = table[: 1 << j, 1] ^ np.uint64(beta >> 64)
    if log2_points <= _KEPT_LOG2:
        _kept[:] = [table]
    return table


@inner
def _near(simd, at, k, block, table):  # type: ignore[no-untyped-def]
    blocks = 1
    level = k
    while level >= 4:
        quarter = 1 << (level - 2)
        for j in range(blocks):
            b = block * blocks + j
            two_levels(simd, at + (j << level) * 16, quarter * 16, table + b * 16, table + b * 32, quarter >> 2)
        blocks <<= 2
        level -= 2
    if level == 3:
        for j in range(blocks):
            one_level(simd, at + j * 128, at + j * 128 + 64, table + (block * blocks + j) * 16, 1)
        blocks <<= 1
    b = block * blocks
    last_levels(simd, at, table + b * 16, table + b * 32, blocks >> 2)


@inner
def _near_back(simd, at, k, block, table):  # type: ignore[no-untyped-def]
    blocks = 1 << (k - 2)
    b = block * blocks
    last_levels_back(simd, at, table + b * 16, table + b * 32, blocks >> 2)
    level = 2
    if k & 1:
        blocks >>= 1
        level = 3
        for j in range(blocks):
            one_level_back(simd, at + j * 128, at + j * 128 + 64, table + (block * blocks + j) * 16, 1)
    while level < k:
        level += 2
        blocks >>= 2
        quarter = 1 << (level - 2)
        for j in range(blocks):
            b = block * blocks + j
            two_levels_back(simd, at + (j << level) * 16, quarter * 16, table + b * 16, table + b * 32, quarter >> 2)


@kernel
def _forward(simd, at, k, table):  # type: ignore[no-untyped-def]
    """Go depth first over the levels that are larger than the near memory, two levels at a time."""
    top = k
    while top > _NEAR:
        top -= 2
    # Chunk c of 2^top elements is visited in order; the levels above it start where their block starts.
    for c in range(1 << (k - top)):
        level = k
        while level > top:
            if c & ((1 << (level - top)) - 1) == 0:
                b = c >> (level - top)
                quarter = 1 << (level - 2)
                two_levels(simd, at + (b << level) * 16, quarter * 16, table + b * 16, table + b * 32, quarter >> 2)
            level -= 2
        _near(simd, at + (c << top) * 16, top, c, table)


@kernel
def _backward(simd, at, k, table):  # type: ignore[no-untyped-def]
    top = k
    while top > _NEAR:
        top -= 2
    for c in range(1 << (k - top)):
        _near_back(simd, at + (c << top) * 16, top, c, table)
        level = top + 2
        while level <= k:
            if (c + 1) & ((1 << (level - top)) - 1) == 0:  # the last chunk of its block is done
                b = c >> (level - top)
                quarter = 1 << (level - 2)
                two_levels_back(
                    simd, at + (b << level) * 16, quarter * 16, table + b * 16, table + b * 32, quarter >> 2
                )
            level += 2


@kernel
def _scale(simd, at, factors, n_vectors):  # type: ignore[no-untyped-def]
    multiply_vectors(simd, at, factors, n_vectors)


def _log2_points(elements: Elements) -> int:
    k = len(elements).bit_length() - 1
    assert MIN_LOG2 <= k <= MAX_LOG2
    assert len(elements) == 1 << k
    assert elements.flags.c_contiguous
    return k


def forward(elements: Elements) -> None:
    """Replace coefficients by values at the points, in place."""
    k = _log2_points(elements)
    table = twiddles(k)
    _forward(SIMD, elements.ctypes.data, k, table.ctypes.data)


def backward(elements: Elements) -> None:
    """Replace values at the points by coefficients, in place."""
    k = _log2_points(elements)
    table = twiddles(k)
    _backward(SIMD, elements.ctypes.data, k, table.ctypes.data)


def scale(elements: Elements, factors: NDArray[np.uint8]) -> None:
    """Multiply each element by its partner among `factors` (16 bytes each), in place."""
    assert factors.nbytes == elements.nbytes
    assert len(elements) % 4 == 0
    assert factors.flags.c_contiguous
    _scale(SIMD, elements.ctypes.data, factors.ctypes.data, len(elements) // 4)
