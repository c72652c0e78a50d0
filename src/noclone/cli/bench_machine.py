"""The machine that was measured: what it is, and the physical limits that no stage can pass.

Out: plain data for `noclone bench --json`.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import noclone

# What the kernels choose by, or would gain from, as Linux names it.
FEATURES = ("aes", "pclmulqdq", "avx2", "bmi2", "vaes", "vpclmulqdq", "avx512f", "gfni", "pmull", "sve2")
COPY_BYTES = 1 << 26
RANDOM_BYTES = 1 << 22


def describe() -> dict[str, Any]:
    """Return what the machine and the software are, and when it was measured."""
    model, flags = _cpu()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "features": [name for name in FEATURES if name in flags],
        "system": f"{platform.system()} {platform.machine()}",
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "numba": version("numba"),
        "numpy": version("numpy"),
        "noclone": noclone.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def measure_limits() -> dict[str, Any]:
    """Measure what bounds every stage, on one thread: copying memory, and fresh random bits."""
    import numpy as np

    source, target = np.ones(COPY_BYTES // 8, np.uint64), np.zeros(COPY_BYTES // 8, np.uint64)
    return {
        "threads": 1,
        "memory_copy_gbyte_per_s": COPY_BYTES / _best(lambda: np.copyto(target, source)) / 1e9,
        "urandom_gbyte_per_s": RANDOM_BYTES / _best(lambda: os.urandom(RANDOM_BYTES)) / 1e9,
    }


def _cpu() -> tuple[str, set[str]]:
    """Return the processor's name and its features, from Linux; elsewhere the name that Python knows."""
    model, flags = platform.processor() or platform.machine(), set[str]()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() in ("flags", "Features"):
                flags = set(value.split())
    return model, flags


def _best(work: Callable[[], object], runs: int = 8) -> float:
    """Return the seconds of the fastest run: what the machine can do when nothing disturbs it."""
    best_s = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - start)
    return best_s
