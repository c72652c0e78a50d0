"""Words as Cascade's loops use them: counts, bits gathered and scattered by a mask, streams, transposes.

`gather_bits` and `scatter_bits` are one instruction where the processor has them and they are fast (BMI2's PEXT and
PDEP; AMD's before Zen 3 run them in microcode), and loops over the mask elsewhere: the same bits. Which, is chosen when
this module is imported; NOCLONE_BITS=portable|bmi2 forces one. Kernels take the token `BITS` first: its length is the
choice, which makes it part of their signature and so of Numba's cache key.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from noclone.distill.bit_kernels import VARIANTS, variants_here
from noclone.errors import InputError

VERSION = 1  # whoever changes what this file emits adds one: Numba does not notice edits here in other files' caches


def _choose() -> str:
    here = variants_here()
    wanted = os.environ.get("NOCLONE_BITS", "") or here[-1]
    if wanted not in here:
        raise InputError(
            f"NOCLONE_BITS={wanted!r} cannot run on this processor",
            hint=f"unset it, or use one of: {', '.join(here)}",
        )
    return wanted


VARIANT = _choose()


def token(variant: str) -> tuple[int, ...]:
    """Return what kernels take to run as `variant`."""
    return (0,) * (len(VARIANTS) * VERSION + VARIANTS.index(variant))


BITS = token(VARIANT)


def _unary(emit: Callable[[Any, Any], Any]) -> Any:
    def typed(_context: Any, x: Any) -> Any:
        return types.uint64(types.uint64), lambda context, b, signature, args: emit(b, args[0])

    return intrinsic(typed)


_false = ir.Constant(ir.IntType(1), 0)
count: Any = _unary(lambda b, x: b.ctpop(x))
leading_zeros: Any = _unary(lambda b, x: b.ctlz(x, _false))
trailing_zeros: Any = _unary(lambda b, x: b.cttz(x, _false))


def _loop(b: ir.IRBuilder, mask: Any, step: Callable[[Any, Any, Any], Any]) -> Any:
    """Emit a loop over the bits of `mask`, lowest first: result = step(result, lowest bit, 1 << how many before)."""
    word = ir.IntType(64)
    zero, one = ir.Constant(word, 0), ir.Constant(word, 1)
    before, body, end = b.block, b.append_basic_block("bit"), b.append_basic_block("end")
    b.cbranch(b.icmp_unsigned("==", mask, zero), end, body)
    b.position_at_end(body)
    left, place, result = b.phi(word), b.phi(word), b.phi(word)
    following = step(result, b.and_(left, b.neg(left)), place)
    fewer, further = b.and_(left, b.sub(left, one)), b.shl(place, one)
    for phi, start, later in ((left, mask, fewer), (place, one, further), (result, zero, following)):
        phi.add_incoming(start, before)
        phi.add_incoming(later, b.block)
    b.cbranch(b.icmp_unsigned("==", fewer, zero), end, body)
    b.position_at_end(end)
    total = b.phi(word)
    total.add_incoming(zero, before)
    total.add_incoming(following, body)
    return total


def _by_mask(instruction: str, scatter: bool) -> Any:
    def typed(_context: Any, bits: Any, x: Any, mask: Any) -> Any:
        fast = VARIANTS[bits.count % len(VARIANTS)] == "bmi2"

        def emit(context: Any, b: ir.IRBuilder, _signature: Any, args: Any) -> Any:
            _, x, mask = args
            word = ir.IntType(64)
            if fast:
                kind = ir.FunctionType(word, [word, word])
                return b.call(b.module.declare_intrinsic(instruction, (), kind), [x, mask])
            zero = ir.Constant(word, 0)

            def step(result: Any, lowest: Any, place: Any) -> Any:
                tested, written = (place, lowest) if scatter else (lowest, place)
                there = b.icmp_unsigned("!=", b.and_(x, tested), zero)
                return b.or_(result, b.select(there, written, zero))

            return _loop(b, mask, step)

        return types.uint64(bits, types.uint64, types.uint64), emit

    return intrinsic(typed)


# gather_bits(BITS, x, mask): the bits of x at the mask's ones, side by side; scatter_bits puts them back there.
gather_bits: Any = _by_mask("llvm.x86.bmi.pext.64", scatter=False)
scatter_bits: Any = _by_mask("llvm.x86.bmi.pdep.64", scatter=True)


@intrinsic
def _prefetch_at(_context, address):  # type: ignore[no-untyped-def]
    def emit(context: Any, b: ir.IRBuilder, _signature: Any, args: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        hint = b.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        b.call(hint, [b.inttoptr(args[0], byte), number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.intp), emit


@njit(cache=True, nogil=True)
def prefetch(words, at):  # type: ignore[no-untyped-def]
    """Ask the processor to fetch words[at] of a contiguous array, which is about to be read and changed."""
    _prefetch_at(words.ctypes.data + 8 * at)  # type: ignore[call-arg]


@njit(cache=True, nogil=True)
def append(words, at, bit):  # type: ignore[no-untyped-def]
    """Write one bit behind `at` others; what the array held before does not matter."""
    w = at >> 6
    shift = np.uint64(at & 63)
    words[w] = (words[w] if shift else np.uint64(0)) | bit << shift


@njit(cache=True, nogil=True)
def put(words, at, bits, n):  # type: ignore[no-untyped-def]
    """Write the n lowest bits, the others being zeros, at bit `at` of words that are still zeros there."""
    w = at >> 6
    shift = at & 63
    words[w] |= bits << np.uint64(shift)
    if shift + n > 64:
        words[w + 1] |= bits >> np.uint64(64 - shift)


@njit(cache=True, nogil=True)
def take(words, at, n):  # type: ignore[no-untyped-def]
    """Return n bits from bit `at` on; what stands above them is not cleared."""
    w = at >> 6
    shift = at & 63
    value = words[w] >> np.uint64(shift)
    if shift + n > 64:
        value |= words[w + 1] << np.uint64(64 - shift)
    return value


_QUAD = ir.VectorType(ir.IntType(64), 4)


def _pick(b: ir.IRBuilder, x: Any, y: Any, lanes: list[int]) -> Any:
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), 4), lanes))


def _transpose4(b: ir.IRBuilder, rows: list[Any]) -> list[Any]:
    """Emit the transpose of four vectors of four words."""
    a, c, d, e = rows
    low, high = _pick(b, a, c, [0, 4, 2, 6]), _pick(b, a, c, [1, 5, 3, 7])
    low2, high2 = _pick(b, d, e, [0, 4, 2, 6]), _pick(b, d, e, [1, 5, 3, 7])
    return [_pick(b, x, y, lanes) for lanes in ([0, 1, 4, 5], [2, 3, 6, 7]) for x, y in ((low, low2), (high, high2))]


def _swap(b: ir.IRBuilder, rows: list[Any], apart: int, width: int) -> None:
    """Emit one stage: between rows `apart` vectors apart, exchange each upper `width` bits with the other's lower."""
    mask = sum(((1 << width) - 1) << at for at in range(0, 64, 2 * width))
    masks, shift = ir.Constant(_QUAD, [mask] * 4), ir.Constant(_QUAD, [width] * 4)
    for i in range(len(rows)):
        if not i & apart:
            swap = b.and_(b.xor(b.lshr(rows[i], shift), rows[i + apart]), masks)
            rows[i] = b.xor(rows[i], b.shl(swap, shift))
            rows[i + apart] = b.xor(rows[i + apart], swap)


@intrinsic
def _transpose_at(_context, address):  # type: ignore[no-untyped-def]
    """Transpose the 64 words at an address: Warren's stages (Hacker's Delight, 2nd ed., section 7-3) on vectors."""

    def emit(context: Any, b: ir.IRBuilder, _signature: Any, args: Any) -> Any:
        place = b.inttoptr(args[0], _QUAD.as_pointer())
        at = [b.gep(place, [ir.IntType(64)(i)]) for i in range(16)]
        rows = [b.load(x, align=8) for x in at]
        for k in (5, 4, 3, 2):
            _swap(b, rows, 1 << (k - 2), 1 << k)
        for step in range(2):  # stages within a vector are stages between vectors once every four are transposed
            rows = [row for i in range(0, 16, 4) for row in _transpose4(b, rows[i : i + 4])]
            if step == 0:
                _swap(b, rows, 2, 2)
                _swap(b, rows, 1, 1)
        for x, row in zip(at, rows, strict=True):
            b.store(row, x, align=8)
        return context.get_dummy_value()

    return types.void(types.intp), emit


@njit(cache=True, nogil=True)
def transpose64(a):  # type: ignore[no-untyped-def]
    """Transpose 64 x 64 bits in place."""
    _transpose_at(a.ctypes.data)  # type: ignore[call-arg]
