"""Products of polynomials over GF(2) with many coefficients, by the additive FFT over GF(2^128).

In: packed bits.  Out: packed bits. 64 bits at a time are a polynomial in x; these are the coefficients of a polynomial
in y = x^64, which is evaluated at points of GF(2^128): products of two of them have degree below 128 and stay whole.

The FFT wants coefficients in the basis X_i of Lin, Chung and Han, not in powers of y. In a Cantor basis the change is a
Taylor expansion at y^(2^i) + y with i a power of two, again and again (Gao and Mateer 2010, IEEE Trans. Inf. Theory 56,
6265; Lin, Al-Naffouri and Han 2016, IEEE Trans. Inf. Theory 62, 5343): XORs of long rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words
from noclone.crypto import additive_fft
from noclone.kernels import kernel

_SHORT_LOG2 = 4  # the change of basis ends in blocks of 2^4 rows, which are too short to be done where they lie
MAX_WORDS = 1 << additive_fft.MAX_LOG2


@kernel
def _add(rows, others):  # type: ignore[no-untyped-def]
    for j in range(len(rows)):
        rows[j] ^= others[j]


@kernel
def _expand(a, levels, power, width, back):  # type: ignore[no-untyped-def]
    """Expand each block of 2^levels rows of `width` words at y^(2^power) + y, in place; or undo it.

    Halve by halves: with d = 2^(power + r) and t = 2^r, f = f_0 + y^d f_1 becomes g_0 + (y^d + y^t) g_1. What y^t g_1
    adds to y^d is the last t rows of f_1, brought back to its first; the rest is added to f_0.
    """
    for step in range(levels - power):
        r = step if back else levels - power - 1 - step
        half, shift = width << (power + r), width << r
        for low in range(0, len(a), 2 * half):
            high = low + half
            if back:
                _add(a[low + shift : high], a[high : high + half - shift])
            _add(a[high : high + shift], a[high + half - shift : high + half])
            if not back:
                _add(a[low + shift : high], a[high : high + half - shift])


@lru_cache(maxsize=32)
def _steps(levels: int, width: int) -> tuple[tuple[int, int, int], ...]:
    """Return the expansions (levels, power, width) that change the basis of blocks of 2^levels rows."""
    if levels < 2:
        return ()
    power = 1
    while 2 * power < levels:
        power *= 2
    return ((levels, power, width), *_steps(levels - power, width << power), *_steps(power, width))


def change_basis(rows: NDArray[np.uint64], *, back: bool = False) -> NDArray[np.uint64]:
    """Turn coefficients of powers of y, one a row, into those of X_i; or undo it. Return the array that holds them."""
    n, width = rows.shape
    long, short = _steps(n.bit_length() - 1, width), _steps(_SHORT_LOG2, width)
    assert long[len(long) - len(short) :] == short
    long = long[: len(long) - len(short)]

    def run(array: NDArray[np.uint64], steps: Iterable[tuple[int, int, int]], times: int) -> None:
        for levels, power, words in steps:
            _expand(array.reshape(-1), levels, power, words * times, back)

    def run_short(array: NDArray[np.uint64]) -> NDArray[np.uint64]:
        across = np.ascontiguousarray(array.reshape(-1, 1 << _SHORT_LOG2, width).transpose(1, 0, 2))
        run(across, reversed(short) if back else short, n >> _SHORT_LOG2)
        return np.ascontiguousarray(across.transpose(1, 0, 2)).reshape(n, width)

    if back:
        rows = run_short(rows)
        run(rows, reversed(long), 1)
        return rows
    run(rows, long, 1)
    return run_short(rows)


def sum_of_products(pairs: Sequence[tuple[Words, Words]]) -> Words:
    """Return the sum of products of polynomials over GF(2), packed, as long as the longest."""
    n_words = max(len(p) + len(q) for p, q in pairs)
    n = max(1 << additive_fft.MIN_LOG2, 1 << (n_words - 2).bit_length())  # the last word is high halves alone
    assert n <= MAX_WORDS
    total, first, second = (additive_fft.zeros(n) for _ in range(3))
    padded = np.empty((n, 1), np.uint64)
    for pair in pairs:
        for factor, values in zip(pair, (first, second), strict=True):
            padded[: len(factor), 0], padded[len(factor) :] = factor, 0
            values[:, :1], values[:, 1] = change_basis(padded), 0
            additive_fft.forward(values)
        additive_fft.scale(first, second.reshape(-1).view(np.uint8))
        total ^= first
    additive_fft.backward(total)
    coefficients = change_basis(total, back=True)
    out = np.zeros(n_words, np.uint64)
    out[:-1] = coefficients[: n_words - 1, 0]
    out[1:] ^= coefficients[: n_words - 1, 1]
    for held in (total, first, second, padded, coefficients):  # they have held key
        held.fill(0)
    return out
