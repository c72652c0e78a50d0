"""Nimbers in planes of bits, for the card: 32 nimbers below 2^16 in 16 words, bit j of each in word j.

In: points of 64 bytes as `crypto.nim_simd` lays them out, word by word.  Out: the same in planes, and their multiples.

A plane's bits 0-3 of each byte belong to the lower, bits 4-7 to the upper halves of sixteen nimbers below 2^32. The
card has no byte shuffle that looks up sixteen entries, but does 32 exclusive-ors with one instruction (LOP3 even two at
a time), so products follow Karatsuba's recursion of `nimbers.multiply` down to single bits. Twiddles are public and
come as masks, one word a bit; no branch or address depends on the data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from noclone.crypto.words_cuda import ADD, MASKS, transposed
from noclone.gpu import inlined

U32 = np.uint32
LOWER, UPPER = U32(0x0F0F0F0F), U32(0xF0F0F0F0)  # halves of nimbers below 2^32

add2, add4, add8, add16 = (ADD[n] for n in (2, 4, 8, 16))
masks4, masks8, masks16 = (MASKS[n] for n in (4, 8, 16))


@inlined
def _times2(a, b):  # type: ignore[no-untyped-def]
    low = U32(a[0] & b[0])
    return U32(low ^ (a[1] & b[1])), U32(low ^ ((a[0] ^ a[1]) & (b[0] ^ b[1])))


@inlined
def _by2(a):  # type: ignore[no-untyped-def]
    """Multiply nimbers below 4 by 2; with bits a + b t, t^2 = t + 1."""
    return a[1], U32(a[0] ^ a[1])


@inlined
def _by8(a):  # type: ignore[no-untyped-def]
    """Multiply nimbers below 16 by 8 = 2 * 4: with t = 4, (a + b t) 2 t = 3 b + (2 a + 2 b) t, as t^2 = t + 2."""
    twice = _by2(add2(a[:2], a[2:]))
    return add2(a[2:], _by2(a[2:])) + twice


@inlined
def _by128(a):  # type: ignore[no-untyped-def]
    """Multiply nimbers below 256 by 128 = 8 * 16: with t = 16, t^2 = t + 8."""
    eight = _by8(add4(a[:4], a[4:]))
    return _by8(_by8(a[4:])) + eight


def _times_twice(times: Any, add: Any, by_half: Any, n: int) -> Any:
    """Return the product in the field of twice as many bits: t^2 = t + 2^(n-1)."""

    @inlined
    def product(a, b):  # type: ignore[no-untyped-def]
        low = times(a[:n], b[:n])
        high = by_half(times(a[n:], b[n:]))
        both = times(add(a[:n], a[n:]), add(b[:n], b[n:]))
        return add(low, high) + add(both, low)

    return product


times4 = _times_twice(_times2, add2, _by2, 2)
times8 = _times_twice(times4, add4, _by8, 4)
times16 = _times_twice(times8, add8, _by128, 8)


@inlined
def _swap_halves(x):  # type: ignore[no-untyped-def]
    return U32(((x & LOWER) << U32(4)) | ((x >> U32(4)) & LOWER))


@inlined
def _exchange(x):  # type: ignore[no-untyped-def]
    """Let lower and upper halves of nimbers below 2^32 change places."""
    return (
        _swap_halves(x[0]), _swap_halves(x[1]), _swap_halves(x[2]), _swap_halves(x[3]),
        _swap_halves(x[4]), _swap_halves(x[5]), _swap_halves(x[6]), _swap_halves(x[7]),
        _swap_halves(x[8]), _swap_halves(x[9]), _swap_halves(x[10]), _swap_halves(x[11]),
        _swap_halves(x[12]), _swap_halves(x[13]), _swap_halves(x[14]), _swap_halves(x[15]),
    )  # fmt: skip


@inlined
def _merge(a, b):  # type: ignore[no-untyped-def]
    return U32((a & LOWER) | (b & UPPER))


@inlined
def _both(a, b):  # type: ignore[no-untyped-def]
    """Return masks that are those of `a` for lower halves and those of `b` for upper ones."""
    return (
        _merge(a[0], b[0]), _merge(a[1], b[1]), _merge(a[2], b[2]), _merge(a[3], b[3]),
        _merge(a[4], b[4]), _merge(a[5], b[5]), _merge(a[6], b[6]), _merge(a[7], b[7]),
        _merge(a[8], b[8]), _merge(a[9], b[9]), _merge(a[10], b[10]), _merge(a[11], b[11]),
        _merge(a[12], b[12]), _merge(a[13], b[13]), _merge(a[14], b[14]), _merge(a[15], b[15]),
    )  # fmt: skip


@inlined
def multiple(x, w, carried):  # type: ignore[no-untyped-def]
    """Return the planes of x times the nimber w below 2^32.

    Args:
        carried: For each upper half of a w, that half times 2^15.
    """
    if w < U32(256):
        small = masks8(w, 0)
        return times8(x[:8], small) + times8(x[8:], small)
    low, high = U32(w & U32(0xFFFF)), U32(w >> U32(16))
    if high == U32(0):
        return times16(x, masks16(low, 0))
    straight = times16(x, _both(masks16(low, 0), masks16(U32(low ^ high), 0)))
    crossed = times16(_exchange(x), _both(masks16(carried[high], 0), masks16(high, 0)))
    return add16(straight, crossed)


@inlined
def planes(x):  # type: ignore[no-untyped-def]
    """Turn a point's 16 words into planes, or planes back into words."""
    return transposed(x[:8]) + transposed(x[8:])
