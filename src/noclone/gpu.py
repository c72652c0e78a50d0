"""The graphics card: whether work is to go there, and what its kernels are declared with.

NOCLONE_DEVICE says where amplification, decoding and light are worked out: `cpu`, the default, or `gpu`, an NVIDIA card
through the extra `gpu` (numba-cuda). The results are the same to the last bit, so nobody else need know.

Kernels lie beside the stage that they belong to, in files that end in `_cuda`. NUMBA_ENABLE_CUDASIM=1 runs them in
Numba's simulator on any machine, some hundred thousand times slower: the tests do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from noclone.errors import InputError, NocloneError
from noclone.extras import how_to_install
from noclone.spelling import choices

DEVICES = ("cpu", "gpu")


def wanted() -> bool:
    """Return whether work goes to the card; an error if it is asked for and there is none."""
    device = os.environ.get("NOCLONE_DEVICE") or "cpu"
    if device not in DEVICES:
        raise InputError(
            f"NOCLONE_DEVICE={device!r} is no device", hint=choices(device, DEVICES, "unset it, or use one of")
        )
    if device == "cpu":
        return False
    missing = why_not()
    if missing:
        raise InputError(f"NOCLONE_DEVICE=gpu cannot be had here: {missing[0]}", hint=f"{missing[1]}; or unset it")
    return True


@contextmanager
def using(device: str) -> Iterator[None]:
    """Have work done there for a while, whatever the user asked for."""
    before = os.environ.get("NOCLONE_DEVICE")
    os.environ["NOCLONE_DEVICE"] = device
    try:
        yield
    finally:
        if before is None:
            del os.environ["NOCLONE_DEVICE"]
        else:
            os.environ["NOCLONE_DEVICE"] = before


@lru_cache(maxsize=1)
def why_not() -> tuple[str, str] | None:
    """Return why no card can be used, and what to do about it; None if one can."""
    if simulated():
        return None
    if find_spec("numba_cuda") is None:
        return "numba-cuda is not installed", how_to_install("gpu")
    from numba import cuda

    try:
        cuda.current_context()
    except Exception as error:  # the driver's own, of many kinds
        reason = " ".join(str(error).split()).rstrip(": ") or type(error).__name__
        return f"no NVIDIA GPU ({reason})", "use a machine with an NVIDIA card and its driver"
    return None


def simulated() -> bool:
    """Return whether Numba simulates a card, for tests."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


@contextmanager
def in_plain_words() -> Iterator[None]:
    """Turn what the card's driver complains of into an error that people can read."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("numba"):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NocloneError(
            f"the graphics card failed: {reason}", hint="is its memory free? or unset NOCLONE_DEVICE"
        ) from error


def card() -> str:
    """Return the card's name; only where `why_not` has nothing to say."""
    if simulated():
        return "simulator"
    from numba import cuda

    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def kernel(function: Callable[..., None]) -> Any:
    """Declare a kernel: launched as kernel[blocks, threads](...)."""
    from numba import config, cuda

    config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]  # small blocks are no mistake
    return cuda.jit(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Declare a function of kernels that becomes part of each: its tuples stay in registers."""
    from numba import cuda

    if simulated():
        return cuda.jit(device=True)(function)
    return cuda.jit(device=True, forceinline=True)(function)
