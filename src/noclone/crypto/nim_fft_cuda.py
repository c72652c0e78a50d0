"""The additive FFT over nimbers on the card: what `crypto.nim_product` does, in planes of bits, with the same results.

In: coefficients in planes (`crypto.nim_cuda`): an array of 16 rows, point i in column i, so that neighbouring threads
read neighbouring words; and the seed.  Out: the coefficients of the product, in place.

The N points are c rows of W = 2^(k-4), c = 9 .. 16. First and last go the four levels along the columns: their twiddles
lie below 16 and treat all nibbles alike, so a thread takes one nibble of a column of 16 points. Truncation is met here
alone, since the c rows are whole. Then come two levels at a time in registers, and the last eight in the memory that a
block of threads shares, where the values are multiplied by the seed and turned back at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import cuda

from noclone.crypto import gf512_cuda, nimbers
from noclone.crypto.nim_cuda import multiple, planes, times4
from noclone.crypto.words_cuda import ADD, LOAD, LOAD_ACROSS, MASKS, STORE
from noclone.gpu import inlined, kernel, simulated

U32 = np.uint32
ROWS_LOG2 = 4
ROWS = 1 << ROWS_LOG2
TILE_LOG2 = 2 if simulated() else 8  # simulated threads take turns, so there are few
TILE = 1 << TILE_LOG2
COLUMN_THREADS, MIDDLE_THREADS, TILE_THREADS = (8, 8, TILE // 2) if simulated() else (64, 64, TILE // 2)
COLUMN_SHAPE, TILE_SHAPE = (4 * ROWS, COLUMN_THREADS), (16, TILE)
NEAR_LOG2 = 11  # twiddles are sums of two table entries, of so many bits of the block's number each

add4, add16 = ADD[4], ADD[16]
load4, load16, load_across16 = LOAD[4], LOAD[16], LOAD_ACROSS[16]
store4, store16 = STORE[4], STORE[16]
masks4 = MASKS[4]


@lru_cache(maxsize=1)
def _tables() -> tuple[Any, Any]:
    """Return omega_(2b) for b < 2^11, then for b = 2^11 j; and h times 2^15 for h < 2^7, on the card."""
    betas = nimbers.cantor_basis()
    omegas = np.zeros((2, 1 << NEAR_LOG2), U32)
    for part in range(2):
        for j in range(NEAR_LOG2):
            omegas[part, 1 << j : 2 << j] = omegas[part, : 1 << j] ^ U32(betas[1 + j + NEAR_LOG2 * part])
    carried = np.array([nimbers.multiply(high, 1 << 15) for high in range(1 << 7)], U32)
    return cuda.to_device(omegas), cuda.to_device(carried)


@inlined
def _twiddle(omegas, block):  # type: ignore[no-untyped-def]
    return U32(omegas[0, block & ((1 << NEAR_LOG2) - 1)] ^ omegas[1, block >> NEAR_LOG2])


@inlined
def _add_multiple(rows, at, other, thread, w):  # type: ignore[no-untyped-def]
    """Add to a row w times another one, w below 16."""
    added = times4(load4(rows, 4 * other, thread), masks4(w, 0))
    store4(rows, 4 * at, thread, add4(load4(rows, 4 * at, thread), added))


@inlined
def _add_row(rows, at, other, thread):  # type: ignore[no-untyped-def]
    store4(rows, 4 * at, thread, add4(load4(rows, 4 * at, thread), load4(rows, 4 * other, thread)))


@inlined
def _column_up(rows, at, levels, block, thread, omegas):  # type: ignore[no-untyped-def]
    """Turn 2^levels values of one column into coefficients."""
    for level in range(levels):
        half = 1 << level
        for pair in range(1 << (levels - 1)):
            b = pair >> level
            i = at + ((b << (level + 1)) | (pair & (half - 1)))
            _add_row(rows, i + half, i, thread)
            _add_multiple(rows, i, i + half, thread, omegas[0, (block << (levels - 1 - level)) + b])


@kernel
def columns_down(points, width, n_rows, omegas):  # type: ignore[no-untyped-def]
    """Go the first four levels down; only the first n_rows of 16 rows are asked for."""
    rows = cuda.shared.array(COLUMN_SHAPE, U32)
    thread, place = cuda.threadIdx.x, cuda.grid(1)
    if place < 4 * width:
        nibble, column = place // width, place % width
        for row in range(ROWS):
            store4(rows, 4 * row, thread, load4(points, 4 * nibble, row * width + column))
        for step in range(ROWS_LOG2):
            level = ROWS_LOG2 - 1 - step
            half = 1 << level
            for pair in range(ROWS // 2):
                b = pair >> level
                i = (b << (level + 1)) | (pair & (half - 1))
                _add_multiple(rows, i, i + half, thread, omegas[0, b])
                _add_row(rows, i + half, i, thread)
        for row in range(n_rows):
            store4(points, 4 * nibble, row * width + column, load4(rows, 4 * row, thread))


@kernel
def columns_up(points, width, n_rows, omegas):  # type: ignore[no-untyped-def]
    """Turn the first n_rows values of each column into coefficients, of which all others are zero.

    The steps are those of `nim_fft._up_truncated`.
    """
    rows = cuda.shared.array(COLUMN_SHAPE, U32)
    thread, place = cuda.threadIdx.x, cuda.grid(1)
    if place < 4 * width:
        nibble, column = place // width, place % width
        for row in range(ROWS):
            if row < n_rows:
                store4(rows, 4 * row, thread, load4(points, 4 * nibble, row * width + column))
            else:
                store4(rows, 4 * row, thread, masks4(U32(0), 0))
        at, level, block, known, depth = 0, ROWS_LOG2, 0, n_rows, 0
        while known > 0:
            whole = known == 1 << level
            right = at
            if not whole:
                level -= 1
                block *= 2
                depth += 1
                right = at + (1 << level)
                if known < 1 << level:
                    for i in range(known, 1 << level):
                        _add_multiple(rows, at + i, right + i, thread, omegas[0, block >> 1])
                    continue
            _column_up(rows, at, level, block, thread, omegas)
            if whole:
                break
            known -= 1 << level
            for i in range(known, 1 << level):
                _add_row(rows, right + i, at + i, thread)
            at = right
            block += 1
        for _ in range(depth):
            half = 1 << level
            if block & 1:
                at -= half
                for i in range(half):
                    _add_row(rows, at + half + i, at + i, thread)
            block >>= 1
            for i in range(half):
                _add_multiple(rows, at + i, at + half + i, thread, omegas[0, block])
            level += 1
        for row in range(n_rows):
            store4(points, 4 * nibble, row * width + column, load4(rows, 4 * row, thread))


@kernel
def middle_down(points, quarter, n_blocks, omegas, carried):  # type: ignore[no-untyped-def]
    """Go two levels down in n blocks of four times `quarter` points."""
    place = cuda.grid(1)
    if place < n_blocks * quarter:
        block = place // quarter
        i = 4 * quarter * block + place % quarter
        j, k, m = i + quarter, i + 2 * quarter, i + 3 * quarter
        w = _twiddle(omegas, block)
        a, b, c, d = load16(points, 0, i), load16(points, 0, j), load16(points, 0, k), load16(points, 0, m)
        a = add16(a, multiple(c, w, carried))
        c = add16(c, a)
        b = add16(b, multiple(d, w, carried))
        d = add16(d, b)
        a = add16(a, multiple(b, _twiddle(omegas, 2 * block), carried))
        c = add16(c, multiple(d, _twiddle(omegas, 2 * block + 1), carried))
        store16(points, 0, i, a)
        store16(points, 0, j, add16(b, a))
        store16(points, 0, k, c)
        store16(points, 0, m, add16(d, c))


@kernel
def middle_up(points, quarter, n_blocks, omegas, carried):  # type: ignore[no-untyped-def]
    """Undo `middle_down`."""
    place = cuda.grid(1)
    if place < n_blocks * quarter:
        block = place // quarter
        i = 4 * quarter * block + place % quarter
        j, k, m = i + quarter, i + 2 * quarter, i + 3 * quarter
        w = _twiddle(omegas, block)
        a, b, c, d = load16(points, 0, i), load16(points, 0, j), load16(points, 0, k), load16(points, 0, m)
        b = add16(b, a)
        a = add16(a, multiple(b, _twiddle(omegas, 2 * block), carried))
        d = add16(d, c)
        c = add16(c, multiple(d, _twiddle(omegas, 2 * block + 1), carried))
        c = add16(c, a)
        d = add16(d, b)
        store16(points, 0, i, add16(a, multiple(c, w, carried)))
        store16(points, 0, j, add16(b, multiple(d, w, carried)))
        store16(points, 0, k, c)
        store16(points, 0, m, d)


@kernel
def multiply_tiles(points, levels, partners, omegas, carried):  # type: ignore[no-untyped-def]
    """Turn each tile of 2^levels coefficients into values, multiply these by their partners, and turn them back.

    Args:
        partners: uint32[N, 16]: a factor in each row.
    """
    tile = cuda.shared.array(TILE_SHAPE, U32)
    thread, number = cuda.threadIdx.x, cuda.blockIdx.x
    n = 1 << levels
    first = number << levels
    for i in range(thread, n, TILE_THREADS):
        store16(tile, 0, i, load16(points, 0, first + i))
    for step in range(levels):
        level = levels - 1 - step
        cuda.syncthreads()
        if thread < n >> 1:
            block = thread >> level
            i = (block << (level + 1)) | (thread & ((1 << level) - 1))
            w = _twiddle(omegas, (number << step) + block)
            other = load16(tile, 0, i + (1 << level))
            own = add16(load16(tile, 0, i), multiple(other, w, carried))
            store16(tile, 0, i, own)
            store16(tile, 0, i + (1 << level), add16(other, own))
    cuda.syncthreads()
    for i in range(thread, n, TILE_THREADS):
        value = gf512_cuda.times(planes(load16(tile, 0, i)), load_across16(partners, first + i, 0))
        store16(tile, 0, i, planes(value))
    for level in range(levels):
        cuda.syncthreads()
        if thread < n >> 1:
            block = thread >> level
            i = (block << (level + 1)) | (thread & ((1 << level) - 1))
            w = _twiddle(omegas, (number << (levels - 1 - level)) + block)
            own = load16(tile, 0, i)
            other = add16(load16(tile, 0, i + (1 << level)), own)
            store16(tile, 0, i, add16(own, multiple(other, w, carried)))
            store16(tile, 0, i + (1 << level), other)
    cuda.syncthreads()
    for i in range(thread, n, TILE_THREADS):
        store16(points, 0, first + i, load16(tile, 0, i))


def blocks_for(n: int, threads: int) -> int:
    """Return how many blocks of threads have n threads."""
    return -(-n // threads)


def multiply(points: Any, n_points: int, partners: Any) -> None:
    """Replace coefficients by those of the polynomial whose values are multiplied by `partners`, in place.

    Args:
        points: uint32[16, 2^k] on the card: zeros behind the coefficients.
        n_points: N, a multiple of 4 and of 2^(k-4), where 2^k is the least power of two that is not below it.
        partners: uint32[N, 16] on the card.
    """
    omegas, carried = _tables()
    k = (n_points - 1).bit_length()
    assert n_points >= ROWS
    assert n_points % max(4, 1 << (k - ROWS_LOG2)) == 0
    inner = k - ROWS_LOG2
    width, n_rows = 1 << inner, n_points >> inner
    levels = inner if inner <= TILE_LOG2 else TILE_LOG2 - (inner - TILE_LOG2) % 2
    quarters = [1 << (level - 2) for level in range(inner, levels, -2)]
    around = blocks_for(4 * width, COLUMN_THREADS), COLUMN_THREADS
    within = blocks_for(n_points // 4, MIDDLE_THREADS), MIDDLE_THREADS
    columns_down[around](points, width, n_rows, omegas)
    for quarter in quarters:
        middle_down[within](points, quarter, n_points // (4 * quarter), omegas, carried)
    multiply_tiles[n_points >> levels, TILE_THREADS](points, levels, partners, omegas, carried)
    for quarter in reversed(quarters):
        middle_up[within](points, quarter, n_points // (4 * quarter), omegas, carried)
    columns_up[around](points, width, n_rows, omegas)
