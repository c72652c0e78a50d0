"""Random words into gaps and ticks, in vectors: LLVM code that gives, to the bit, what `sampling` says.

Out: `gaps`, `central_ticks` and `tail_ticks`, for use inside kernels.

Conversions between integers and floats go through the bits of a float: AVX2 has no instruction for 64-bit integers, and
a loop of scalar ones would take as long as the logarithm.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.link.aes_simd import declared, pointer, repeat, splat
from noclone.link.sampling import (
    CENTRAL_LOW,
    CENTRAL_TOP,
    LN_2,
    LONGEST_GAP,
    SQRT_2,
    TAIL_LOW,
    TAIL_TOP,
    TICKS,
)

MULTIPLE = 16  # gaps are worked out in groups of this many
_LANES = 8
_I64, _F64 = ir.IntType(64), ir.DoubleType()
_INTS, _FLOATS = ir.VectorType(_I64, _LANES), ir.VectorType(_F64, _LANES)
_ONE = 0x3FF0000000000000  # the bits of 1.0
_MANTISSA = (1 << 52) - 1
_TWO_52 = 2.0**52  # whose last bit is worth 1


def _ints(value: int) -> Any:
    return ir.Constant(_INTS, [ir.Constant(_I64, value)] * _LANES)


def _floats(value: float) -> Any:
    return ir.Constant(_FLOATS, [ir.Constant(_F64, value)] * _LANES)


def _log(b: ir.IRBuilder, x: Any) -> Any:
    """Emit `sampling.log_of_parts` of normal numbers above zero."""
    bits = b.bitcast(x, _INTS)
    raised = b.or_(b.lshr(bits, _ints(52)), _ints(0x4330000000000000))  # 2^52 + the exponent's field
    exponent = b.fsub(b.bitcast(raised, _FLOATS), _floats(_TWO_52 + 1023.0))
    mantissa = b.bitcast(b.or_(b.and_(bits, _ints(_MANTISSA)), _ints(_ONE)), _FLOATS)
    big = b.fcmp_ordered(">", mantissa, _floats(SQRT_2))
    mantissa = b.select(big, b.fmul(mantissa, _floats(0.5)), mantissa)
    exponent = b.select(big, b.fadd(exponent, _floats(1.0)), exponent)
    f = b.fdiv(b.fsub(mantissa, _floats(1.0)), b.fadd(mantissa, _floats(1.0)))
    g = b.fmul(f, f)
    h = b.fmul(g, g)
    i = b.fmul(h, h)
    pairs = [b.fadd(_floats(1.0 / k), b.fmul(g, _floats(1.0 / (k + 2)))) for k in (1, 5, 9, 13, 17)]
    low, high = b.fadd(pairs[0], b.fmul(h, pairs[1])), b.fadd(pairs[2], b.fmul(h, pairs[3]))
    s = b.fadd(b.fadd(low, b.fmul(i, high)), b.fmul(b.fmul(i, i), pairs[4]))
    return b.fadd(b.fmul(b.fmul(_floats(2.0), f), s), b.fmul(exponent, _floats(LN_2)))


def _whole(b: ir.IRBuilder, x: Any) -> Any:
    """Emit floor(x), as integers, for |x| < 2^50."""
    raised = b.fadd(x, _floats(1.5 * _TWO_52))  # rounds to the nearest whole number
    above = b.fcmp_ordered(">", b.fsub(raised, _floats(1.5 * _TWO_52)), x)
    nearest = b.sub(b.and_(b.bitcast(raised, _INTS), _ints(_MANTISSA)), _ints(1 << 51))
    return b.add(nearest, b.sext(above, _INTS))


def _gap(b: ir.IRBuilder, words: Any, inverse_rate: Any) -> Any:
    """Emit `sampling.geometric`."""
    near_one = b.bitcast(b.or_(b.lshr(words, _ints(12)), _ints(_ONE)), _FLOATS)
    u = b.fsub(near_one, _floats(1.0 - 2.0**-53))  # exact
    wait = b.fmul(b.fsub(_floats(-0.0), _log(b, u)), inverse_rate)
    longest = _floats(float(LONGEST_GAP))
    wait = b.select(b.fcmp_ordered("<", wait, longest), wait, longest)
    return b.add(_whole(b, wait), _ints(1))


def _polynomial(b: ir.IRBuilder, x: Any, coefficients: tuple[float, ...]) -> Any:
    """Emit Horner's scheme, the highest coefficient first."""
    total = _floats(coefficients[0])
    for coefficient in coefficients[1:]:
        total = b.fadd(b.fmul(total, x), _floats(coefficient))
    return total


def _share(b: ir.IRBuilder, words: Any) -> Any:
    """Emit (upper half + 1/2) / 2^32."""
    raised = b.bitcast(b.or_(b.lshr(words, _ints(32)), _ints(0x4330000000000000)), _FLOATS)
    return b.fmul(b.fadd(b.fsub(raised, _floats(_TWO_52)), _floats(0.5)), _floats(2.0**-32))


def _centre(b: ir.IRBuilder, words: Any) -> Any:
    """Emit the normal quantile of shares near the middle; far from it the result means nothing."""
    q = b.fsub(_share(b, words), _floats(0.5))
    r = b.fsub(_floats(0.180625), b.fmul(q, q))
    return b.fdiv(b.fmul(q, _polynomial(b, r, CENTRAL_TOP)), _polynomial(b, r, CENTRAL_LOW))


def _tail(b: ir.IRBuilder, words: Any) -> Any:
    """Emit the normal quantile of shares far from the middle."""
    share = _share(b, words)
    low = b.fcmp_ordered("<", share, _floats(0.5))
    nearer = b.select(low, share, b.fsub(_floats(1.0), share))
    sqrt = declared(b, f"llvm.sqrt.v{_LANES}f64", _FLOATS, 1)
    r = b.fsub(b.call(sqrt, [b.fsub(_floats(-0.0), _log(b, nearer))]), _floats(1.6))
    size = b.fdiv(_polynomial(b, r, TAIL_TOP), _polynomial(b, r, TAIL_LOW))
    return b.select(low, b.fsub(_floats(-0.0), size), size)


def _ticks(b: ir.IRBuilder, deviates: Any, jitter: Any) -> Any:
    """Emit the rounding of `sampling.photon_tick`."""
    return b.add(_whole(b, b.fadd(b.fmul(deviates, jitter), _floats(0.5))), _ints(TICKS // 2))


def _loop(of_words: Any) -> Any:
    def typed(_context: Any, simd: Any, words: Any, factor: Any, out: Any, count: Any) -> Any:
        def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
            _, words, factor, out, count = args
            factors = splat(b, factor, _LANES)
            with repeat(b, count, 2 * _LANES) as index:
                for k in (0, _LANES):
                    place = b.add(index, ir.Constant(_I64, k))
                    found = of_words(b, b.load(pointer(b, words, place, _INTS), align=8), factors)
                    b.store(found, pointer(b, out, place, _INTS), align=8)
            return context.get_dummy_value()

        return types.void(simd, types.intp, types.float64, types.intp, types.intp), emit

    return intrinsic(typed)


# Their arguments: `AES`, the words' address, a factor, the result's address, how many (above 0).
# Geometric gaps; the factor is -1 / ln(1 - p).
gaps: Any = _loop(_gap)
# When photons arrive; the factor is the jitter in ticks. `sampling.is_tail` says which words are for which.
central_ticks: Any = _loop(lambda b, words, jitter: _ticks(b, _centre(b, words), jitter))
tail_ticks: Any = _loop(lambda b, words, jitter: _ticks(b, _tail(b, words), jitter))
