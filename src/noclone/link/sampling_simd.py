"""Random words into gaps and ticks, in vectors: LLVM code that gives, to the bit, what `sampling` says.

Out: `gap` for other emitters; `central_ticks` and `tail_ticks` for use inside kernels.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.link.aes_simd import variant_of
from noclone.link.sampling import (
    CENTRAL_LOW,
    CENTRAL_TOP,
    LN_2,
    LOG_INVERSES,
    LOG_START,
    LOGS,
    TAIL,
    TAIL_LOW,
    TAIL_TOP,
    TICKS,
)
from noclone.link.vectors import List, all_lanes, declared, integer, iota, pointer, repeat, splat

_LANES = 8
_I32, _I64, _F64 = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_ONE = 0x3FF0000000000000  # the bits of 1.0
_START = 0x3FE6000000000000  # those of LOG_START
assert float.fromhex("0x1.6p-1") == LOG_START


def _like(x: Any, value: float) -> Any:
    """Emit a vector of equal constants, of x's type."""
    return ir.Constant(x.type, [ir.Constant(x.type.element, value)] * x.type.count)


def _to(b: ir.IRBuilder, x: Any, element: Any) -> Any:
    """Emit the same bits, as other numbers."""
    return b.bitcast(x, ir.VectorType(element, x.type.count))


def _floats(b: ir.IRBuilder, x: Any) -> Any:
    """Emit whole numbers as floats."""
    return b.sitofp(x, ir.VectorType(_F64, x.type.count))


def _whole(b: ir.IRBuilder, x: Any) -> Any:
    """Emit floor(x) as whole numbers."""
    return b.fptosi(b.call(declared(b, f"llvm.floor.v{x.type.count}f64", x.type, 1), [x]), _ints(x))


def _ints(x: Any) -> Any:
    return ir.VectorType(_I64, x.type.count)


def _sixteen(b: ir.IRBuilder, variant: str, values: tuple[float, ...], index: Any) -> Any:
    """Emit the choice of one of sixteen constants in each lane, by the index's lowest four bits."""
    if variant == "512":
        kind = ir.VectorType(_F64, 8)
        halves = [ir.Constant(kind, [ir.Constant(_F64, v) for v in half]) for half in (values[:8], values[8:])]
        name = "llvm.x86.avx512.vpermi2var.pd.512"
        function = b.module.globals.get(name)
        if function is None:
            function = ir.Function(b.module, ir.FunctionType(kind, [kind, index.type, kind]), name)
        return b.call(function, [halves[0], index, halves[1]])
    array = ir.Constant(ir.ArrayType(_F64, 16), [ir.Constant(_F64, v) for v in values])
    name = f"noclone_sixteen_{abs(hash(values)):x}"
    table = b.module.globals.get(name)
    if table is None:
        table = ir.GlobalVariable(b.module, array.type, name)
        table.linkage, table.global_constant, table.initializer = "internal", True, array
    chosen = ir.Constant(ir.VectorType(_F64, index.type.count), ir.Undefined)
    index = b.and_(index, _like(index, 15))
    for lane in range(index.type.count):
        place = b.gep(table, [ir.Constant(_I64, 0), b.extract_element(index, _I32(lane))], inbounds=True)
        chosen = b.insert_element(chosen, b.load(place), _I32(lane))
    return chosen


def _log(b: ir.IRBuilder, variant: str, x: Any) -> Any:
    """Emit `sampling.natural_log`, the intervals found by what they add to a float's bits."""
    bits = _to(b, x, _I64)
    above = b.sub(bits, _like(bits, _START))
    exponent = _floats(b, b.ashr(above, _like(bits, 52)))
    index = b.lshr(above, _like(bits, 48))
    z = b.sub(bits, b.and_(above, _like(bits, -1 << 52)))
    centre = _to(b, b.or_(b.and_(z, _like(bits, -1 << 48)), _like(bits, 1 << 47)), _F64)
    inverse, log = (_sixteen(b, variant, values, index) for values in (LOG_INVERSES, LOGS))
    r = b.fmul(b.fsub(_to(b, z, _F64), centre), inverse)
    g = b.fmul(r, r)
    h = b.fmul(g, g)
    pairs = [b.fadd(_like(x, 1.0 / k), b.fmul(r, _like(x, -1.0 / (k + 1)))) for k in (1, 3, 5, 7, 9)]
    low, high = b.fadd(pairs[0], b.fmul(g, pairs[1])), b.fadd(pairs[2], b.fmul(g, pairs[3]))
    s = b.fadd(b.fadd(low, b.fmul(h, high)), b.fmul(b.fmul(h, h), pairs[4]))
    return b.fadd(b.fmul(r, s), b.fadd(log, b.fmul(exponent, _like(x, LN_2))))


def gap(b: ir.IRBuilder, variant: str, words: Any, mean_negated: Any) -> Any:
    """Emit `sampling.geometric` of a vector of words, with as many equal laws."""
    near_one = _to(b, b.or_(b.lshr(words, _like(words, 12)), _like(words, _ONE)), _F64)
    u = b.fsub(near_one, _like(near_one, 1.0 - 2.0**-53))  # exact
    wait = b.fmul(_log(b, variant, u), mean_negated)
    return b.add(b.fptosi(wait, words.type), _like(words, 1))


def _polynomial(b: ir.IRBuilder, x: Any, coefficients: tuple[float, ...]) -> Any:
    """Emit Horner's scheme, the highest coefficient first."""
    total = _like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = b.fadd(b.fmul(total, x), _like(x, coefficient))
    return total


def _share(b: ir.IRBuilder, words: Any) -> Any:
    """Emit (upper half + 1/2) / 2^32."""
    half = _floats(b, b.lshr(words, _like(words, 32)))
    return b.fmul(b.fadd(half, _like(half, 0.5)), _like(half, 2.0**-32))


def _centre(b: ir.IRBuilder, words: Any) -> Any:
    """Emit the normal quantile of shares near the middle; far from it the result means nothing."""
    share = _share(b, words)
    q = b.fsub(share, _like(share, 0.5))
    r = b.fsub(_like(q, 0.180625), b.fmul(q, q))
    return b.fdiv(b.fmul(q, _polynomial(b, r, CENTRAL_TOP)), _polynomial(b, r, CENTRAL_LOW))


def _tail(b: ir.IRBuilder, variant: str, words: Any) -> Any:
    """Emit the normal quantile of shares far from the middle."""
    share = _share(b, words)
    low = b.fcmp_ordered("<", share, _like(share, 0.5))
    nearer = b.select(low, share, b.fsub(_like(share, 1.0), share))
    sqrt = declared(b, f"llvm.sqrt.v{_LANES}f64", share.type, 1)
    r = b.fsub(b.call(sqrt, [b.fsub(_like(share, -0.0), _log(b, variant, nearer))]), _like(share, 1.6))
    size = b.fdiv(_polynomial(b, r, TAIL_TOP), _polynomial(b, r, TAIL_LOW))
    return b.select(low, b.fsub(_like(size, -0.0), size), size)


def _ticks(b: ir.IRBuilder, deviates: Any, jitters: Any) -> Any:
    """Emit the rounding of `sampling.photon_tick`."""
    ticks = _whole(b, b.fadd(b.fmul(deviates, jitters), _like(deviates, 0.5)))
    return b.add(ticks, _like(ticks, TICKS // 2))


def _central_ticks(
    _context: Any, simd: Any, words: Any, jitter: Any, out: Any, tails: Any, numbers: Any, n: Any
) -> Any:
    wide = variant_of(simd) == "512"

    def emit(_context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, words, jitter, out, tails, numbers, n = args
        kind = ir.VectorType(_I64, _LANES)
        jitters, end, listed, carried = (
            splat(b, jitter, _LANES),
            splat(b, n, _LANES),
            List(b, wide, [tails, numbers]),
            [integer(0)],
        )
        with repeat(b, n, _LANES, carried) as index:
            some = b.load(pointer(b, words, index, kind), align=8)
            b.store(_ticks(b, _centre(b, some), jitters), pointer(b, out, index, kind), align=8)
            half, number = b.lshr(some, all_lanes(kind, 32)), b.add(splat(b, index, _LANES), iota(kind))
            middle = b.icmp_unsigned(
                "<=", b.sub(half, all_lanes(kind, TAIL)), all_lanes(kind, (1 << 32) - 1 - 2 * TAIL)
            )
            chosen = b.and_(b.not_(middle), b.icmp_signed("<", number, end))
            carried[0] = listed.append([some, number], chosen, carried[0])
        return carried[0]

    at = types.intp
    return types.int64(simd, at, types.float64, at, at, at, at), emit


def _tail_ticks(_context: Any, simd: Any, words: Any, jitter: Any, out: Any, n: Any) -> Any:
    variant = variant_of(simd)

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, words, jitter, out, n = args
        jitters, kind = splat(b, jitter, _LANES), ir.VectorType(_I64, _LANES)
        with repeat(b, n, _LANES) as index:
            some = b.load(pointer(b, words, index, kind), align=8)
            b.store(_ticks(b, _tail(b, variant, some), jitters), pointer(b, out, index, kind), align=8)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.float64, types.intp, types.intp), emit


def _exponentials(_context: Any, simd: Any, words: Any, out: Any, n: Any) -> Any:
    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, words, out, n = args
        kind = ir.VectorType(_I64, _LANES)
        with repeat(b, n, _LANES) as index:
            some = b.lshr(b.load(pointer(b, words, index, kind), align=8), all_lanes(kind, 11))
            u = _floats(b, b.add(some, all_lanes(kind, 1)))
            u = b.fmul(u, _like(u, 2.0**-53))
            found = b.fsub(_like(u, -0.0), _log(b, variant_of(simd), u))
            b.store(found, pointer(b, out, index, found.type), align=8)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.intp, types.intp), emit


# Exponential numbers of mean 1, from the upper 53 bits of words. Arguments: `AES`; addresses of the words and of the
# result; how many, a multiple of 8 above 0.
exponentials: Any = intrinsic(_exponentials)

# When photons arrive, by `sampling.photon_tick`. Both take `AES` first, and need room for 7 more words than they say.

# For words in the middle of the normal law; returns how many are not (`sampling.is_tail`). Arguments: the words'
# address; the jitter in ticks; addresses for the ticks, for the words in the tails, and for their numbers; how many
# words, above 0.
central_ticks: Any = intrinsic(_central_ticks)

# For words in the tails. Arguments: the words' address; the jitter in ticks; the address for the ticks; how many.
tail_ticks: Any = intrinsic(_tail_ticks)
