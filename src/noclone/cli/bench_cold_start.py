"""How long a user waits before anything happens: `noclone --help`, and the first kernels of a process.

Out: seconds, for `noclone bench --json`. Each is the time of a whole process, the interpreter's start included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

RUNS = 5
HELP = [sys.executable, "-m", "noclone", "--help"]
# The chain takes all that a block needs, Cascade and amplification too; it is timed as a whole.
STAGES = {"light": ("light",), "cascade": ("cascade",), "chain": ("cascade", "chain")}  # and their kernels
BYTE_CODE = "import noclone.distill.session, noclone.link.light, numba; numba.njit(lambda: 0)()"


def bench_cold_start(runs: int = RUNS, stages: Iterable[str] = STAGES) -> dict[str, float]:
    """Time processes with byte code at hand (as after a first start), and kernels first without, then with a cache.

    Returns:
        help_s; STAGE_uncached_s and STAGE_cached_s for each stage, the former a single run; first_kernel_s and
        first_kernel_uncached_s, which are those of the light.
    """
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="noclone-bench-") as folder:
        # The shell may forbid byte code or have none yet; a user's second start has it.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        _seconds(HELP, environment)
        figures["help_s"] = min(_seconds(HELP, environment) for _ in range(runs))
        for stage in stages:
            environment["NUMBA_CACHE_DIR"] = str(Path(folder) / stage)
            prepared = f"from noclone.cli.compiling import prepare; prepare(*{STAGES[stage]})"  # as commands do
            command = [sys.executable, "-c", f"{prepared}; from noclone.cli.warmup import JOBS; JOBS[{stage!r}]()"]
            _seconds([*command[:-1], BYTE_CODE], environment)
            figures[f"{stage}_uncached_s"] = _seconds(command, environment)
            figures[f"{stage}_cached_s"] = min(_seconds(command, environment) for _ in range(max(1, runs // 2)))
    if "light" in stages:
        figures["first_kernel_s"] = figures["light_cached_s"]
        figures["first_kernel_uncached_s"] = figures["light_uncached_s"]
    return figures


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - started
