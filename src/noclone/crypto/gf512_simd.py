"""GF(2^512) on the processor's vectors: one Numba intrinsic that multiplies many elements by their partners.

An element is 64 bytes, little-endian: bit i of the integer is the coefficient of x^i, and the modulus is
x^512 + x^8 + x^5 + x^2 + 1 (Seroussi, HPL-98-135, 1998; its irreducibility is checked in the tests).

E elements are taken at a time, E being how many 128-bit lanes a vector has: after a transposition vector r holds
digit r (of 128 bits) of each. Nine products of digits instead of sixteen, three of words instead of four each
(Karatsuba), then the upper half is folded with one small product per word.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.crypto.vectors import (
    I64,
    clmul,
    load,
    multiplier_lanes,
    repeat,
    shuffle,
    splat,
    store,
    variant_of,
)

MODULUS_LOW = 0x125  # x^8 + x^5 + x^2 + 1, what x^512 is equal to
ELEMENT_BYTES = 64
_DIGITS = 4

Product = tuple[Any, Any, Any]  # low, middle and high part of a product of two digits, in Karatsuba's terms


def _pick(b: ir.IRBuilder, x: Any, y: Any, elements: list[int]) -> Any:
    return shuffle(b, x, y, [lane for e in elements for lane in (2 * e, 2 * e + 1)])


def transpose(b: ir.IRBuilder, x: list[Any]) -> list[Any]:
    """Emit the exchange of digits and elements of four vectors; it is its own inverse for one and four elements."""
    lanes = x[0].type.count // 2
    if lanes == 1:
        return x
    if lanes == 2:  # from (a0 a1) (a2 a3) (b0 b1) (b2 b3)
        return [_pick(b, x[r // 2], x[2 + r // 2], [r % 2, 2 + r % 2]) for r in range(4)]
    even0, odd0 = _pick(b, x[0], x[1], [0, 4, 2, 6]), _pick(b, x[0], x[1], [1, 5, 3, 7])
    even1, odd1 = _pick(b, x[2], x[3], [0, 4, 2, 6]), _pick(b, x[2], x[3], [1, 5, 3, 7])
    left, right = [0, 1, 4, 5], [2, 3, 6, 7]
    return [_pick(b, p, q, side) for side in (left, right) for p, q in ((even0, even1), (odd0, odd1))]


def transpose_back(b: ir.IRBuilder, x: list[Any]) -> list[Any]:
    """Emit the inverse of `transpose`."""
    if x[0].type.count != 4:
        return transpose(b, x)
    return [_pick(b, x[2 * (k % 2)], x[2 * (k % 2) + 1], [k // 2, 2 + k // 2]) for k in range(4)]


class _Multiplier:
    def __init__(self, b: ir.IRBuilder, variant: str, vector: Any) -> None:
        self.b, self.variant = b, variant
        self.zero, self.modulus = splat(vector, 0), splat(vector, MODULUS_LOW)
        places = range(0, vector.count, 2)
        self._up = [lane for k in places for lane in (vector.count + k, k)]
        self._down = [lane for k in places for lane in (k + 1, vector.count + k)]
        self._swap = [lane for k in places for lane in (k + 1, k)]

    def up(self, x: Any) -> Any:
        """Shift each digit left by 64 bits; what leaves it is lost."""
        return shuffle(self.b, x, self.zero, self._up)

    def down(self, x: Any) -> Any:
        """Shift each digit right by 64 bits."""
        return shuffle(self.b, x, self.zero, self._down)

    def xor(self, *values: Any) -> Any:
        total = values[0]
        for value in values[1:]:
            total = self.b.xor(total, value)
        return total

    def add(self, *products: Product) -> Product:
        return tuple(self.xor(*parts) for parts in zip(*products, strict=True))

    def folded(self, x: Any) -> Any:
        """Return (low half + high half) in both halves."""
        return self.b.xor(x, shuffle(self.b, x, x, self._swap))

    def digit(self, x: Any, y: Any) -> Product:
        b, v = self.b, self.variant
        middle = clmul(b, v, self.folded(x), self.folded(y), 0x00)
        return clmul(b, v, x, y, 0x00), middle, clmul(b, v, x, y, 0x11)

    def pair(self, x: list[Any], y: list[Any]) -> list[Product]:
        low, high = self.digit(x[0], y[0]), self.digit(x[1], y[1])
        middle = self.digit(self.xor(x[0], x[1]), self.xor(y[0], y[1]))
        return [low, self.add(middle, low, high), high]

    def whole(self, x: list[Any], y: list[Any]) -> list[Any]:
        """Return the eight digits of a product of four digits by four."""
        low, high = self.pair(x[:2], y[:2]), self.pair(x[2:], y[2:])
        middle = self.pair([self.xor(x[k], x[k + 2]) for k in (0, 1)], [self.xor(y[k], y[k + 2]) for k in (0, 1)])
        middle = [self.add(m, p, q) for m, p, q in zip(middle, low, high, strict=True)]
        digits = [low[0], low[1], self.add(low[2], middle[0]), middle[1], self.add(middle[2], high[0]), *high[1:]]
        out = [self.zero] * 8
        for k, (first, between, last) in enumerate(digits):
            between = self.xor(between, first, last)
            out[k] = self.xor(out[k], first, self.up(between))
            out[k + 1] = self.xor(out[k + 1], last, self.down(between))
        return out

    def reduce(self, digits: list[Any]) -> list[Any]:
        b, v = self.b, self.variant
        out, carry = list(digits[:_DIGITS]), None
        for k, high in enumerate(digits[_DIGITS:]):
            upper = clmul(b, v, high, self.modulus, 0x01)
            out[k] = self.xor(out[k], clmul(b, v, high, self.modulus, 0x00), self.up(upper))
            if carry is not None:
                out[k] = b.xor(out[k], carry)
            carry = self.down(upper)
        out[0] = b.xor(out[0], clmul(b, v, carry, self.modulus, 0x00))
        return out


def _multiply_points(_context: Any, simd: Any, points: Any, partners: Any, n_points: Any) -> Any:
    """Multiply elements by their partners, in place; `partners` may lie at any address; n is a multiple of 4."""

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        variant = variant_of(simd)
        vector = ir.VectorType(I64, multiplier_lanes(variant))
        at_once = vector.count // 2
        field = _Multiplier(b, variant, vector)
        _, points, partners, count = args
        with repeat(b, b.sdiv(count, ir.Constant(I64, at_once))) as index:
            offset = b.mul(index, ir.Constant(I64, at_once * ELEMENT_BYTES))
            at, other = b.add(points, offset), b.add(partners, offset)
            step = 8 * vector.count
            x = transpose(b, [load(b, at, vector, step * k) for k in range(_DIGITS)])
            y = transpose(b, [load(b, other, vector, step * k, align=1) for k in range(_DIGITS)])
            for k, value in enumerate(transpose_back(b, field.reduce(field.whole(x, y)))):
                store(b, value, at, step * k)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.intp, types.intp), emit


multiply_points: Any = intrinsic(_multiply_points)
