"""Tuples of 32-bit words in a thread's registers: the pieces that the card's kernels are put together from.

A tuple has 1, 2, 4, 8, 16 or 32 words. What is done to 2n words is done to n words twice: so each function is written
once, for the smallest tuple, and doubled. There is no loop left for a compiler to unroll or not, and no array that
could land in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from noclone.gpu import inlined

U32 = np.uint32
ALL = U32(0xFFFFFFFF)
FIRST, SECOND, FOURTH = U32(0x55555555), U32(0x33333333), U32(0x0F0F0F0F)


@inlined
def _add_one(a, b):  # type: ignore[no-untyped-def]
    return (U32(a[0] ^ b[0]),)


@inlined
def _load_one(array, row, column):  # type: ignore[no-untyped-def]
    return (array[row, column],)


@inlined
def _store_one(array, row, column, words):  # type: ignore[no-untyped-def]
    array[row, column] = words[0]


@inlined
def _masks_one(number, bit):  # type: ignore[no-untyped-def]
    return (U32(((number >> U32(bit)) & U32(1)) * ALL),)


def _add_twice(add: Any, n: int) -> Any:
    @inlined
    def doubled(a, b):  # type: ignore[no-untyped-def]
        return add(a[:n], b[:n]) + add(a[n:], b[n:])

    return doubled


def _load_twice(load: Any, n: int) -> Any:
    @inlined
    def doubled(array, row, column):  # type: ignore[no-untyped-def]
        return load(array, row, column) + load(array, row + n, column)

    return doubled


def _load_across_twice(load: Any, n: int) -> Any:
    @inlined
    def doubled(array, row, column):  # type: ignore[no-untyped-def]
        return load(array, row, column) + load(array, row, column + n)

    return doubled


def _store_twice(store: Any, n: int) -> Any:
    @inlined
    def doubled(array, row, column, words):  # type: ignore[no-untyped-def]
        store(array, row, column, words[:n])
        store(array, row + n, column, words[n:])

    return doubled


def _masks_twice(masks: Any, n: int) -> Any:
    @inlined
    def doubled(number, bit):  # type: ignore[no-untyped-def]
        return masks(number, bit) + masks(number, bit + n)

    return doubled


def _sizes(one: Any, twice: Any) -> dict[int, Any]:
    found = {1: one}
    for n in (1, 2, 4, 8, 16):
        found[2 * n] = twice(found[n], n)
    return found


# Each a dictionary from how many words to the function.
# add(a, b): the sum of two tuples of polynomials over GF(2).
ADD = _sizes(_add_one, _add_twice)
# load(array, row, column): the words below each other from there on, or beside; store(array, row, column, words).
LOAD = _sizes(_load_one, _load_twice)
LOAD_ACROSS = _sizes(_load_one, _load_across_twice)
STORE = _sizes(_store_one, _store_twice)
# masks(number, bit): a word for each bit of the number from that one on, all ones where it is set.
MASKS = _sizes(_masks_one, _masks_twice)


@inlined
def _swap(low, high, shift, mask):  # type: ignore[no-untyped-def]
    """Exchange the upper bits of `low` with the lower ones of `high`."""
    change = U32(((low >> U32(shift)) ^ high) & mask)
    return U32(low ^ U32(change << U32(shift))), U32(high ^ change)


@inlined
def transposed(x):  # type: ignore[no-untyped-def]
    """Transpose 8 x 8 bits in each of the four bytes of 8 words; it is its own inverse."""
    a0, a1 = _swap(x[0], x[1], 1, FIRST)
    a2, a3 = _swap(x[2], x[3], 1, FIRST)
    a4, a5 = _swap(x[4], x[5], 1, FIRST)
    a6, a7 = _swap(x[6], x[7], 1, FIRST)
    b0, b2 = _swap(a0, a2, 2, SECOND)
    b1, b3 = _swap(a1, a3, 2, SECOND)
    b4, b6 = _swap(a4, a6, 2, SECOND)
    b5, b7 = _swap(a5, a7, 2, SECOND)
    c0, c4 = _swap(b0, b4, 4, FOURTH)
    c1, c5 = _swap(b1, b5, 4, FOURTH)
    c2, c6 = _swap(b2, b6, 4, FOURTH)
    c3, c7 = _swap(b3, b7, 4, FOURTH)
    return c0, c1, c2, c3, c4, c5, c6, c7
