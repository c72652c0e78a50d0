"""Dead time in vectors: the one loop of the light that must go through all clicks in order.

Out: `alive_clicks`, for use inside kernels.

The four detectors' times of revival are the lanes of one vector, so a click costs a comparison and a choice, and the
next one need not wait for memory. No branch depends on the light.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.link.aes_simd import pointer, splat

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FOUR = ir.VectorType(_I64, 4)


def _ints(value: int) -> Any:
    return ir.Constant(_I64, value)


def _step(b: ir.IRBuilder, click: Any, dead_ticks: Any, revival: Any, number: Any) -> tuple[Any, Any]:
    """Emit what one click changes: the times of revival, and how many clicks are kept."""
    detector = b.and_(click, _ints(3))
    again = b.add(b.and_(click, _ints(~3)), dead_ticks)
    own = b.icmp_signed("==", splat(b, detector, 4), ir.Constant(_FOUR, [_ints(d) for d in range(4)]))
    alive = b.and_(own, b.icmp_signed(">=", splat(b, click, 4), revival))
    bits = b.bitcast(alive, ir.IntType(4))
    kept = b.zext(b.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(4), 0)), _I64)
    return b.select(alive, splat(b, again, 4), revival), b.add(number, kept)


def _alive_clicks(_context: Any, simd: Any, clicks: Any, ends: Any, dead_ticks: Any, dead_until: Any, kept: Any) -> Any:
    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, clicks, ends, dead_ticks, dead_until, kept = args
        zero = _ints(0)
        position, end, bound, number, goal = (b.load(pointer(b, ends, _ints(k), _I64)) for k in range(5))
        revival_place = pointer(b, dead_until, zero, _FOUR)
        revival = b.load(revival_place, align=8)
        before = b.block
        look, body, done = (b.append_basic_block(name) for name in ("look", "body", "done"))
        b.branch(look)
        b.position_at_end(look)
        at, n, until = b.phi(_I64), b.phi(_I64), b.phi(_FOUR)
        more = b.and_(b.icmp_signed("<", at, end), b.icmp_signed("<", n, goal))
        inside = b.append_basic_block("inside")
        b.cbranch(more, inside, done)
        b.position_at_end(inside)
        click = b.load(pointer(b, clicks, at, _I64))
        b.cbranch(b.icmp_signed("<", click, bound), body, done)
        b.position_at_end(body)
        b.store(click, pointer(b, kept, n, _I64))
        later, count = _step(b, click, dead_ticks, until, n)
        following = b.add(at, _ints(1))
        for phi, first, then in ((at, position, following), (n, number, count), (until, revival, later)):
            phi.add_incoming(first, before)
            phi.add_incoming(then, body)
        b.branch(look)
        b.position_at_end(done)
        b.store(at, pointer(b, ends, zero, _I64))
        b.store(n, pointer(b, ends, _ints(3), _I64))
        b.store(until, revival_place, align=8)
        return context.get_dummy_value()

    at = types.intp
    return types.void(simd, at, at, types.int64, at, at), emit


# Keep the clicks that meet a detector alive. Arguments: `AES`; addresses of the clicks (int64, `ticks << 2 | detector`)
# and of int64[5]: position, where the clicks end, the click from which on they are left, how many are kept, how many
# may be (position and how many are updated); the dead time in quarter ticks; addresses of the four times of revival, in
# quarter ticks (updated), and of the clicks kept, with room for one more than may be.
alive_clicks: Any = intrinsic(_alive_clicks)
