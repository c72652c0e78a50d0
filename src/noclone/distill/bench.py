"""How fast reconciliation and privacy amplification run here, on one core.

Each figure is measured when it is asked for, on random keys, and checked for correctness while it is measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from noclone import rng
from noclone.distill import cascade_bench
from noclone.distill.amplification import FAMILY, amplify, seed_bytes
from noclone.distill.cascade_bench import binary_entropy, random_words

__all__ = ["bench_amplification", "bench_reconciliation", "binary_entropy"]

BATCH_BITS = 1 << 22
BENCH_SEED = rng.seed_from_int(1)


def bench_reconciliation(
    qbers: Sequence[float] = (0.01, 0.02, 0.03, 0.05, 0.08),
    *,
    n_bits: int = BATCH_BITS,
    repeats: int = 2,
    round_trips_s: Sequence[float] = (0.001, 0.01),
    delayed_bits: int = 1 << 26,
    delayed_qber: float = 0.02,
) -> dict[str, Any]:
    """Measure Cascade per error rate: both parties' work on one core, from their keys to the corrected key.

    Returns:
        For each error rate mbps_per_core (the best repeat), mbps_two_threads (two blocks side by side), efficiency_f
        (leak over n h(errors / n), all repeats), frame_error_rate with its 95 % confidence interval and the frames it
        was counted on, and rounds. For each round trip the throughput of one block of `delayed_bits` over a line that
        delays every message. The kernels are compiled before the clock starts.
    """
    generator = rng.stream(BENCH_SEED, "bench/reconciliation")
    cascade_bench.measure(generator, n_bits, qbers[0], 1)  # compiles
    return {
        "method": "cascade",
        "block_bits": n_bits,
        "per_qber": [cascade_bench.measure(generator, n_bits, qber, repeats) for qber in qbers],
        "delayed": cascade_bench.measure_delayed(generator, delayed_bits, delayed_qber, round_trips_s),
    }


def bench_amplification(
    sizes: Sequence[int] = (10**5, 10**6, 1 << 22, 10**7, 1 << 27), *, share: float = 0.5
) -> dict[str, Any]:
    """Measure privacy amplification by block size: one party's work, seed in hand, `share` of the bits kept."""
    generator = rng.stream(BENCH_SEED, "bench/amplification")
    figures: dict[str, Any] = {"family": FAMILY, "share": share, "per_size": []}
    amplify(np.ones(16, np.uint64), 1024, bytes(seed_bytes(1024, 512)), 512)  # compile
    for n_bits in sizes:
        words = random_words(generator, n_bits)
        length_bits = int(share * n_bits)
        seed = generator.bytes(seed_bytes(n_bits, length_bits))
        best_s, spent_s, runs = math.inf, 0.0, 0
        while runs < 2 or (spent_s < 0.2 and runs < 100):
            start = time.perf_counter()
            amplify(words, n_bits, seed, length_bits)
            elapsed_s = time.perf_counter() - start
            best_s, spent_s, runs = min(best_s, elapsed_s), spent_s + elapsed_s, runs + 1
        figures["per_size"].append(
            {"block_bits": n_bits, "mbps_per_core": n_bits / best_s / 1e6, "seed_bytes": len(seed)}
        )
    return figures
