"""`noclone warmup`: compile every kernel once, so that no later command waits for it.

Each stage does its smallest job, once what it needs is compiled. `noclone bench cold_start` times the same jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from noclone.cli.compiling import prepare
from noclone.cli.terminal import Json, say, show


def warmup(*, as_json: Json = False) -> None:
    """Compile all kernels now; they are kept, so this is needed once for each version and machine."""
    began = start = time.perf_counter()
    prepare()
    seconds = {"compiling": time.perf_counter() - start}
    for name, job in JOBS.items():
        say(f"trying {name} ...")
        start = time.perf_counter()
        job()
        seconds[name] = time.perf_counter() - start
    total = time.perf_counter() - began
    show({"seconds": seconds, "total_s": total}, [f"all kernels are ready ({total:.1f} s)"], as_json=as_json)


def _light() -> None:
    from noclone.link.bench import bench_link

    bench_link((30,), (), seconds=0.001, threads=2)


def _cascade() -> None:
    import numpy as np

    from noclone.distill.cascade_bench import Case, reconcile

    reconcile(*Case(np.random.default_rng(1), 1 << 18, 0.02).parties())


def _amplification() -> None:
    from noclone.distill.bench import bench_amplification

    bench_amplification((1 << 14,))


def _ldpc() -> None:
    from noclone.distill.ldpc_bench import bench_ldpc

    bench_ldpc((0.02,), n_bits=1 << 18, repeats=1)


def _chain() -> None:
    """Distil a block: sifting, estimation, Cascade, confirmation, amplification, authentication."""
    from noclone.distill.chain_bench import model_block, pools
    from noclone.distill.session import distill_block

    case = model_block(600_000, qber=0.01)
    distill_block(case.settings, case.detections, case.job, *pools())


def _repeaters() -> None:
    from noclone.repeater.bench import bench_repeaters

    bench_repeaters(nodes=(3,), seconds=0.001, repeats=1)


# In this order: a kernel belongs to the first that needs it.
JOBS: dict[str, Callable[[], None]] = {
    "light": _light,
    "cascade": _cascade,
    "chain": _chain,
    "amplification": _amplification,
    "ldpc": _ldpc,
    "repeaters": _repeaters,
}
