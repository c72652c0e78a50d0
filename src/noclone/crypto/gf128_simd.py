"""GF(2^128) on the processor's vectors: Numba intrinsics that emit LLVM IR, four elements at a time.

Out: functions for use inside kernels. Each takes the token `SIMD` first, then raw addresses and counts of vectors of
64 bytes.

Four variants compute the same bits: carry-less multiplication 512, 256 or 128 bits wide (VPCLMULQDQ, PCLMULQDQ), and
`portable`, which multiplies integers "with holes" (as BearSSL's ghash_ctmul does): a bit is followed by three empty
ones, so that carries die before they reach the next bit. All run in a time that does not depend on the data.

The variant is chosen from the host's features when this module is imported; NOCLONE_SIMD=portable|128|256|512 forces
one. The token is a tuple whose length says which variant and which `VERSION` of this file: it is part of every kernel's
signature, hence of Numba's cache key, and so kernels of different variants never mix. Numba does not notice edits here
when it loads a cached kernel of another file: whoever changes what this file emits adds one to `VERSION`.

The generic `llvm.clmul` aborts LLVM 22 on some targets and is slow on the others: only target intrinsics are used.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.crypto.gf128 import MODULUS_LOW
from noclone.errors import InputError

VERSION = 1
VARIANTS = ("portable", "128", "256", "512")
VECTOR_BYTES = 64
LANES = 8  # 64-bit lanes of one vector: four elements, low half first

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_I64, LANES)
_ELEMENT = ir.VectorType(_I64, 2)
_HALF = ir.VectorType(_I64, 4)
_CLMUL = {2: "llvm.x86.pclmulqdq", 4: "llvm.x86.pclmulqdq.256", 8: "llvm.x86.pclmulqdq.512"}


def variants_here() -> tuple[str, ...]:
    """Return the variants that this processor can run, slowest first."""
    if os.environ.get("NUMBA_CPU_NAME") or os.environ.get(
        "NUMBA_CPU_FEATURES"
    ):  # Numba was told to compile for another processor
        return ("portable",)
    features = llvm.get_host_cpu_features()
    found = ["portable"]
    if features.get("pclmul"):
        found.append("128")
        if features.get("vpclmulqdq") and features.get("avx2"):
            found.append("256")
            if features.get("avx512f"):
                found.append("512")
    return tuple(found)


def _choose() -> str:
    here = variants_here()
    wanted = os.environ.get("NOCLONE_SIMD", "") or here[-1]
    if wanted not in here:
        raise InputError(
            f"NOCLONE_SIMD={wanted!r} cannot run on this processor",
            hint=f"unset it, or use one of: {', '.join(here)}",
        )
    return wanted


if sys.byteorder != "little":
    raise InputError("the arithmetic kernels need a little-endian processor")

VARIANT = _choose()
SIMD: tuple[int, ...] = (0,) * (len(VARIANTS) * VERSION + VARIANTS.index(VARIANT))


def _variant_of(token: Any) -> str:
    return VARIANTS[token.count % len(VARIANTS)]


def _shuffle(b: ir.IRBuilder, x: Any, y: Any, lanes: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_I32, len(lanes)), [ir.Constant(_I32, lane) for lane in lanes])
    return b.shuffle_vector(x, y, mask)


def _splat(vector: Any, value: int) -> Any:
    return ir.Constant(vector, [ir.Constant(_I64, value)] * vector.count)


def _load(b: ir.IRBuilder, address: Any, vector: Any, offset: int = 0, align: int = 8) -> Any:
    place = b.add(address, ir.Constant(_I64, offset)) if offset else address
    value = b.load(b.inttoptr(place, ir.PointerType(vector)))
    value.align = align
    return value


def _store(b: ir.IRBuilder, value: Any, address: Any, offset: int = 0) -> None:
    place = b.add(address, ir.Constant(_I64, offset)) if offset else address
    b.store(value, b.inttoptr(place, ir.PointerType(value.type))).align = 8


@contextmanager
def _repeat(b: ir.IRBuilder, count: Any) -> Iterator[Any]:
    """Emit a loop over 0 .. count - 1."""
    before = b.block
    body, end = b.append_basic_block("body"), b.append_basic_block("end")
    b.cbranch(b.icmp_signed(">", count, ir.Constant(_I64, 0)), body, end)
    b.position_at_end(body)
    index = b.phi(_I64)
    index.add_incoming(ir.Constant(_I64, 0), before)
    yield index
    following = b.add(index, ir.Constant(_I64, 1))
    index.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, count), body, end)
    b.position_at_end(end)


def _clmul(b: ir.IRBuilder, width: int, x: Any, y: Any, halves: int) -> Any:
    """Emit carry-less products of one half of each element of x by one of y; bits 0 and 4 of `halves` say which."""
    vector = ir.VectorType(_I64, width)
    function = b.module.globals.get(_CLMUL[width])
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(vector, [vector, vector, _I8]), _CLMUL[width])
    parts = []
    for start in range(0, LANES, width):
        lanes = list(range(start, start + width))
        parts.append(b.call(function, [_shuffle(b, x, x, lanes), _shuffle(b, y, y, lanes), ir.Constant(_I8, halves)]))
    while len(parts) > 1:
        both = 2 * parts[0].type.count
        parts = [_shuffle(b, low, high, list(range(both))) for low, high in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _multiply_clmul(b: ir.IRBuilder, width: int, x: Any, y: Any) -> Any:
    zero, modulus = _splat(_VECTOR, 0), _splat(_VECTOR, MODULUS_LOW)
    to_high: list[int] = []  # (high half of the first, 0) in each element: a shift right by 64
    to_low: list[int] = []  # (0, low half of the first): a shift left by 64
    for k in range(0, LANES, 2):
        to_high += [k + 1, LANES + k]
        to_low += [LANES + k, k]
    low, high = _clmul(b, width, x, y, 0x00), _clmul(b, width, x, y, 0x11)
    middle = b.xor(_clmul(b, width, x, y, 0x01), _clmul(b, width, x, y, 0x10))
    high = b.xor(high, _shuffle(b, middle, zero, to_high))
    low = b.xor(low, _shuffle(b, middle, zero, to_low))
    # x^128 = x^7 + x^2 + x + 1: fold the highest 64 bits first, then the 64 below them.
    fold = _clmul(b, width, high, modulus, 0x01)
    high = b.xor(high, _shuffle(b, fold, zero, to_high))
    low = b.xor(low, _shuffle(b, fold, zero, to_low))
    return b.xor(low, _clmul(b, width, high, modulus, 0x00))


def _clmul32(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    """Emit carry-less products of 32-bit numbers held in 64-bit lanes, by integer multiplication with holes.

    Eight bits, four apart, meet at most eight times, which fits below the next bit.
    """
    masks = [_splat(_HALF, 0x1111111111111111 << i) for i in range(4)]
    xs = [b.and_(x, masks[i]) for i in range(4)]
    ys = [b.and_(y, masks[i]) for i in range(4)]
    total = None
    for k in range(4):
        part = None
        for i in range(4):
            product = b.mul(xs[i], ys[(k - i) % 4])
            part = product if part is None else b.xor(part, product)
        part = b.and_(part, masks[k])
        total = part if total is None else b.or_(total, part)
    return total


def _clmul64(b: ir.IRBuilder, x: Any, y: Any) -> tuple[Any, Any]:
    """Emit carry-less 64 x 64 products (Karatsuba): low and high halves."""
    low_mask, half = _splat(_HALF, 0xFFFFFFFF), _splat(_HALF, 32)
    x0, x1, y0, y1 = b.and_(x, low_mask), b.lshr(x, half), b.and_(y, low_mask), b.lshr(y, half)
    low, high = _clmul32(b, x0, y0), _clmul32(b, x1, y1)
    middle = b.xor(b.xor(_clmul32(b, b.xor(x0, x1), b.xor(y0, y1)), low), high)
    return b.xor(low, b.shl(middle, half)), b.xor(high, b.lshr(middle, half))


def _portable_body(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    even, odd = [0, 2, 4, 6], [1, 3, 5, 7]
    x0, x1 = _shuffle(b, x, x, even), _shuffle(b, x, x, odd)
    y0, y1 = _shuffle(b, y, y, even), _shuffle(b, y, y, odd)
    (low0, low1), (high0, high1) = _clmul64(b, x0, y0), _clmul64(b, x1, y1)
    middle0, middle1 = _clmul64(b, b.xor(x0, x1), b.xor(y0, y1))
    middle0, middle1 = b.xor(middle0, b.xor(low0, high0)), b.xor(middle1, b.xor(low1, high1))
    p0, p1, p2, p3 = low0, b.xor(low1, middle0), b.xor(high0, middle1), high1

    def fold(d: Any) -> tuple[Any, Any]:  # d * (x^7 + x^2 + x + 1)
        low, high = d, _splat(_HALF, 0)
        for shift in (1, 2, 7):
            low = b.xor(low, b.shl(d, _splat(_HALF, shift)))
            high = b.xor(high, b.lshr(d, _splat(_HALF, 64 - shift)))
        return low, high

    low, high = fold(p3)
    p1, p2 = b.xor(p1, low), b.xor(p2, high)
    low, high = fold(p2)
    return _shuffle(b, b.xor(p0, low), b.xor(p1, high), [0, 4, 1, 5, 2, 6, 3, 7])


def _multiply_portable(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    """Emit a call to one shared body: inlined everywhere, its 144 multiplications would make compiling slow."""
    name = "noclone_gf128_multiply"
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        inner.ret(_portable_body(inner, *function.args))
    return b.call(function, [x, y])


def _multiplier(token: Any) -> Callable[[ir.IRBuilder, Any, Any], Any]:
    variant = _variant_of(token)
    if variant == "portable":
        return _multiply_portable
    width = int(variant) // 64
    return lambda b, x, y: _multiply_clmul(b, width, x, y)


def _broadcast(b: ir.IRBuilder, address: Any, offset: int = 0) -> Any:
    """Emit a load of one element into all four places of a vector."""
    element = _load(b, address, _ELEMENT, offset)
    return _shuffle(b, element, element, [0, 1] * 4)


def _transpose4(b: ir.IRBuilder, x: list[Any]) -> list[Any]:
    """Emit the transposition of a 4 x 4 matrix of elements."""

    def pick(u: Any, v: Any, elements: list[int]) -> Any:
        return _shuffle(b, u, v, [lane for e in elements for lane in (2 * e, 2 * e + 1)])

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
            with _repeat(b, count) as index:
                places = [b.add(rows, b.mul(index, ir.Constant(_I64, VECTOR_BYTES)))]
                for _ in range(3):
                    places.append(b.add(places[-1], stride))
                x = [_load(b, place, _VECTOR) for place in places]
                _levels(b, mul, x, w, w0, w1, inverse)
                for place, value in zip(places, x, strict=True):
                    _store(b, value, place)
            return context.get_dummy_value()

        return types.void(simd, types.intp, types.intp, types.intp, types.intp, types.intp), emit

    return typed


def _one(inverse: bool) -> Any:
    def typed(_context: Any, simd: Any, first: Any, second: Any, twiddle: Any, n_vectors: Any) -> Any:
        def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
            mul = _multiplier(simd)
            _, first, second, twiddle, count = args
            w = _broadcast(b, twiddle)
            with _repeat(b, count) as index:
                offset = b.mul(index, ir.Constant(_I64, VECTOR_BYTES))
                at_a, at_b = b.add(first, offset), b.add(second, offset)
                a, c = _load(b, at_a, _VECTOR), _load(b, at_b, _VECTOR)
                if inverse:
                    c = b.xor(c, a)
                    a = b.xor(a, mul(b, c, w))
                else:
                    a = b.xor(a, mul(b, c, w))
                    c = b.xor(c, a)
                _store(b, a, at_a)
                _store(b, c, at_b)
            return context.get_dummy_value()

        return types.void(simd, types.intp, types.intp, types.intp, types.intp), emit

    return typed


def _last(inverse: bool) -> Any:
    def typed(_context: Any, simd: Any, elements: Any, upper: Any, lower: Any, n_groups: Any) -> Any:
        def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
            mul = _multiplier(simd)
            _, elements, upper, lower, count = args
            with _repeat(b, count) as index:
                base = b.add(elements, b.mul(index, ir.Constant(_I64, 4 * VECTOR_BYTES)))
                x = _transpose4(b, [_load(b, base, _VECTOR, VECTOR_BYTES * k) for k in range(4)])
                w = _load(b, b.add(upper, b.mul(index, ir.Constant(_I64, VECTOR_BYTES))), _VECTOR)
                place = b.add(lower, b.mul(index, ir.Constant(_I64, 2 * VECTOR_BYTES)))
                wa, wb = _load(b, place, _VECTOR), _load(b, place, _VECTOR, VECTOR_BYTES)
                w0, w1 = (
                    _shuffle(b, wa, wb, [0, 1, 4, 5, 8, 9, 12, 13]),
                    _shuffle(b, wa, wb, [2, 3, 6, 7, 10, 11, 14, 15]),
                )
                _levels(b, mul, x, w, w0, w1, inverse)
                for k, value in enumerate(_transpose4(b, x)):
                    _store(b, value, base, VECTOR_BYTES * k)
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
        with _repeat(b, count) as index:
            offset = b.mul(index, ir.Constant(_I64, VECTOR_BYTES))
            place = b.add(a, offset)
            x, y = _load(b, place, _VECTOR), _load(b, b.add(other, offset), _VECTOR, align=1)
            _store(b, mul(b, x, y), place)
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
            b.store(_load(b, sums, _VECTOR, VECTOR_BYTES * k), cell)
        with _repeat(b, count) as index:
            base = b.add(data, b.mul(index, ir.Constant(_I64, 4 * VECTOR_BYTES)))
            for k, cell in enumerate(cells):
                b.store(b.xor(mul(b, b.load(cell), h), _load(b, base, _VECTOR, VECTOR_BYTES * k, align=1)), cell)
        for k, cell in enumerate(cells):
            _store(b, b.load(cell), sums, VECTOR_BYTES * k)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.intp, types.intp, types.intp), emit


multiply_vectors: Any = intrinsic(_multiply_vectors)
horner16: Any = intrinsic(_horner16)
