"""The inner loops of the first half of the light, in vectors: where proposals lie, and which of them may click.

Out: `proposals`, `sort_out`, `copy_words` and `disorder`, for use inside kernels. Every variant gives the same bits;
the 512-bit one keeps the table of limits in registers and packs what is kept with one instruction, the others do both
one lane at a time.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.link.aes import ROUNDS_NATURE
from noclone.link.aes_simd import LANES, VECTORS, encrypt, variant_of, workspace
from noclone.link.sampling import TICK_BITS
from noclone.link.sampling_simd import gap
from noclone.link.vectors import List, all_lanes, integer, iota, places, pointer, repeat, shuffle, splat

LIMITS = 5  # of a case: the ends of what clicks detectors 0 to 3 alone, and of what needs a closer look
COPIED = 32  # words in a step of `copy_words`
SIZES = (16, 32)  # rows of a table of limits that fit into registers
PLACE_BITS = 16  # of an entry in the list of what needs a closer look: row | place among those kept | number

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _running_sum(b: ir.IRBuilder, x: Any) -> Any:
    """Emit the sums of each lane and all before it."""
    lanes, step = x.type.count, 1
    while step < lanes:
        earlier = [lane - step if lane >= step else lanes for lane in range(lanes)]
        x = b.add(x, shuffle(b, x, all_lanes(x.type, 0), earlier))
        step *= 2
    return x


def _proposals(
    _context: Any,
    simd: Any,
    keys: Any,
    stream: Any,
    first: Any,
    mean_negated: Any,
    last: Any,
    draws: Any,
    rests: Any,
    at: Any,
    n: Any,
) -> Any:
    variant = variant_of(simd)
    kind = ir.VectorType(_I64, LANES[variant])
    lanes = kind.count

    def emit(_context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, keys, stream, first, mean_negated, last, draws, rests, at, n = args
        streams, space = [splat(b, stream, lanes)] * VECTORS, workspace(b, variant)
        numbers = b.add(splat(b, first, lanes), iota(kind))
        with repeat(b, n, lanes * VECTORS) as index:
            steps = [b.add(index, integer(lanes * k)) for k in range(VECTORS)]
            counters = [b.add(numbers, splat(b, step, lanes)) for step in steps]
            lows, highs = encrypt(b, variant, keys, ROUNDS_NATURE, counters, streams, space)
            for step, low, high in zip(steps, lows, highs, strict=True):
                b.store(low, pointer(b, rests, step, kind), align=8)
                b.store(high, pointer(b, draws, step, kind), align=8)
        # A loop of its own: logarithms are long chains, and a processor looks only some hundred instructions ahead.
        means, carried = splat(b, mean_negated, lanes), [splat(b, last, lanes)]
        with repeat(b, n, lanes, carried) as index:
            words = b.load(pointer(b, rests, index, kind), align=8)
            slots = b.add(_running_sum(b, gap(b, variant, words, means)), carried[0])
            carried[0] = shuffle(b, slots, slots, [lanes - 1] * lanes)
            b.store(slots, pointer(b, at, index, kind), align=8)
        return b.extract_element(carried[0], _I32(0))

    a = types.intp
    return types.int64(simd, a, types.uint64, types.uint64, types.float64, types.int64, a, a, a, a), emit


def _looked_up(b: ir.IRBuilder, variant: str, rows: Any, table: Any, stride: Any, registers: int) -> list[Any]:
    """Emit the limits of each lane's case, from a table in 2 or 4 registers for each limit, or from memory if 0."""
    found = []
    kind = rows.type
    for k in range(LIMITS):
        start = b.mul(stride, integer(k))
        if registers:
            parts = [
                b.load(pointer(b, table, b.add(start, integer(8 * part)), kind), align=8) for part in range(registers)
            ]
            name = "llvm.x86.avx512.vpermi2var.q.512"
            choose = b.module.globals.get(name) or ir.Function(b.module, ir.FunctionType(kind, [kind] * 3), name)
            pairs = [b.call(choose, [parts[p], rows, parts[p + 1]]) for p in range(0, registers, 2)]
            later = b.icmp_unsigned(">=", rows, all_lanes(kind, 16))
            found.append(b.select(later, pairs[-1], pairs[0]))
            continue
        limit = ir.Constant(kind, ir.Undefined)
        for lane in range(kind.count):
            place = b.add(start, b.extract_element(rows, _I32(lane)))
            limit = b.insert_element(limit, b.load(pointer(b, table, place, _I64)), _I32(lane))
        found.append(limit)
    return found


def _sorted_loop(b: ir.IRBuilder, variant: str, registers: int, args: list[Any]) -> Any:
    """Emit the loop of `sort_out` for a table in so many registers; return what it does."""
    at, draws, rests, rows, table, stride, n_slots, starts, shares, rare, n = args
    kind = ir.VectorType(_I64, LANES[variant])
    lanes, wide = kind.count, variant == "512"
    kept, listed = List(b, wide, [starts, shares]), List(b, wide, [rare])
    end = splat(b, n_slots, lanes)
    carried = [integer(0), integer(0)]
    with repeat(b, n, lanes, carried) as index:
        slots, draw, rest, row = (b.load(pointer(b, x, index, kind), align=8) for x in (at, draws, rests, rows))
        limits = _looked_up(b, variant, row, table, stride, registers)
        beyond = [b.icmp_unsigned(">=", draw, limit) for limit in limits]
        ones = [b.zext(flag, kind) for flag in beyond[:3]]
        detector = b.add(b.add(ones[0], ones[1]), ones[2])
        chosen = b.and_(b.not_(beyond[4]), b.icmp_signed("<", slots, end))
        closer = b.and_(chosen, beyond[3])
        start = b.or_(b.shl(slots, all_lanes(kind, TICK_BITS + 2)), detector)
        share = b.or_(
            b.shl(draw, all_lanes(kind, 44)), b.shl(b.and_(rest, all_lanes(kind, 0xFFF)), all_lanes(kind, 32))
        )
        length = carried[0]
        carried[0] = kept.append([start, share], chosen, length)
        before = b.block
        several = b.bitcast(closer, ir.IntType(lanes))
        with b.if_then(b.icmp_unsigned("!=", several, ir.Constant(several.type, 0))):
            number = b.add(splat(b, index, lanes), iota(kind))
            place = b.shl(places(b, wide, chosen, length, kind), all_lanes(kind, PLACE_BITS))
            entry = b.or_(b.or_(b.shl(row, all_lanes(kind, 2 * PLACE_BITS)), place), number)
            longer, inside = listed.append([entry], closer, carried[1]), b.block
        told = b.phi(_I64)
        told.add_incoming(carried[1], before)
        told.add_incoming(longer, inside)
        carried[1] = told
    return b.or_(carried[0], b.shl(carried[1], integer(PLACE_BITS)))


def _sort_out(
    _context: Any,
    simd: Any,
    at: Any,
    draws: Any,
    rests: Any,
    rows: Any,
    table: Any,
    stride: Any,
    n_slots: Any,
    starts: Any,
    shares: Any,
    rare: Any,
    n: Any,
) -> Any:
    variant = variant_of(simd)

    def emit(_context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        stride, end = args[6], b.append_basic_block("sorted")
        results = []
        for size in SIZES if variant == "512" else ():
            fits, larger = b.append_basic_block("fits"), b.append_basic_block("larger")
            b.cbranch(b.icmp_unsigned("<=", stride, integer(size)), fits, larger)
            b.position_at_end(fits)
            results.append((_sorted_loop(b, variant, size // 8, args[1:]), b.block))
            b.branch(end)
            b.position_at_end(larger)
        results.append((_sorted_loop(b, variant, 0, args[1:]), b.block))
        b.branch(end)
        b.position_at_end(end)
        found = b.phi(_I64)
        for value, block in results:
            found.add_incoming(value, block)
        return found

    a = types.intp
    return types.int64(simd, a, a, a, a, a, types.int64, types.int64, a, a, a, a), emit


def _disorder(_context: Any, words: Any, count: Any) -> Any:
    def emit(_context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        words, count = args
        kind = ir.VectorType(_I64, 8)
        end, carried = splat(b, count, 8), [all_lanes(kind, 0)]
        with repeat(b, count, 8, carried) as index:
            these, before = (b.load(pointer(b, words, b.add(index, integer(k)), kind), align=8) for k in (0, -1))
            real = b.icmp_signed("<", b.add(splat(b, index, 8), iota(kind)), end)
            fallen = b.and_(real, b.icmp_signed("<", these, before))
            carried[0] = b.or_(carried[0], b.zext(fallen, kind))
        lanes = [b.extract_element(carried[0], _I32(lane)) for lane in range(8)]
        for lane in lanes[1:]:
            lanes[0] = b.or_(lanes[0], lane)
        return lanes[0]

    return types.int64(types.intp, types.intp), emit


def _copy_words(_context: Any, source: Any, target: Any, count: Any) -> Any:
    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        source, target, count = args
        eight = ir.VectorType(_I64, 8)
        with repeat(b, count, COPIED) as index:
            for step in range(0, COPIED, 8):
                place = b.add(index, integer(step))
                b.store(b.load(pointer(b, source, place, eight), align=8), pointer(b, target, place, eight), align=8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), emit


# The next proposals after slot `last`; returns the last one's slot. Arguments: `AES`; the address of nature's round
# keys; the stream; the first proposal's number; 1 / ln(1 - p); the slot before; addresses for each proposal's draw,
# for the word that its gap came from, and for its slot; how many, a multiple of `aes_simd.MULTIPLE`.
proposals: Any = intrinsic(_proposals)

# What proposals come to. Returns how many are kept, and from bit `PLACE_BITS` on how many need a closer look.
# Arguments: `AES`; addresses of the slots, the draws, the gaps' words and the cases; the address of the limits, one row
# for each of the `LIMITS`; how long such a row is, at least `SIZES[0]`; the slot from which on proposals lie outside;
# addresses for what is kept: `slot's start in ticks << 2 | detector`, and 32 bits in the upper half of a word that say
# when a photon arrives; the address for entries of what needs a closer look; how many. All three lists need room for 8
# more.
sort_out: Any = intrinsic(_sort_out)

# Copy words of 64 bits, and up to `COPIED` - 1 more: the processor then guesses the number of turns right more often.
# Arguments: addresses from and to; how many, above 0.
copy_words: Any = intrinsic(_copy_words)

# Whether a word (signed) is less than the one before it, 0 or 1. Arguments: the first word's address; how many, above
# 0.
disorder: Any = intrinsic(_disorder)
