"""How kernels are compiled that only other kernels call."""

from __future__ import annotations

from typing import Any

from numba import njit

# No door from Python: it takes as long to compile as many a kernel.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inner: Any = njit(**_OPTIONS)
within: Any = njit(forceinline=True, **_OPTIONS)  # for the innermost: arrays cost seven arguments each in a call
