"""Choices in slots, in vectors: AES-256 of the slots' numbers, and what it chooses, without leaving the registers.

Out: `settings`, for use inside kernels; the same, to the bit, as `choices.setting` of each slot's block.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.link.aes import ROUNDS_SECRET
from noclone.link.aes_simd import LANES, VECTORS, encrypt, variant_of, workspace
from noclone.link.vectors import pointer, repeat, splat

_I64 = ir.IntType(64)


def _setting(b: ir.IRBuilder, low: Any, high: Any, limits: list[Any]) -> Any:
    """Emit `choices.setting`."""

    def all_lanes(value: int) -> Any:
        return ir.Constant(low.type, [ir.Constant(_I64, value)] * low.type.count)

    def reached(draw: Any, limit: Any) -> Any:
        return b.zext(b.icmp_unsigned(">=", draw, limit), low.type)

    draw = b.lshr(low, all_lanes(32))
    intensity = b.add(b.add(reached(draw, limits[0]), reached(draw, limits[1])), reached(draw, limits[2]))
    basis = reached(b.and_(low, all_lanes(0xFFFFFFFF)), limits[3])
    value = b.and_(high, all_lanes(1))
    return b.or_(b.or_(b.shl(intensity, all_lanes(2)), b.shl(basis, all_lanes(1))), value)


def _settings(
    _context: Any, simd: Any, keys: Any, first: Any, shift: Any, slots: Any, limits: Any, codes: Any, n: Any
) -> Any:
    variant = variant_of(simd)
    kind = ir.VectorType(_I64, LANES[variant])

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, keys, first, shift, slots, limits, codes, n = args
        places = [pointer(b, limits, ir.Constant(_I64, k), _I64) for k in range(4)]
        bounds = [splat(b, b.load(place), kind.count) for place in places]
        firsts, shifts, space = splat(b, first, kind.count), splat(b, shift, kind.count), workspace(b, variant)
        zeros = [ir.Constant(kind, [ir.Constant(_I64, 0)] * kind.count)] * VECTORS
        with repeat(b, n, kind.count * VECTORS) as index:
            steps = [b.add(index, ir.Constant(_I64, kind.count * k)) for k in range(VECTORS)]
            loaded = [b.load(pointer(b, slots, step, kind), align=8) for step in steps]
            counters = [b.add(b.lshr(some, shifts), firsts) for some in loaded]
            lows, highs = encrypt(b, variant, keys, ROUNDS_SECRET, counters, zeros, space)
            for step, low, high in zip(steps, lows, highs, strict=True):
                b.store(_setting(b, low, high, bounds), pointer(b, codes, step, kind), align=8)
        return context.get_dummy_value()

    at = types.intp
    return types.void(simd, at, types.int64, types.int64, at, at, at, at), emit


# Set codes to the settings in some slots. Arguments: `AES`; the address of the round keys; a number to add to every
# slot, after its word is shifted to the right by so many bits; addresses of the slots' words, of four limits as
# `choices.setting` has them, and of the codes (64 bits each); how many, a multiple of `aes_simd.MULTIPLE` above 0.
settings: Any = intrinsic(_settings)
