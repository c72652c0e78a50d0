"""One machine word serves 64 frames of Cascade: bits gathered, spread and counted, as Numba sees them.

`gather` and `spread` are the instructions PEXT and PDEP where the processor has them (BMI2: Intel since 2013, AMD fast
since Zen 3); a loop over the mask's bits elsewhere. Chosen from the host's features when this module is imported.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001, ARG005

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_U1 = np.uint64(1)
_U0 = np.uint64(0)


def _unary(emit: Callable[[Any, Any], Any]) -> Any:
    def typed(_context: Any, x: Any) -> Any:
        return types.uint64(types.uint64), lambda context, b, signature, args: emit(b, args[0])

    return intrinsic(typed)


def _bmi2(name: str) -> Any:
    def typed(_context: Any, x: Any, mask: Any) -> Any:
        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            word = ir.IntType(64)
            kind = ir.FunctionType(word, [word, word])
            function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
            return b.call(function, args)

        return types.uint64(types.uint64, types.uint64), emit

    return intrinsic(typed)


_false = ir.Constant(ir.IntType(1), 0)
count: Any = _unary(lambda b, x: b.ctpop(x))
leading_zeros: Any = _unary(lambda b, x: b.ctlz(x, _false))
trailing_zeros: Any = _unary(lambda b, x: b.cttz(x, _false))


@njit(cache=True, nogil=True)
def gather_portable(x, mask):  # type: ignore[no-untyped-def]
    """Collect the bits of x under the mask in the lowest bits of a word."""
    out = _U0
    at = _U1
    while mask != _U0:
        low = mask & (~mask + _U1)
        if x & low:
            out |= at
        at += at
        mask ^= low
    return out


@njit(cache=True, nogil=True)
def spread_portable(x, mask):  # type: ignore[no-untyped-def]
    """Undo `gather`: deal the lowest bits of x out to the bits of the mask."""
    out = _U0
    while mask != _U0:
        low = mask & (~mask + _U1)
        if x & _U1:
            out |= low
        x >>= _U1
        mask ^= low
    return out


HAS_BMI2 = bool(llvm.get_host_cpu_features().get("bmi2"))
gather: Any = _bmi2("llvm.x86.bmi.pext.64") if HAS_BMI2 else gather_portable
spread: Any = _bmi2("llvm.x86.bmi.pdep.64") if HAS_BMI2 else spread_portable


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
