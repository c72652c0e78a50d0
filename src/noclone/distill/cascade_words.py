"""Words as Cascade's loops use them: memory by address, counts, streams of bits, bits as bytes, transposes.

The loops of a search read and write by address (`load`, `store` and their kin): an array handed to a function inside a
loop has its references counted, by an instruction that locks the bus twice for each call. Numbers are signed, as
indices are; a word is the same 64 bits either way.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.distill.bit_kernels import emit_fetch, plane_of_bytes
from noclone.kernels import kernel


def _unary(emit: Callable[[Any, Any], Any]) -> Any:
    def typed(_context: Any, x: Any) -> Any:
        return types.int64(types.int64), lambda context, b, signature, args: emit(b, args[0])

    return intrinsic(typed)


_false = ir.Constant(ir.IntType(1), 0)
count: Any = _unary(lambda b, x: b.ctpop(x))
trailing_zeros: Any = _unary(lambda b, x: b.cttz(x, _false))


_ADDRESS, _WORD, _INT, _SHORT, _BYTE = (ir.IntType(n) for n in (64, 64, 32, 16, 8))


def _reader(cell: Any, *, signed: bool) -> Any:
    def typed(_context: Any, address: Any) -> Any:
        def emit(context: Any, b: ir.IRBuilder, _signature: Any, args: Any) -> Any:
            value = b.load(b.inttoptr(args[0], cell.as_pointer()), align=1)
            return value if cell is _WORD else b.sext(value, _WORD) if signed else b.zext(value, _WORD)

        return types.int64(types.int64), emit

    return intrinsic(typed)


def _writer(cell: Any) -> Any:
    def typed(_context: Any, address: Any, value: Any) -> Any:
        def emit(context: Any, b: ir.IRBuilder, _signature: Any, args: Any) -> Any:
            value = args[1] if cell is _WORD else b.trunc(args[1], cell)
            b.store(value, b.inttoptr(args[0], cell.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), emit

    return intrinsic(typed)


# load(address), store(address, value): of 8 bytes; of 4, with a sign; of 2 and of 1 without.
load, load_int = _reader(_WORD, signed=True), _reader(_INT, signed=True)
load_short, load_byte = _reader(_SHORT, signed=False), _reader(_BYTE, signed=False)
store, store_int, store_byte = _writer(_WORD), _writer(_INT), _writer(_BYTE)


_emitted: Any = intrinsic  # whose types count the typing context among the arguments that a caller gives


@_emitted
def prefetch(_context, address):  # type: ignore[no-untyped-def]
    """Ask the processor to fetch what lies at an address, which is about to be read and changed."""

    def emit(context: Any, b: ir.IRBuilder, _signature: Any, args: Any) -> Any:
        emit_fetch(b, args[0], to_change=True)
        return context.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def _bytes_of_word(_context, word, out):  # type: ignore[no-untyped-def]
    """Write 64 bytes to `out`: byte i is bit i of the word."""

    def emit(context: Any, b: ir.IRBuilder, _signature: Any, args: Any) -> Any:
        bits, many = ir.VectorType(ir.IntType(1), 64), ir.VectorType(_BYTE, 64)
        b.store(b.zext(b.bitcast(args[0], bits), many), b.inttoptr(args[1], many.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@kernel
def bytes_of_bits(bits, n, out):  # type: ignore[no-untyped-def]
    """Write n bits, packed from an address on, as bytes of 0 and 1 to another; up to 63 behind them are written too."""
    for i in range(0, n, 64):
        _bytes_of_word(load(bits + i // 8), out + i)  # type: ignore[call-arg]


@kernel
def bits_of_bytes(source, n, out):  # type: ignore[no-untyped-def]
    """Undo `bytes_of_bits`; 64 bytes are read at a time, and bits behind the n-th in the last word are zeros."""
    for i in range(0, n, 64):
        every = (1 << (n - i)) - 1 if n - i < 64 else -1
        store(out + i // 8, np.int64(plane_of_bytes(source + i, 0)) & every)


@kernel
def put(words, at, bits, n):  # type: ignore[no-untyped-def]
    """Write the n lowest bits, the others being zeros, at bit `at` of words that are still zeros there."""
    w = at >> 6
    shift = at & 63
    words[w] |= bits << np.uint64(shift)
    if shift + n > 64:
        words[w + 1] |= bits >> np.uint64(64 - shift)


@kernel
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


@kernel
def transpose64(a):  # type: ignore[no-untyped-def]
    """Transpose 64 x 64 bits in place."""
    _transpose_at(a.ctypes.data)  # type: ignore[call-arg]
