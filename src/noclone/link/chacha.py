"""ChaCha as a function of its counter: the one source of randomness of the simulated light.

In: a 256-bit key and any counters.  Out: 512 bits for each counter, so that slot 10^14 costs the same as slot 0.

The block function is that of RFC 8439, section 2.3, with the counter widened to 64 bits (words 12 and 13) as in
Bernstein 2008, "ChaCha, a variant of Salsa20"; words 14 and 15 name the stream. Alice's settings take 20 rounds: they
are secrets. Physics takes 8 rounds: nobody has an attack on 8 (Aumasson 2019, "Too much crypto"), and no key bit is
drawn from it.

Sixteen counters are worked on together, in sixteen vectors of sixteen words: written as vector code for LLVM, which
maps it to whatever the processor has (one register per vector under AVX-512, four under NEON) and compiles it in no
time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

U32 = NDArray[np.uint32]

LANES = 64  # counters per call
WORDS = 16
ROUNDS_SECRET = 20
ROUNDS_PHYSICS = 8

_GROUP = 16  # counters per vector
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k", RFC 8439, section 2.3
_COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
_DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_I32, _GROUP)
_WIDE = ir.VectorType(_I64, _GROUP)


def _splat(builder: Any, word: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), word, _I32(0))
    mask = ir.Constant(_VECTOR, [0] * _GROUP)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), mask)


def _quarter_round(builder: Any, x: list[Any], a: int, b: int, c: int, d: int) -> None:
    """Emit RFC 8439, section 2.1."""
    for add_to, source, xor_to, left in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[add_to] = builder.add(x[add_to], x[source])
        mixed = builder.xor(x[xor_to], x[add_to])
        up = builder.shl(mixed, ir.Constant(_VECTOR, [left] * _GROUP))
        down = builder.lshr(mixed, ir.Constant(_VECTOR, [32 - left] * _GROUP))
        x[xor_to] = builder.or_(up, down)


@intrinsic
def _sixteen_blocks(typingctx, key, counters, low, high, double_rounds, out, row_bytes):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Write the blocks of 16 counters; key, counters and out are addresses, row i of the result is at i * row_bytes."""
    signature = types.void(types.intp, types.intp, types.uint32, types.uint32, types.intp, types.intp, types.intp)

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        key, counters, low, high, double_rounds, out, row_bytes = args
        words = builder.inttoptr(key, _I32.as_pointer())
        key_words = [builder.load(builder.gep(words, [_I64(i)]), align=4) for i in range(8)]
        counter = builder.load(builder.inttoptr(counters, _WIDE.as_pointer()), align=8)
        counter_high = builder.trunc(builder.lshr(counter, ir.Constant(_WIDE, [32] * _GROUP)), _VECTOR)
        start = [ir.Constant(_VECTOR, [word] * _GROUP) for word in _CONSTANTS]
        start += [_splat(builder, word) for word in key_words]
        start += [builder.trunc(counter, _VECTOR), counter_high, _splat(builder, low), _splat(builder, high)]

        before = builder.block
        loop = builder.append_basic_block("double_round")
        after = builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        left = builder.phi(_I64)
        state = [builder.phi(_VECTOR) for _ in range(WORDS)]
        x = list(state)
        for rows in _COLUMNS + _DIAGONALS:
            _quarter_round(builder, x, *rows)
        fewer = builder.sub(left, _I64(1))
        for phi, first, later in zip([left, *state], [double_rounds, *start], [fewer, *x], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed(">", fewer, _I64(0)), loop, after)
        builder.position_at_end(after)
        for i in range(WORDS):
            address = builder.add(out, builder.mul(row_bytes, _I64(i)))
            builder.store(builder.add(x[i], start[i]), builder.inttoptr(address, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, generate


@njit(cache=True, nogil=True)
def blocks(key, stream_low, stream_high, counters, rounds, x):  # type: ignore[no-untyped-def]
    """Fill x[16, LANES] with the blocks of LANES counters.

    Args:
        key: uint32[8].
        stream_low: Word 14 of the first state, uint32.
        stream_high: Word 15.
        counters: uint64[LANES].
        rounds: 20 or 8.
        x: uint32[16, LANES], overwritten.
    """
    for group in range(LANES // _GROUP):
        _sixteen_blocks(  # type: ignore[call-arg]
            key.ctypes.data,
            counters.ctypes.data + group * _GROUP * 8,
            np.uint32(stream_low),
            np.uint32(stream_high),
            rounds // 2,
            x.ctypes.data + group * _GROUP * 4,
            LANES * 4,
        )


def key_words(key: bytes) -> U32:
    """Return a 32-byte key as the kernels want it."""
    assert len(key) == 32
    return np.frombuffer(key, "<u4").astype(np.uint32)
