"""The LDPC decoder's loops: which error pattern fits a syndrome, by layered normalised min-sum on 64 checks at a time.

In: syndromes of error patterns, a program of checks (`ldpc_codes`).  Out: the patterns, packed, or that none was found.

Min-sum after Chen and Fossorier (2002), one layer of checks after the other (Hocevar 2004), in integers of 8 bits that
saturate. Each position's belief is a byte in `levels`: its sign says error or not. A step of the program treats 64
checks of one circulant, one in each lane of a vector: written as vector code for LLVM, which takes one register under
AVX-512, two under AVX2, four under NEON. It reads 64 neighbouring levels for each edge at whatever address they begin;
so a column's first levels are kept again behind its last ones, and what is written near either end is written twice.

The magnitude passed on is (alpha * least + 128) >> 8: alpha makes up for what min-sum overestimates, which is most at
first (study/ldpc_evolution.py). It follows how far a frame has come, not how many iterations it took: alpha is looked
up by the checks that do not fit, over those that did not at the start (`ldpc_codes.PACE`). So frames with few errors
hurry, and those with many are not hurried; a frame is given up once this number has ceased to fall, for more iterations
seldom help. The magnitude is cut at LARGEST: a level that has saturated forgets part of what it was told, and when
later a large message is taken away from it, it would be left weak or wrong; then whole frames break up that had all but
decoded. All messages scale with the prior belief, so this need not follow the error rate, which only chooses the code.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.distill.cascade_words import count
from noclone.kernels import kernel

VERSION = 1
TOKEN: tuple[int, ...] = (
    0,
) * VERSION  # part of every kernel's signature: Numba's cache does not see edits of emitters

LANES = 64
BORDER = 64  # bytes before a column's first level; twice as many stand behind its last
LARGEST = 48  # message
PATIENCE, FALL = 4, 128  # a frame is given up when in more iterations so few 1 / FALL of its wrong checks went
KNOWN = 127  # belief in a position that is no part of the key: a zero at both ends

_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_BYTES, _SHORTS, _BITS = ir.VectorType(_I8, LANES), ir.VectorType(_I16, LANES), ir.VectorType(ir.IntType(1), LANES)


def _all(vector: Any, value: int) -> Any:
    return ir.Constant(vector, [ir.Constant(vector.element, value)] * LANES)


def _load(b: ir.IRBuilder, address: Any, kind: Any, align: int) -> Any:
    return b.load(b.inttoptr(address, ir.PointerType(kind)), align=align)


def _store(b: ir.IRBuilder, value: Any, address: Any, align: int) -> None:
    b.store(value, b.inttoptr(address, ir.PointerType(value.type)), align=align)


def _call(b: ir.IRBuilder, name: str, *args: Any) -> Any:
    """Emit a call of one of LLVM's own functions on vectors of bytes."""
    name = f"llvm.{name}.v{LANES}i8"
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(_BYTES, [x.type for x in args]), name)
    return b.call(function, args)


@contextmanager
def _each(b: ir.IRBuilder, first: Any, end: Any, carried: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """Emit a loop over first .. end - 1, which may be empty; `carried` is replaced by what the body leaves there."""
    before, body, after = b.block, b.append_basic_block("each"), b.append_basic_block("done")
    b.cbranch(b.icmp_signed("<", first, end), body, after)
    b.position_at_end(body)
    index = b.phi(_I64)
    index.add_incoming(first, before)
    phis = [b.phi(value.type) for value in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    values: list[Any] = list(phis)
    yield index, values
    following, last = b.add(index, ir.Constant(_I64, 1)), b.block
    index.add_incoming(following, last)
    for phi, value in zip(phis, values, strict=True):
        phi.add_incoming(value, last)
    b.cbranch(b.icmp_signed("<", following, end), body, after)
    b.position_at_end(after)
    for i, value in enumerate(values):
        result = b.phi(value.type)
        result.add_incoming(carried[i], before)
        result.add_incoming(value, last)
        carried[i] = result


def _scaled(b: ir.IRBuilder, magnitude: Any, alpha: Any) -> Any:
    wide = b.add(b.mul(b.zext(magnitude, _SHORTS), alpha), _all(_SHORTS, 128))
    return _call(b, "umin", b.trunc(b.lshr(wide, _all(_SHORTS, 8)), _BYTES), _all(_BYTES, LARGEST))


def _spread(b: ir.IRBuilder, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    one = b.insert_element(undefined, value, _I32(0))
    return b.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


def _check(
    _context: Any, token: Any, levels: Any, messages: Any, spare: Any, places: Any, mirrors: Any, bordering: Any,
    edges: Any, syndrome: Any, alpha: Any,
) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """Treat 64 checks; return which of them did not fit the syndrome as the levels stood before.

    The first `bordering` edges lie near an end of their column and are written to their place in `mirrors` as well.
    """

    def emit(_context: Any, b: ir.IRBuilder, _signature: Any, args: Any) -> Any:
        _, levels, messages, spare, places, mirrors, bordering, edges, syndrome, alpha = args
        zero, wide = _all(_BYTES, 0), ir.Constant(_I64, LANES)

        def level(table: Any, edge: Any) -> Any:
            offset = _load(b, b.add(table, b.mul(edge, ir.Constant(_I64, 4))), _I32, 4)
            return b.add(levels, b.sext(offset, _I64))

        told = b.select(b.bitcast(syndrome, _BITS), _all(_BYTES, -128), zero)
        carried = [_all(_BYTES, 127), _all(_BYTES, 127), told, told]
        with _each(b, ir.Constant(_I64, 0), edges, carried) as (edge, values):
            least, second, sign, parity = values
            offset = b.mul(edge, wide)
            old = _load(b, level(places, edge), _BYTES, 1)
            without = _call(b, "ssub.sat", old, _load(b, b.add(messages, offset), _BYTES, 64))
            _store(b, without, b.add(spare, offset), 64)
            size = _magnitude(b, without)
            values[1] = _call(b, "umin", second, _call(b, "umax", least, size))
            values[0] = _call(b, "umin", least, size)
            values[2], values[3] = b.xor(sign, without), b.xor(parity, old)
        least, second, sign, parity = carried
        factor = _spread(b, b.trunc(alpha, _I16), _SHORTS)
        others, own = _scaled(b, least, factor), _scaled(b, second, factor)

        def answer(edge: Any) -> Any:
            offset = b.mul(edge, wide)
            without = _load(b, b.add(spare, offset), _BYTES, 64)
            size = b.select(b.icmp_unsigned("==", _magnitude(b, without), least), own, others)
            flip = b.sext(b.icmp_signed("<", b.xor(sign, without), zero), _BYTES)
            message = b.sub(b.xor(size, flip), flip)
            _store(b, message, b.add(messages, offset), 64)
            new = _call(b, "sadd.sat", without, message)
            _store(b, new, level(places, edge), 1)
            return new

        with _each(b, ir.Constant(_I64, 0), bordering, []) as (edge, _):
            _store(b, answer(edge), level(mirrors, edge), 1)
        with _each(b, bordering, edges, []) as (edge, _):
            answer(edge)
        return b.bitcast(b.icmp_signed("<", parity, zero), _I64)

    a, n = types.intp, types.int64
    return types.uint64(token, a, a, a, a, a, n, n, types.uint64, n), emit


def _magnitude(b: ir.IRBuilder, value: Any) -> Any:
    """Emit |value|; that of -128 is 128, which every use takes as unsigned."""
    return _call(b, "abs", value, ir.Constant(ir.IntType(1), 0))


def _signs(_context: Any, token: Any, levels: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the signs of 64 levels as bits."""

    def emit(_context: Any, b: ir.IRBuilder, _signature: Any, args: Any) -> Any:
        return b.bitcast(b.icmp_signed("<", _load(b, args[1], _BYTES, 64), _all(_BYTES, 0)), _I64)

    return types.uint64(token, types.intp), emit


check: Any = intrinsic(_check)
signs: Any = intrinsic(_signs)


@kernel
def fits(program, bits, circulant, syndrome, pattern):  # type: ignore[no-untyped-def]
    """Say whether a packed error pattern has the syndrome, exactly."""
    words = circulant >> 6
    for step in range(len(program)):
        first, edges, one, other = program[step, 0], program[step, 2], program[step, 3], program[step, 4]
        parity = syndrome[one]
        if other >= 0:
            parity ^= syndrome[other]
        for edge in range(first, first + edges):
            at = bits[edge]
            word = at >> 6
            shift = np.uint64(at & 63)
            parity ^= pattern[word] >> shift
            if shift:
                following = word + 1 if (word + 1) % words else word + 1 - words
                parity ^= pattern[following] << (np.uint64(64) - shift)
        if parity:
            return False
    return True


@kernel
def decode(  # type: ignore[no-untyped-def]
    token, program, places, mirrors, bits, circulant, pace, most, prior, syndromes, chosen, patterns, iterations
):  # fmt: skip
    """Look for the error patterns of the chosen frames.

    Args:
        program: int64[steps, 6]: first edge, edges that border, edges, syndrome word, a second one or -1, first mirror.
        places: int32[edges]: where in `levels` the 64 levels of each edge begin; bits: the same in a packed pattern.
        pace: int64[n + 1]: alpha, in 256ths, where so many nth of the first wrong checks are wrong; the last is for the
            first iteration.
        most: iterations.
        prior: int8[frames, levels]: `levels` at the beginning, borders included; one row serves all frames.
        syndromes: uint64[frames, words].
        patterns: uint64[frames, words], overwritten for the chosen frames.
        iterations: int64[frames], overwritten: how many were needed; -n where nothing was found in n.
    """
    # Room for aligned vectors, whose addresses the kernels compute by themselves.
    size = prior.shape[1]
    room = np.empty(size + 64 * len(places) + 64 * 256 + 64, np.int8)
    levels = (room.ctypes.data + 63) & ~63
    start = levels - room.ctypes.data
    messages = levels + size
    spare = messages + 64 * len(places)
    columns = patterns.shape[1] // (circulant >> 6)
    stride = size // columns
    steps = len(pace) - 1
    for frame in chosen:
        room[start : start + size] = prior[frame if len(prior) > 1 else 0]
        room[start + size : start + size + 64 * len(places)] = 0
        syndrome = syndromes[frame]
        alpha = pace[steps]
        at_first, least, stalled = 0, 1 << 40, 0
        for iteration in range(most):
            wrong = 0
            for step in range(len(program)):
                first = program[step, 0]
                told = syndrome[program[step, 3]]
                if program[step, 4] >= 0:
                    told ^= syndrome[program[step, 4]]
                if iteration == 0:
                    at_first += count(np.int64(told))
                misfits = check(
                    token, levels, messages + 64 * first, spare, places.ctypes.data + 4 * first,
                    mirrors.ctypes.data + 4 * program[step, 5], program[step, 1], program[step, 2], told, alpha,
                )  # fmt: skip
                wrong += count(np.int64(misfits))
            alpha = pace[min(steps * wrong // max(at_first, 1), steps - 1)]
            stalled = 0 if FALL * (least - wrong) > at_first else stalled + 1
            least = wrong if stalled == 0 else least
            last = stalled > PATIENCE or iteration + 1 == most
            if wrong and not last:
                continue
            pattern = patterns[frame]
            for word in range(len(pattern)):
                column = word // (circulant >> 6)
                pattern[word] = signs(token, levels + column * stride + 64 + 64 * (word - column * (circulant >> 6)))
            if fits(program, bits, circulant, syndrome, pattern):
                iterations[frame] = iteration + 1
                break
            if last:
                iterations[frame] = -iteration - 1
                break
