"""How kernels are compiled: kept on disk, without Python's lock, with no more around them than who calls them needs."""

from __future__ import annotations

from functools import partial
from typing import Any

from numba import njit

# No door from C: nobody comes through it, and it takes a twentieth of the time to compile.
kernel: Any = partial(njit, cache=True, nogil=True, no_cfunc_wrapper=True)
# For those that only other kernels call: no door from Python either, it takes as long to compile as many a kernel.
# A kernel without it that Python does call crashes the process.
inner: Any = partial(kernel, no_cpython_wrapper=True)
within: Any = partial(inner, forceinline=True)  # for the innermost: arrays cost seven arguments each in a call
