"""GF(2^128) on the processor's vectors: Numba intrinsics that emit LLVM IR, four elements at a time.

Out: functions for use inside kernels. Each takes the token `SIMD` first, then raw addresses and counts of vectors of
64 bytes.

The variants of `crypto.vectors` compute the same bits.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.crypto.gf128 import MODULUS_LOW
from noclone.crypto.vectors import (
    I64,
    clmul,
    clmul64_portable,
    load,
    repeat,
    shared,
    shuffle,
    splat,
    store,
    variant_of,
)

VECTOR_BYTES = 64
LANES = 8  # 64-bit lanes of one vector: four elements, low half first

_VECTOR = ir.VectorType(I64, LANES)
_ELEMENT = ir.VectorType(I64, 2)
_HALF = ir.VectorType(I64, 4)


def _multiply_clmul(b: ir.IRBuilder, variant: str, x: Any, y: Any) -> Any:
    zero, modulus = splat(_VECTOR, 0), splat(_VECTOR, MODULUS_LOW)
    to_high: list[int] = []  # (high half of the first, 0) in each element: a shift right by 64
    to_low: list[int] = []  # (0, low half of the first): a shift left by 64
    for k in range(0, LANES, 2):
        to_high += [k + 1, LANES + k]
        to_low += [LANES + k, k]
    low, high = clmul(b, variant, x, y, 0x00), clmul(b, variant, x, y, 0x11)
    middle = b.xor(clmul(b, variant, x, y, 0x01), clmul(b, variant, x, y, 0x10))
    high = b.xor(high, shuffle(b, middle, zero, to_high))
    low = b.xor(low, shuffle(b, middle, zero, to_low))
    # x^128 = x^7 + x^2 + x + 1: fold the highest 64 bits first, then the 64 below them.
    fold = clmul(b, variant, high, modulus, 0x01)
    high = b.xor(high, shuffle(b, fold, zero, to_high))
    low = b.xor(low, shuffle(b, fold, zero, to_low))
    return b.xor(low, clmul(b, variant, high, modulus, 0x00))


def _portable_body(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    even, odd = [0, 2, 4, 6], [1, 3, 5, 7]
    x0, x1 = shuffle(b, x, x, even), shuffle(b, x, x, odd)
    y0, y1 = shuffle(b, y, y, even), shuffle(b, y, y, odd)
    (low0, low1), (high0, high1) = clmul64_portable(b, x0, y0), clmul64_portable(b, x1, y1)
    middle0, middle1 = clmul64_portable(b, b.xor(x0, x1), b.xor(y0, y1))
    middle0, middle1 = b.xor(middle0, b.xor(low0, high0)), b.xor(middle1, b.xor(low1, high1))
    p0, p1, p2, p3 = low0, b.xor(low1, middle0), b.xor(high0, middle1), high1

    def fold(d: Any) -> tuple[Any, Any]:  # d * (x^7 + x^2 + x + 1)
        low, high = d, splat(_HALF, 0)
        for shift in (1, 2, 7):
            low = b.xor(low, b.shl(d, splat(_HALF, shift)))
            high = b.xor(high, b.lshr(d, splat(_HALF, 64 - shift)))
        return low, high

    low, high = fold(p3)
    p1, p2 = b.xor(p1, low), b.xor(p2, high)
    low, high = fold(p2)
    return shuffle(b, b.xor(p0, low), b.xor(p1, high), [0, 4, 1, 5, 2, 6, 3, 7])


def _multiply_portable(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    """Emit a call to one shared body: inlined everywhere, its 144 multiplications would make compiling slow."""
    return b.call(shared(b, "noclone_gf128_multiply", _VECTOR, [_VECTOR, _VECTOR], _portable_body), [x, y])


def _multiplier(token: Any) -> Callable[[ir.IRBuilder, Any, Any], Any]:
    variant = variant_of(token)
    if variant == "portable":
        return _multiply_portable
    return lambda b, x, y: _multiply_clmul(b, variant, x, y)


def _broadcast(b: ir.IRBuilder, address: Any, offset: int = 0) -> Any:
    """Emit a load of one element into all four places of a vector."""
    element = load(b, address, _ELEMENT, offset)
    return shuffle(b, element, element, [0, 1] * 4)


def _transpose4(b: ir.IRBuilder, x: list[Any]) -> list[Any]:
    """Emit the transposition of a 4 x 4 matrix of elements."""

    def pick(u: Any, v: Any, elements: list[int]) -> Any:
        return shuffle(b, u, v, [lane for e in elements for lane in (2 * e, 2 * e + 1)])

    even0, odd0 = pick(x[0], x[1], [0, 4, 2, 6]), pick(x[0], x[1], [1, 5, 3, 7])
    even1, odd1 = pick(x[2], x[3], [0, 4, 2, 6]), pick(x[2], x[3], [1, 5, 3, 7])
    left, right = [0, 1, 4, 5], [2, 3, 6, 7]
    return [pick(even0, even1, left), pick(odd0, odd1, left), pick(even0, even1, right), pick(odd0, odd1, right)]


def _levels(b: ir.IRBuilder, mul: Any, x: list[Any], w: Any, w0: Any, w1: Any, inverse: bool) -> None:
    """Emit two levels of butterflies on four rows: a += b w, b += a; backwards for the inverse."""
    pairs = [(0, 2, w), (1, 3, w), (0, 1, w0), (2, 3, w1)]
    for i, j, twiddle in reversed(pairs) if inverse else pairs:
        if inverse:
            x[j] = b.xor(x[j], x[i])
            x[i] = b.xor(x[i], mul(b, x[j], twiddle))
        else:
            x[i] = b.xor(x[i], mul(b, x[j], twiddle))
            x[j] = b.xor(x[j], x[i])


def _two(inverse: bool) -> Any:
    def typed(_context: Any, simd: Any, rows: Any, stride: Any, upper: Any, lower: Any, n_vectors: Any) -> Any:
        def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
            mul = _multiplier(simd)
            _, rows, stride, upper, lower, count = args
            w, w0, w1 = _broadcast(b, upper), _broadcast(b, lower), _broadcast(b, lower, 16)
            with repeat(b, count) as index:
                places = [b.add(rows, b.mul(index, ir.Constant(I64, VECTOR_BYTES)))]
                for _ in range(3):
                    places.append(b.add(places[-1], stride))
                x = [load(b, place, _VECTOR) for place in places]
                _levels(b, mul, x, w, w0, w1, inverse)
                for place, value in zip(places, x, strict=True):
                    store(b, value, place)
            return context.get_dummy_value()

        return types.void(simd, types.intp, types.intp, types.intp, types.intp, types.intp), emit

    return typed


def _one(inverse: bool) -> Any:
    def typed(_context: Any, simd: Any, first: Any, second: Any, twiddle: Any, n_vectors: Any) -> Any:
        def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
            mul = _multiplier(simd)
            _, first, second, twiddle, count = args
            w = _broadcast(b, twiddle)
            with repeat(b, count) as index:
                offset = b.mul(index, ir.Constant(I64, VECTOR_BYTES))
                at_a, at_b = b.add(first, offset), b.add(second, offset)
                a, c = load(b, at_a, _VECTOR), load(b, at_b, _VECTOR)
                if inverse:
                    c = b.xor(c, a)
                    a = b.xor(a, mul(b, c, w))
                else:
                    a = b.xor(a, mul(b, c, w))
                    c = b.xor(c, a)
                store(b, a, at_a)
                store(b, c, at_b)
            return context.get_dummy_value()

        return types.void(simd, types.intp, types.intp, types.intp, types.intp), emit

    return typed


def _last(inverse: bool) -> Any:
    def typed(_context: Any, simd: Any, elements: Any, upper: Any, lower: Any, n_groups: Any) -> Any:
        def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
            mul = _multiplier(simd)
            _, elements, upper, lower, count = args
            with repeat(b, count) as index:
                base = b.add(elements, b.mul(index, ir.Constant(I64, 4 * VECTOR_BYTES)))
                x = _transpose4(b, [load(b, base, _VECTOR, VECTOR_BYTES * k) for k in range(4)])
                w = load(b, b.add(upper, b.mul(index, ir.Constant(I64, VECTOR_BYTES))), _VECTOR)
                place = b.add(lower, b.mul(index, ir.Constant(I64, 2 * VECTOR_BYTES)))
                wa, wb = load(b, place, _VECTOR), load(b, place, _VECTOR, VECTOR_BYTES)
                w0, w1 = (
                    shuffle(b, wa, wb, [0, 1, 4, 5, 8, 9, 12, 13]),
                    shuffle(b, wa, wb, [2, 3, 6, 7, 10, 11, 14, 15]),
                )
                _levels(b, mul, x, w, w0, w1, inverse)
                for k, value in enumerate(_transpose4(b, x)):
                    store(b, value, base, VECTOR_BYTES * k)
            return context.get_dummy_value()

        return types.void(simd, types.intp, types.intp, types.intp, types.intp), emit

    return typed


# Two levels of an additive FFT on four rows `stride` bytes apart; `upper` has one twiddle, `lower` two.
two_levels: Any = intrinsic(_two(inverse=False))
two_levels_back: Any = intrinsic(_two(inverse=True))
# One level on two rows.
one_level: Any = intrinsic(_one(inverse=False))
one_level_back: Any = intrinsic(_one(inverse=True))
# The last two levels (neighbours four and two apart) on groups of 16 elements.
last_levels: Any = intrinsic(_last(inverse=False))
last_levels_back: Any = intrinsic(_last(inverse=True))


def _multiply_vectors(_context: Any, simd: Any, a: Any, other: Any, n_vectors: Any) -> Any:
    """Multiply each element at `a` by its partner at `other`, in place; `other` may lie at any address."""

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        mul = _multiplier(simd)
        _, a, other, count = args
        with repeat(b, count) as index:
            offset = b.mul(index, ir.Constant(I64, VECTOR_BYTES))
            place = b.add(a, offset)
            x, y = load(b, place, _VECTOR), load(b, b.add(other, offset), _VECTOR, align=1)
            store(b, mul(b, x, y), place)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.intp, types.intp), emit


def _horner16(_context: Any, simd: Any, data: Any, factor: Any, sums: Any, n_steps: Any) -> Any:
    """Take 16 elements (256 bytes) a step: sums[k] = sums[k] * factor + data[k]; data may lie at any address."""

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        mul = _multiplier(simd)
        _, data, factor, sums, count = args
        h = _broadcast(b, factor)
        cells = [b.alloca(_VECTOR) for _ in range(4)]
        for k, cell in enumerate(cells):
            b.store(load(b, sums, _VECTOR, VECTOR_BYTES * k), cell)
        with repeat(b, count) as index:
            base = b.add(data, b.mul(index, ir.Constant(I64, 4 * VECTOR_BYTES)))
            for k, cell in enumerate(cells):
                b.store(b.xor(mul(b, b.load(cell), h), load(b, base, _VECTOR, VECTOR_BYTES * k, align=1)), cell)
        for k, cell in enumerate(cells):
            store(b, b.load(cell), sums, VECTOR_BYTES * k)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.intp, types.intp, types.intp), emit


multiply_vectors: Any = intrinsic(_multiply_vectors)
horner16: Any = intrinsic(_horner16)
