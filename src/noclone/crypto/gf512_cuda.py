"""GF(2^512) on the card, which has no carry-less multiplication: integers with holes, and Karatsuba on words.

In: elements of 16 words, bit i of the 512 being the coefficient of x^i.  Out: their product, as `crypto.gf512_simd`
defines the field: modulo x^512 + x^8 + x^5 + x^2 + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from noclone.crypto.words_cuda import ADD
from noclone.gpu import inlined

U32, U64 = np.uint32, np.uint64
HOLES = (U32(0x11111111), U32(0x22222222), U32(0x44444444), U32(0x88888888))
WIDE_HOLES = (
    U64(0x1111111111111111),
    U64(0x2222222222222222),
    U64(0x4444444444444444),
    U64(0x8888888888888888),
)


@inlined
def _part(x, a, b, c, d, mask):  # type: ignore[no-untyped-def]
    return ((x[0] * a) ^ (x[1] * b) ^ (x[2] * c) ^ (x[3] * d)) & mask


@inlined
def _parted(x):  # type: ignore[no-untyped-def]
    return (U64(x & HOLES[0]), U64(x & HOLES[1]), U64(x & HOLES[2]), U64(x & HOLES[3]))


@inlined
def _product1(a, b):  # type: ignore[no-untyped-def]
    """Return the carry-less product of two words.

    Each is cut into four, of every fourth bit: eight bits, four apart, meet at most eight times, so that no sum of a
    multiplication of integers reaches the next bit that counts.
    """
    x, y = _parted(a[0]), _parted(b[0])
    total = (
        _part(x, y[0], y[3], y[2], y[1], WIDE_HOLES[0])
        | _part(x, y[1], y[0], y[3], y[2], WIDE_HOLES[1])
        | _part(x, y[2], y[1], y[0], y[3], WIDE_HOLES[2])
        | _part(x, y[3], y[2], y[1], y[0], WIDE_HOLES[3])
    )
    return U32(total & U64(0xFFFFFFFF)), U32(total >> U64(32))


def _product_twice(product: Any, add: Any, n: int) -> Any:
    """Return the product of twice as many words: three products of half as many (Karatsuba)."""

    @inlined
    def doubled(a, b):  # type: ignore[no-untyped-def]
        low, high = product(a[:n], b[:n]), product(a[n:], b[n:])
        both = product(add(a[:n], a[n:]), add(b[:n], b[n:]))
        inner = add(low[n:], high[:n])
        return low[:n] + add(add(inner, low[:n]), both[:n]) + add(add(inner, high[n:]), both[n:]) + high[n:]

    return doubled


@inlined
def _up(x, below, shift):  # type: ignore[no-untyped-def]
    """Return a word shifted left, with what leaves the word below it."""
    return U32(U32(x << U32(shift)) | (below >> U32(32 - shift)))


@inlined
def _fold1(low, high, below):  # type: ignore[no-untyped-def]
    x = high[0]
    return (U32(low[0] ^ x ^ _up(x, below, 2) ^ _up(x, below, 5) ^ _up(x, below, 8)),)


def _fold_twice(fold: Any, n: int) -> Any:
    @inlined
    def doubled(low, high, below):  # type: ignore[no-untyped-def]
        return fold(low[:n], high[:n], below) + fold(low[n:], high[n:], high[n - 1])

    return doubled


_product16, _fold16 = _product1, _fold1
for _n in (1, 2, 4, 8):
    _product16, _fold16 = _product_twice(_product16, ADD[_n], _n), _fold_twice(_fold16, _n)


@inlined
def times(a, b):  # type: ignore[no-untyped-def]
    """Return the product of two elements."""
    long = _product16(a, b)
    top = long[31]
    beyond = U32((top >> U32(30)) ^ (top >> U32(27)) ^ (top >> U32(24)))  # what folding shifts out, folded once more
    folded = _fold16(long[:16], long[16:], U32(0))
    lowest = U32(folded[0] ^ beyond ^ (beyond << U32(2)) ^ (beyond << U32(5)) ^ (beyond << U32(8)))
    return (lowest,) + folded[1:]  # noqa: RUF005  (the card's compiler knows no other way)
