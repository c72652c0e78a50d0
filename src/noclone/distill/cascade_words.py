"""Words as Cascade's loops use them: counts of bits, each one instruction, and streams of bits packed in words."""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def _unary(emit: Callable[[Any, Any], Any]) -> Any:
    def typed(_context: Any, x: Any) -> Any:
        return types.uint64(types.uint64), lambda context, b, signature, args: emit(b, args[0])

    return intrinsic(typed)


_false = ir.Constant(ir.IntType(1), 0)
count: Any = _unary(lambda b, x: b.ctpop(x))
leading_zeros: Any = _unary(lambda b, x: b.ctlz(x, _false))
trailing_zeros: Any = _unary(lambda b, x: b.cttz(x, _false))


@njit(cache=True, nogil=True)
def put(words, at, bits, n):  # type: ignore[no-untyped-def]
    """Write the n lowest bits, the others being zeros, at bit `at` of words that are still zeros there."""
    w = at >> 6
    shift = at & 63
    words[w] |= bits << np.uint64(shift)
    if shift + n > 64:
        words[w + 1] |= bits >> np.uint64(64 - shift)


@njit(cache=True, nogil=True)
def take(words, at, n):  # type: ignore[no-untyped-def]
    """Return n bits from bit `at` on; what stands above them is not cleared."""
    w = at >> 6
    shift = at & 63
    value = words[w] >> np.uint64(shift)
    if shift + n > 64:
        value |= words[w + 1] << np.uint64(64 - shift)
    return value
