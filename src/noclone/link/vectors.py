"""The few shapes of LLVM vector code that all emitters of the light share: loops, loads, constants, packing.

Vectors are of 64-bit words; addresses are integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

_I1, _I8, _I32, _I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)


@contextmanager
def repeat(b: ir.IRBuilder, count: Any, step: int, carried: list[Any] | None = None) -> Iterator[Any]:
    """Emit a loop over 0, step, ... below count, which is above 0.

    Args:
        carried: Values that one turn hands to the next: the body replaces them in the list, which holds the last ones
            afterwards.
    """
    before, body, end = b.block, b.append_basic_block("body"), b.append_basic_block("end")
    carried = [] if carried is None else carried
    b.branch(body)
    b.position_at_end(body)
    starts = [ir.Constant(_I64, 0), *carried]
    phis = [b.phi(start.type) for start in starts]
    carried[:] = phis[1:]
    yield phis[0]
    following = b.add(phis[0], ir.Constant(_I64, step))
    for phi, start, later in zip(phis, starts, [following, *carried], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(later, b.block)
    b.cbranch(b.icmp_signed("<", following, count), body, end)
    b.position_at_end(end)


def pointer(b: ir.IRBuilder, address: Any, index: Any, kind: Any) -> Any:
    """Emit the place of word number `index`, as the start of a vector."""
    return b.inttoptr(b.add(address, b.shl(index, ir.Constant(_I64, 3))), kind.as_pointer())


def shuffle(b: ir.IRBuilder, x: Any, y: Any, lanes: list[int]) -> Any:
    """Emit a choice of the lanes of two vectors."""
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, len(lanes)), [_I32(lane) for lane in lanes]))


def splat(b: ir.IRBuilder, value: Any, lanes: int) -> Any:
    """Emit a vector of equal lanes."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    return shuffle(b, b.insert_element(nothing, value, _I32(0)), nothing, [0] * lanes)


def declared(b: ir.IRBuilder, name: str, kind: Any, arguments: int) -> Any:
    """Emit the declaration of one of LLVM's functions, from vectors of a kind to the same."""
    function = b.module.globals.get(name)
    return function or ir.Function(b.module, ir.FunctionType(kind, [kind] * arguments), name)


def integer(value: int) -> Any:
    """Emit a constant."""
    return ir.Constant(_I64, value)


def all_lanes(kind: Any, value: int) -> Any:
    """Emit a vector of equal constants."""
    return ir.Constant(kind, [integer(value)] * kind.count)


def iota(kind: Any) -> Any:
    """Emit the lanes' numbers."""
    return ir.Constant(kind, [integer(lane) for lane in range(kind.count)])


class List:
    """A list in memory that grows by some lanes of a vector at a time; what lies beyond its end means nothing."""

    def __init__(self, b: ir.IRBuilder, wide: bool, outs: list[Any]) -> None:
        self._b = b
        self._wide = wide
        self._outs = outs

    def append(self, values: list[Any], chosen: Any, length: Any) -> Any:
        """Emit the packing of the chosen lanes; return the new length."""
        b = self._b
        lanes = chosen.type.count
        if not self._wide:
            for lane in range(lanes):
                for out, value in zip(self._outs, values, strict=True):
                    b.store(b.extract_element(value, _I32(lane)), pointer(b, out, length, _I64))
                length = b.add(length, b.zext(b.extract_element(chosen, _I32(lane)), _I64))
            return length
        for out, value in zip(self._outs, values, strict=True):
            kind = value.type
            packed = b.call(_masked(b, "compress", kind), [value, all_lanes(kind, 0), chosen])
            b.store(packed, pointer(b, out, length, kind), align=8)
        return b.add(length, _how_many(b, chosen))


def _masked(b: ir.IRBuilder, name: str, kind: Any) -> Any:
    name = f"llvm.x86.avx512.mask.{name}.v{kind.count}i64"
    shape = ir.FunctionType(kind, [kind, kind, ir.VectorType(_I1, kind.count)])
    return b.module.globals.get(name) or ir.Function(b.module, shape, name)


def _how_many(b: ir.IRBuilder, chosen: Any) -> Any:
    function = b.module.declare_intrinsic("llvm.ctpop", [_I8])
    return b.zext(b.call(function, [b.bitcast(chosen, ir.IntType(chosen.type.count))]), _I64)


def places(b: ir.IRBuilder, wide: bool, chosen: Any, length: Any, kind: Any) -> Any:
    """Emit where `List.append` puts each chosen lane."""
    if wide:
        following = b.add(splat(b, length, kind.count), iota(kind))
        return b.call(_masked(b, "expand", kind), [following, all_lanes(kind, 0), chosen])
    places = ir.Constant(kind, ir.Undefined)
    for lane in range(kind.count):
        places = b.insert_element(places, length, _I32(lane))
        length = b.add(length, b.zext(b.extract_element(chosen, _I32(lane)), _I64))
    return places
