"""Polynomials over nimbers, transformed, multiplied value by value in GF(2^512), and transformed back, near the cache.

In: coefficients (points of 64 bytes, `crypto.nim_fft`) and one partner per value.  Out: coefficients, in place.

The 2^k points are a matrix of rows of 2^c points. A transform goes first along the columns, a strip of which is copied
together so that it stays in the second-level cache, then along the rows, and these in tiles that stay in the first.
Values are multiplied while a tile is there, and so memory is passed three times. Work arrays are kept for each thread
and wiped after use: they have held key.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noclone.crypto.nim_fft import Points, down, multiply_tiles, multiply_values, tables, up
from noclone.crypto.vectors import SIMD

_TILE_LOG2 = 8  # 2^8 points are 16 KiB
_WHOLE_LOG2 = 13  # up to 2^13 points, 512 KiB, columns are transformed where they lie
_ROW_LOG2 = 12
_STRIP_POINTS = 1 << 10
_KEPT_POINTS = 1 << 19  # no thread keeps more than 32 MiB
_local = threading.local()


def log2_points(n_points: int) -> int:
    """Return k for the transform of 2^k >= n_points points that is cut down to n_points."""
    return (n_points - 1).bit_length()


def _work_points(n_points: int) -> int:
    k = log2_points(n_points)
    return 1 << k if k <= _WHOLE_LOG2 else n_points


def _address(array: NDArray[Any]) -> int:
    """Return where an array lies, sooner than array.ctypes does."""
    return int(array.__array_interface__["data"][0])


@lru_cache(maxsize=1)
def _tables() -> tuple[int, int, tuple[NDArray[Any], ...]]:
    """Return the addresses of the two tables, and what keeps them: two threads may each make their own at first."""
    kept = tables()
    table, numbers = kept
    return _address(table), _address(numbers), kept


def _aligned(count: int) -> Points:
    """Return points, all zero, each in a cache line of its own."""
    raw = np.zeros(8 * count + 8, np.uint64)
    skip = (-_address(raw) // 8) % 8
    return raw[skip : skip + 8 * count].reshape(count, 8)


@contextmanager
def workspace(n_points: int) -> Iterator[Points]:
    """Lend this thread's array of at least n_points points, all zero, and wipe it afterwards."""
    count = _work_points(n_points)
    kept: Points | None = getattr(_local, "points", None)
    _local.points = None  # whoever asks meanwhile gets an array of their own
    if kept is None or len(kept) < count:
        kept = _aligned(count)
    used = kept[:count]
    try:
        yield used
    finally:
        used.fill(0)
        if len(kept) <= _KEPT_POINTS:
            _local.points = kept


def multiply(work: Points, n_in: int, n_points: int, partners: NDArray[np.uint8]) -> None:
    """Replace coefficients by those of the polynomial whose values are multiplied by `partners`, in place.

    Args:
        work: What `workspace(n_points)` lent; the first n_in points hold coefficients, all others zeros.
        n_in: How many coefficients there are.
        n_points: N, a multiple of 4 and of 2^(k-4), where 2^k is the least power of two that is not below it.
        partners: 64 bytes for each value.
    """
    k = log2_points(n_points)
    assert n_points >= 16
    assert n_points % max(4, 1 << (k - 4)) == 0
    assert len(work) == _work_points(n_points)
    assert work.flags.c_contiguous
    assert partners.nbytes == 64 * n_points
    assert partners.flags.c_contiguous
    table, numbers, _kept = _tables()
    at, factors = _address(work), _address(partners)
    c = min(_TILE_LOG2 if k <= _WHOLE_LOG2 else _ROW_LOG2, (k - 4) & ~1)  # even
    levels, width, rows, rows_in = k - c, 1 << c, n_points >> c, -(-n_in >> c)
    if k <= _WHOLE_LOG2:
        scratch, strip, near = None, width, 0
    else:
        strip = max(1, _STRIP_POINTS >> levels)
        scratch = _aligned(strip << levels)
        near = _address(scratch)
    down(SIMD, at, levels, 0, width, rows_in, rows, strip, near, numbers, table)
    work[n_points:] = 0  # values that nobody asked for
    tile = min(c, _TILE_LOG2)
    if c == 0:
        multiply_values(SIMD, at, n_points, factors)
    elif c == tile:
        multiply_tiles(SIMD, at, tile, 0, rows, factors, numbers, table)
    else:
        side, tiles, bytes_per_row = 1 << tile, 1 << (c - tile), 64 << c
        for row in range(rows):
            place = at + row * bytes_per_row
            down(SIMD, place, c - tile, row, side, tiles, tiles, side, 0, numbers, table)
            multiply_tiles(SIMD, place, tile, row * tiles, tiles, factors + row * bytes_per_row, numbers, table)
            up(SIMD, place, c - tile, row, side, tiles, side, 0, numbers, table)
    up(SIMD, at, levels, 0, width, rows, strip, near, numbers, table)
    if scratch is not None:
        scratch.fill(0)
