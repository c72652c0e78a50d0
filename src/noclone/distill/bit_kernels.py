"""Bits by the word, inside kernels: pick some out of a word, spread some into one, turn bytes into planes and back.

In and out: 64-bit words and raw addresses; nothing here is called from Python. `gather` and `spread` are one
instruction each where the processor has them (pext and pdep of BMI2), else some hundred (Warren 2013, "Hacker's
Delight", sections 7-4 and 7-5), with the same bits. They take the token `BITS` first, whose length names the variant
and the `VERSION` of this file; it is part of a kernel's signature, so Numba's cache never mixes kernels
(docs/decisions/013). Whoever changes what this file emits adds one to `VERSION`.

The variant is chosen when this module is imported; NOCLONE_SIMD=portable forces the portable one.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

import os
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from noclone.crypto.vectors import asked_for
from noclone.kernels import kernel

VERSION = 3
VARIANTS = ("portable", "bmi2")
# AMD before Zen 3 has the instructions, in microcode: one step for each bit of the mask.
SLOW_BMI2 = ("bdver", "znver1", "znver2")

_emitted: Any = intrinsic  # whose types count the typing context among the arguments that a caller gives

LINE_BYTES = 64  # of a cache
AHEAD_BYTES = 4096  # that events are fetched before they are read: the processor does not look behind a page by itself

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BYTES, _EIGHT = ir.VectorType(_I8, 64), ir.VectorType(_I64, 8)


def variants_here() -> tuple[str, ...]:
    """Return the variants that this processor runs well, slowest first."""
    told = os.environ.get("NUMBA_CPU_NAME") or os.environ.get("NUMBA_CPU_FEATURES")
    slow = llvm.get_host_cpu_name().startswith(SLOW_BMI2)
    return VARIANTS if not told and not slow and llvm.get_host_cpu_features().get("bmi2") else VARIANTS[:1]


def token(variant: str) -> tuple[int, ...]:
    """Return what names a variant to the kernels."""
    return (0,) * (len(VARIANTS) * VERSION + VARIANTS.index(variant))


VARIANT = "portable" if asked_for() == "portable" else variants_here()[-1]
BITS = token(VARIANT)


def gather(token: Any, word: Any, mask: Any) -> Any:
    """Return the bits of `word` where `mask` has ones, moved together at the low end."""
    raise NotImplementedError


def spread(token: Any, word: Any, mask: Any) -> Any:
    """Return the low bits of `word`, one after the other, where `mask` has ones."""
    raise NotImplementedError


@overload(gather)
def _gather(token, word, mask):  # type: ignore[no-untyped-def]
    if VARIANTS[token.count % len(VARIANTS)] == "bmi2":
        return lambda token, word, mask: _pext(word, mask)
    return lambda token, word, mask: gather_portable(word, mask)


@overload(spread)
def _spread(token, word, mask):  # type: ignore[no-untyped-def]
    if VARIANTS[token.count % len(VARIANTS)] == "bmi2":
        return lambda token, word, mask: _pdep(word, mask)
    return lambda token, word, mask: spread_portable(word, mask)


def _call(builder: Any, name: str, args: Any) -> Any:
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(_I64, [_I64, _I64]), name)
    return builder.call(function, args)


@_emitted
def _pext(typingctx, word, mask):  # type: ignore[no-untyped-def]
    signature = types.uint64(types.uint64, types.uint64)
    return signature, lambda _context, builder, _signature, args: _call(builder, "llvm.x86.bmi.pext.64", args)


@_emitted
def _pdep(typingctx, word, mask):  # type: ignore[no-untyped-def]
    signature = types.uint64(types.uint64, types.uint64)
    return signature, lambda _context, builder, _signature, args: _call(builder, "llvm.x86.bmi.pdep.64", args)


@kernel
def _moves(mask, moves):  # type: ignore[no-untyped-def]
    """Work out which bits move right by 1, 2, 4 .. 32, so that those of `mask` end up together."""
    zeros = ~mask << np.uint64(1)  # bit i: is the bit to its right missing
    for step in range(6):
        odd = zeros  # parity of the zeros to the right
        for shift in (1, 2, 4, 8, 16, 32):
            odd ^= odd << np.uint64(shift)
        moves[step] = odd & mask
        mask = (mask ^ moves[step]) | (moves[step] >> np.uint64(1 << step))
        zeros &= ~odd


@kernel
def gather_portable(word, mask):  # type: ignore[no-untyped-def]
    """Do what `gather` does, on any processor (Warren 2013, section 7-4)."""
    moves = np.empty(6, np.uint64)
    _moves(mask, moves)
    word &= mask
    for step in range(6):
        moving = word & moves[step]
        word = (word ^ moving) | (moving >> np.uint64(1 << step))
    return word


@kernel
def spread_portable(word, mask):  # type: ignore[no-untyped-def]
    """Do what `spread` does, on any processor (Warren 2013, section 7-5)."""
    moves = np.empty(6, np.uint64)
    _moves(mask, moves)
    for step in range(5, -1, -1):
        word = (word & ~moves[step]) | ((word << np.uint64(1 << step)) & moves[step])
    return word & mask


@_emitted
def ones(typingctx, word):  # type: ignore[no-untyped-def]
    """Return how many bits are set."""
    return types.uint64(types.uint64), lambda _context, builder, _signature, args: builder.ctpop(args[0])


@_emitted
def bit_length(typingctx, word):  # type: ignore[no-untyped-def]
    """Return how many bits it takes to write a word."""
    never = ir.Constant(ir.IntType(1), 0)
    return types.uint64(types.uint64), lambda _context, builder, _signature, args: builder.sub(
        _I64(64), builder.ctlz(args[0], never)
    )


@_emitted
def plane_of_bytes(typingctx, address, bit):  # type: ignore[no-untyped-def]
    """Return bit `bit` (0 to 7) of each of 64 bytes, as one word."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        loaded = builder.load(builder.inttoptr(args[0], _EIGHT.as_pointer()), align=1)
        shift = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), builder.sub(_I64(7), args[1]), _I32(0))
        shifts = builder.shuffle_vector(shift, shift, ir.Constant(ir.VectorType(_I32, 8), [0] * 8))
        moved = builder.bitcast(builder.shl(loaded, shifts), _BYTES)  # what strays into a byte stays below its top bit
        return builder.bitcast(builder.icmp_signed("<", moved, ir.Constant(_BYTES, [0] * 64)), _I64)

    return types.uint64(types.intp, types.intp), generate


_SWAPS = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))


@_emitted
def bytes_of_words(typingctx, words, shift, out):  # type: ignore[no-untyped-def]
    """Write 64 bytes to `out`: the lowest of each of the 64 words at `words`, after a shift to the right."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        many = ir.VectorType(_I64, 64)
        loaded = builder.load(builder.inttoptr(args[0], many.as_pointer()), align=1)
        one = builder.insert_element(ir.Constant(many, ir.Undefined), args[1], _I32(0))
        shifts = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, 64), [0] * 64))
        small = builder.trunc(builder.lshr(loaded, shifts), _BYTES)
        builder.store(small, builder.inttoptr(args[2], _BYTES.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@_emitted
def bytes_of_planes(typingctx, planes, count, out):  # type: ignore[no-untyped-def]
    """Write 64 bytes to `out`: bit k of byte i is bit i of word k at `planes`, for the first `count` of eight words.

    All eight are read. Eight 8 x 8 bit matrices are transposed side by side (Warren 2013, section 7-3).
    """

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        loaded = builder.load(builder.inttoptr(args[0], _EIGHT.as_pointer()), align=1)
        one = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), args[1], _I32(0))
        counts = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, 8), [0] * 8))
        counted = builder.icmp_unsigned("<", ir.Constant(_EIGHT, list(range(8))), counts)
        loaded = builder.bitcast(builder.select(counted, loaded, ir.Constant(_EIGHT, [0] * 8)), _BYTES)
        order = [8 * (i % 8) + i // 8 for i in range(64)]
        turned = builder.shuffle_vector(loaded, loaded, ir.Constant(ir.VectorType(_I32, 64), order))
        x = builder.bitcast(turned, _EIGHT)
        for shift, mask in _SWAPS:
            left = ir.Constant(_EIGHT, [shift] * 8)
            moving = builder.and_(builder.xor(x, builder.lshr(x, left)), ir.Constant(_EIGHT, [mask] * 8))
            x = builder.xor(x, builder.xor(moving, builder.shl(moving, left)))
        builder.store(x, builder.inttoptr(args[2], _EIGHT.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


def _lanes_up(builder: Any, vector: Any, lanes: int, by: int) -> Any:
    """Emit a vector moved up by some lanes, with zeros below."""
    zeros = ir.Constant(vector.type, [0] * lanes)
    order = [lanes if i < by else i - by for i in range(lanes)]
    return builder.shuffle_vector(vector, zeros, ir.Constant(ir.VectorType(_I32, lanes), order))


@_emitted
def slots_of_gaps(typingctx, gaps, rows, slot, out):  # type: ignore[no-untyped-def]
    """Write 64 words to `out`, each the one before (`slot` at first) plus a gap plus 1; return the last of them.

    Gaps are 16-bit numbers: byte i at `gaps` is the lower half of gap i, and with two rows byte 64 + i the upper half.
    A prefix sum by doubling (Hillis and Steele 1986), in 32 bits, which 64 gaps of 16 bits never fill.
    """

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        gaps, rows, slot, out = args
        wide, every = ir.VectorType(_I32, 64), ir.VectorType(_I64, 64)
        low = builder.load(builder.inttoptr(gaps, _BYTES.as_pointer()), align=1)
        high = builder.load(builder.inttoptr(builder.add(gaps, _I64(64)), _BYTES.as_pointer()), align=1)
        high = builder.select(builder.icmp_signed(">", rows, _I64(1)), high, ir.Constant(_BYTES, [0] * 64))
        shifted = builder.shl(builder.zext(high, wide), ir.Constant(wide, [8] * 64))
        sums = builder.add(builder.or_(builder.zext(low, wide), shifted), ir.Constant(wide, [1] * 64))
        for by in (1, 2, 4, 8, 16, 32):
            sums = builder.add(sums, _lanes_up(builder, sums, 64, by))
        one = builder.insert_element(ir.Constant(every, ir.Undefined), slot, _I32(0))
        start = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, 64), [0] * 64))
        slots = builder.add(builder.zext(sums, every), start)
        builder.store(slots, builder.inttoptr(out, every.as_pointer()), align=1)
        return builder.extract_element(slots, _I32(63))

    return types.int64(types.intp, types.intp, types.int64, types.intp), generate


def emit_fetch(builder: Any, address: Any, *, to_change: bool) -> None:
    """Emit a hint that what lies at an address, which need not exist, will soon be read, or read and changed."""
    byte = _I8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    hint = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
    builder.call(hint, [builder.inttoptr(address, byte), _I32(int(to_change)), _I32(3), _I32(1)])


@_emitted
def gaps_of_events(typingctx, events, slot, gaps, flags):  # type: ignore[no-untyped-def]
    """Write for 64 events the gap before each to `gaps`, and its low byte to `flags`; return all gaps, or-ed.

    A slot is what stands above an event's lowest 16 bits, a gap is a slot minus the one before (`slot` at first) minus
    1.
    """

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        events, slot, gaps, flags = args
        every = ir.VectorType(_I64, 64)
        loaded = builder.load(builder.inttoptr(events, every.as_pointer()), align=1)
        for line in range(0, 8 * 64, LINE_BYTES):
            emit_fetch(builder, builder.add(events, _I64(AHEAD_BYTES + line)), to_change=False)
        builder.store(builder.trunc(loaded, _BYTES), builder.inttoptr(flags, _BYTES.as_pointer()), align=1)
        slots = builder.lshr(loaded, ir.Constant(every, [16] * 64))
        first = builder.insert_element(ir.Constant(every, ir.Undefined), slot, _I32(0))
        order = ir.Constant(ir.VectorType(_I32, 64), [64, *range(63)])
        before = builder.shuffle_vector(slots, first, order)
        found = builder.sub(builder.sub(slots, before), ir.Constant(every, [1] * 64))
        builder.store(found, builder.inttoptr(gaps, every.as_pointer()), align=1)
        lanes = 64
        while lanes > 1:
            lanes //= 2
            halves = [ir.Constant(ir.VectorType(_I32, lanes), list(range(at, at + lanes))) for at in (0, lanes)]
            found = builder.or_(*(builder.shuffle_vector(found, found, half) for half in halves))
        return builder.extract_element(found, _I32(0))

    return types.uint64(types.intp, types.uint64, types.intp, types.intp), generate
