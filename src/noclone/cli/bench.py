"""`noclone bench`: measure this machine, stage by stage."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from noclone.cli.terminal import Json, announce_compilation, say, show

Stage = Literal["link", "reconciliation", "ldpc", "amplification", "chain", "kme", "cold_start"]
RUNS = 5


def bench(*stages: Stage, as_json: Json = False) -> None:
    """Measure this machine, stage by stage: light, Cascade, LDPC codes, amplification, the chain, a KME, cold start.

    Nothing else should be running. Seeds are fixed, so a run can be repeated.

    Args:
        stages: Which; all of them where none is given.
    """
    announce_compilation()
    measured: dict[str, Any] = {"machine": _machine()}
    for name, measure in STAGES.items():
        if not stages or name in stages:
            say(f"measuring {name} ...")
            measured[name] = measure()
    show(measured, _lines(measured), as_json=as_json)


def _machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = named[0].partition(":")[2].strip() if named else model
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}


def _link() -> Any:
    from noclone.link.bench import bench_link

    return bench_link()


def _reconciliation() -> Any:
    from noclone.distill.bench import bench_reconciliation

    return bench_reconciliation()


def _ldpc() -> Any:
    from noclone.distill.ldpc_bench import bench_ldpc

    return bench_ldpc()


def _amplification() -> Any:
    from noclone.distill.bench import bench_amplification

    return bench_amplification()


def _chain() -> Any:
    from noclone.distill.chain_bench import bench_chain

    return bench_chain()


def _kme() -> Any:
    from noclone.kms.bench import bench_kme

    return bench_kme()


def _cold_start() -> dict[str, float]:
    """Time `noclone --help`, and the first kernel of a process, without and with a filled cache."""
    command = [sys.executable, "-m", "noclone"]
    kernel = "from noclone.link.bench import bench_link; bench_link((30,), (), seconds=0.001, threads=(2,))"
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        first = _seconds([sys.executable, "-c", kernel], environment)
        cached = min(_seconds([sys.executable, "-c", kernel], environment) for _ in range(RUNS))
    return {
        "help_s": min(_seconds([*command, "--help"], dict(os.environ)) for _ in range(RUNS)),
        "first_kernel_s": cached,
        "first_kernel_uncached_s": first,
    }


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - started


STAGES: dict[str, Callable[[], Any]] = {
    "link": _link,
    "reconciliation": _reconciliation,
    "ldpc": _ldpc,
    "amplification": _amplification,
    "chain": _chain,
    "kme": _kme,
    "cold_start": _cold_start,
}


def _lines(measured: dict[str, Any], indent: str = "") -> list[str]:
    """Write nested results one figure a line."""
    lines = []
    for name, value in measured.items():
        if isinstance(value, dict):
            lines.extend([f"{indent}{name}", *_lines(value, indent + "  ")])
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append(f"{indent}{name}: {shown}")
    return lines
