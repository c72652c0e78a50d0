"""Detectors with a memory, in vectors: dead time click by click, the gate and the events eight at a time.

Out: `alive_clicks`, `in_gate` and `events_of`, for use inside kernels.

Dead time is the one loop of the light that must go through clicks in order. The four detectors' times of revival
are the lanes of one vector, so that a click costs a subtraction and a choice before the next one can begin, and no
branch depends on the light.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.link.aes_simd import LANES, variant_of
from noclone.link.sampling import TICK_BITS, TICKS
from noclone.link.vectors import List, all_lanes, declared, integer, iota, places, pointer, repeat, splat

TOGETHER = 4  # clicks of one slot that `events_of` can join
COUNT_BITS = 32  # of its result

_I4, _I32, _I64 = ir.IntType(4), ir.IntType(32), ir.IntType(64)
_FOUR = ir.VectorType(_I64, 4)
_LONG_AGO = -1 << 62


def _changed(b: ir.IRBuilder, x86: bool, late: Any, revival: Any, again: Any) -> tuple[Any, Any]:
    """Emit the new times of revival, and whether one changed: those lanes where late is not negative.

    LLVM would make a mask register of the comparison, which doubles the time until the next click can begin; hence
    x86's own choice by the sign.
    """
    if x86:
        floats = ir.VectorType(ir.DoubleType(), 4)
        blend = declared(b, "llvm.x86.avx.blendv.pd.256", floats, 3)
        signs = b.module.declare_intrinsic("llvm.x86.avx.movmsk.pd.256", (), ir.FunctionType(_I32, [floats]))
        sign = b.bitcast(late, floats)
        chosen = b.call(blend, [b.bitcast(again, floats), b.bitcast(revival, floats), sign])
        return b.bitcast(chosen, _FOUR), b.icmp_unsigned("!=", b.call(signs, [sign]), _I32(15))
    dead = b.icmp_signed("<", late, all_lanes(_FOUR, 0))
    return b.select(dead, revival, again), b.icmp_unsigned("!=", b.bitcast(dead, _I4), _I4(15))


def _step(b: ir.IRBuilder, x86: bool, click: Any, dead_ticks: Any, revival: Any, number: Any) -> tuple[Any, Any]:
    """Emit what one click changes: the times of revival, and how many clicks are kept."""
    clicks = splat(b, click, 4)
    detector, start = b.and_(clicks, all_lanes(_FOUR, 3)), b.and_(clicks, all_lanes(_FOUR, ~3))
    own = b.icmp_signed("==", detector, iota(_FOUR))
    late = b.sub(b.select(own, clicks, all_lanes(_FOUR, _LONG_AGO)), revival)
    revival, kept = _changed(b, x86, late, revival, b.add(start, dead_ticks))
    return revival, b.add(number, b.zext(kept, _I64))


def _alive_clicks(_context: Any, simd: Any, clicks: Any, ends: Any, dead_ticks: Any, dead_until: Any, kept: Any) -> Any:
    x86 = variant_of(simd) in ("256", "512")

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, clicks, ends, dead_ticks, dead_until, kept = args
        zero = integer(0)
        position, end, bound, number, goal = (b.load(pointer(b, ends, integer(k), _I64)) for k in range(5))
        revival_place = pointer(b, dead_until, zero, _FOUR)
        revival, blind = b.load(revival_place, align=8), splat(b, dead_ticks, 4)
        before = b.block
        look, inside, body, done = (b.append_basic_block(name) for name in ("look", "inside", "body", "done"))
        b.branch(look)
        b.position_at_end(look)
        at, n, until = b.phi(_I64), b.phi(_I64), b.phi(_FOUR)
        b.cbranch(b.and_(b.icmp_signed("<", at, end), b.icmp_signed("<", n, goal)), inside, done)
        b.position_at_end(inside)
        click = b.load(pointer(b, clicks, at, _I64))
        b.cbranch(b.icmp_signed("<", click, bound), body, done)
        b.position_at_end(body)
        b.store(click, pointer(b, kept, n, _I64))
        later, count = _step(b, x86, click, blind, until, n)
        following = b.add(at, integer(1))
        for phi, first, then in ((at, position, following), (n, number, count), (until, revival, later)):
            phi.add_incoming(first, before)
            phi.add_incoming(then, body)
        b.branch(look)
        b.position_at_end(done)
        b.store(at, pointer(b, ends, zero, _I64))
        b.store(n, pointer(b, ends, integer(3), _I64))
        b.store(until, revival_place, align=8)
        return context.get_dummy_value()

    at = types.intp
    return types.void(simd, at, at, types.int64, at, at), emit


def _in_gate(_context: Any, simd: Any, clicks: Any, half: Any, n: Any) -> Any:
    variant = variant_of(simd)
    kind = ir.VectorType(_I64, LANES[variant])

    def emit(_context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, clicks, half, n = args
        low, width = splat(b, b.sub(integer(TICKS // 2), half), kind.count), splat(b, b.add(half, half), kind.count)
        end, packed, carried = splat(b, n, kind.count), List(b, variant == "512", [clicks]), [integer(0)]
        with repeat(b, n, kind.count, carried) as index:
            some = b.load(pointer(b, clicks, index, kind), align=8)
            offset = b.and_(b.lshr(some, all_lanes(kind, 2)), all_lanes(kind, TICKS - 1))
            inside = b.icmp_unsigned("<", b.sub(offset, low), width)
            real = b.icmp_signed("<", b.add(splat(b, index, kind.count), iota(kind)), end)
            carried[0] = packed.append([some], b.and_(inside, real), carried[0])
        return carried[0]

    return types.int64(simd, types.intp, types.int64, types.int64), emit


def _flags(b: ir.IRBuilder, mask: Any, passive: Any) -> Any:
    """Emit `detectors.flags`."""
    kind = mask.type

    def one_if(condition: Any) -> Any:
        return b.zext(condition, kind)

    zero, one = all_lanes(kind, 0), all_lanes(kind, 1)
    single = b.icmp_unsigned("==", b.and_(mask, b.sub(mask, one)), zero)
    upper = b.icmp_unsigned("!=", b.and_(mask, all_lanes(kind, 10)), zero)
    value, several = one_if(b.and_(single, upper)), one_if(b.not_(single))
    basis = b.and_(one_if(b.icmp_unsigned(">", mask, all_lanes(kind, 3))), passive)
    parts = (value, b.shl(basis, one), b.shl(several, all_lanes(kind, 2)), b.shl(mask, all_lanes(kind, 4)))
    return b.or_(b.or_(parts[0], parts[1]), b.or_(parts[2], parts[3]))


def _events_of(
    _context: Any, simd: Any, clicks: Any, n: Any, first_slot: Any, passive: Any, events: Any, several: Any, done: Any
) -> Any:
    variant = variant_of(simd)
    kind, wide = ir.VectorType(_I64, LANES[variant]), variant == "512"
    lanes = kind.count

    def emit(_context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, clicks, n, first_slot, passive, events, several, done = args
        firsts, choice, end = splat(b, first_slot, lanes), splat(b, passive, lanes), splat(b, n, lanes)
        made, listed = List(b, wide, [events]), List(b, wide, [several])
        no_lane = ir.Constant(ir.VectorType(ir.IntType(1), lanes), [0] * lanes)
        carried = [integer(0), integer(0), no_lane]

        def look(index: Any, away: int) -> tuple[Any, Any]:
            click = b.load(pointer(b, clicks, b.add(index, integer(away)), kind), align=8)
            return click, b.ashr(click, all_lanes(kind, TICK_BITS + 2))

        with repeat(b, n, lanes, carried) as index:
            click, slot = look(index, 0)
            bits = [b.shl(all_lanes(kind, 1), b.and_(click, all_lanes(kind, 3)))]
            for away in range(1, TOGETHER):
                other, place = look(index, away)
                bit = b.shl(all_lanes(kind, 1), b.and_(other, all_lanes(kind, 3)))
                bits.append(b.select(b.icmp_signed("==", place, slot), bit, all_lanes(kind, 0)))
            mask = b.or_(b.or_(bits[0], bits[1]), b.or_(bits[2], bits[3]))
            arrival = b.and_(b.lshr(click, all_lanes(kind, TICK_BITS - 6)), all_lanes(kind, 0xFF))
            arrival = b.shl(b.xor(arrival, all_lanes(kind, 0x80)), all_lanes(kind, 8))
            event = b.or_(b.shl(b.add(slot, firsts), all_lanes(kind, 16)), b.or_(arrival, _flags(b, mask, choice)))
            real = b.icmp_signed("<", b.add(splat(b, index, lanes), iota(kind)), end)
            leads = b.and_(b.icmp_signed("!=", look(index, -1)[1], slot), real)
            many = b.icmp_unsigned("!=", b.and_(event, all_lanes(kind, 4)), all_lanes(kind, 0))
            place = b.add(places(b, wide, leads, carried[0], kind), splat(b, done, lanes))
            crowd = b.and_(b.icmp_signed("==", look(index, TOGETHER)[1], slot), real)
            carried[:] = [
                made.append([event], leads, carried[0]),
                listed.append([place], b.and_(leads, many), carried[1]),
                b.or_(carried[2], crowd),
            ]
        crowded = b.icmp_unsigned("!=", b.bitcast(carried[2], ir.IntType(lanes)), ir.Constant(ir.IntType(lanes), 0))
        both = b.or_(carried[0], b.shl(carried[1], integer(COUNT_BITS)))
        return b.select(crowded, integer(-1), both)

    a = types.intp
    return types.int64(simd, a, types.int64, types.int64, types.int64, a, a, types.int64), emit


# Keep the clicks that meet a detector alive. Arguments: `AES`; addresses of the clicks (int64, `ticks << 2 | detector`)
# and of int64[5]: position, where the clicks end, the click from which on they are left, how many are kept, how many
# may be (position and how many are updated); the dead time in quarter ticks; addresses of the four times of revival, in
# quarter ticks (updated), and of the clicks kept, with room for one more than may be.
alive_clicks: Any = intrinsic(_alive_clicks)

# Keep the clicks in the gate, in place; returns how many. Arguments: `AES`; the clicks' address; half the gate's width
# in ticks; how many clicks, above 0.
in_gate: Any = intrinsic(_in_gate)

# Make events of clicks, one for each slot. Returns how many, and from bit `COUNT_BITS` on in how many of them several
# detectors clicked; or -1, events undone, if more than `TOGETHER` clicks share a slot. Arguments: `AES`; the clicks'
# address, with a click of another slot before them, and after them; how many, above 0; the number of slot 0; whether
# the detectors tell the basis; addresses for the events, and for the numbers of those with several detectors; the
# number of the first event. Both lists need room for 8 more.
events_of: Any = intrinsic(_events_of)
