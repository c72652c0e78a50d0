"""How fast reconciliation by LDPC codes runs here on one core, what it tells, and how many frames fall back to Cascade.

Each figure is measured when it is asked for, on random keys, and checked for correctness while it is measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from noclone import rng
from noclone.bits import count_ones, pack
from noclone.distill import ldpc
from noclone.distill.bench import BATCH_BITS, BENCH_SEED, binary_entropy
from noclone.distill.cascade_plan import SEED_BYTES
from noclone.distill.ldpc_codes import FRAME_BITS
from noclone.process import prepare_to_compute

SIGMAS_95 = 1.96


@dataclass
class _Tally:
    """What the repeats at one error rate add up to."""

    best_s: float = math.inf
    leak: int = 0
    ideal: float = 0.0
    frames: int = 0
    failed: int = 0
    wrong: int = 0
    rounds: list[int] = field(default_factory=list)
    crossed: int = 0
    iterations: int = 0

    def add(self, generator: np.random.Generator, n_bits: int, qber: float) -> None:
        """Reconcile one key more."""
        key = pack(generator.integers(0, 2, n_bits, np.uint8))
        errors = pack((generator.random(n_bits) < qber).astype(np.uint8))
        params = ldpc.plan(n_bits, qber, generator.bytes(SEED_BYTES))
        assert params is not None, f"no code fits {n_bits} bits at an error rate of {qber}"
        start = time.perf_counter()
        alice = ldpc.Teller(key, n_bits, params)
        bob = ldpc.Listener(key ^ errors, n_bits, params, threads=1)
        told = alice.opening()
        self.crossed += len(told)
        message = bob.next(told)
        while message is not None:
            told = alice.answer(message)
            self.crossed += len(message) + len(told)
            message = bob.next(told)
        self.best_s = min(self.best_s, time.perf_counter() - start)
        self.leak += alice.leak_bits
        self.ideal += n_bits * binary_entropy(count_ones(errors) / n_bits)
        self.frames += params.frames
        self.failed += bob.failed_frames
        self.wrong += count_ones(bob.words ^ key) > 0
        self.rounds.append(bob.rounds)
        self.iterations += int(bob.iterations.sum())

    def figures(self, qber: float, n_bits: int) -> dict[str, Any]:
        """Return the figures by name."""
        low, high = wilson(self.failed, self.frames)
        return {
            "qber": qber,
            "mbps_per_core": n_bits / self.best_s / 1e6,
            "efficiency_f": self.leak / self.ideal if self.ideal else math.nan,
            "frame_error_rate": self.failed / self.frames,
            "frame_error_rate_95": [low, high],
            "frames": self.frames,
            "keys_wrong": self.wrong,
            "rounds": sorted(self.rounds)[len(self.rounds) // 2],
            "rounds_most": max(self.rounds),
            "iterations_per_frame": self.iterations / self.frames,
            "bytes_crossed_per_block": self.crossed // len(self.rounds),
        }


def wilson(failed: int, frames: int) -> tuple[float, float]:
    """Return bounds on a share of failures, at 95 per cent (Wilson, J. Am. Stat. Assoc. 22, 209 (1927))."""
    z2 = SIGMAS_95**2
    middle = (failed + z2 / 2) / (frames + z2)
    width = SIGMAS_95 * math.sqrt(failed * (frames - failed) / frames + z2 / 4) / (frames + z2)
    return max(middle - width, 0.0), min(middle + width, 1.0)


def bench_ldpc(
    qbers: Sequence[float] = (0.01, 0.02, 0.03, 0.05, 0.08), *, n_bits: int = BATCH_BITS, repeats: int = 4
) -> dict[str, Any]:
    """Measure LDPC reconciliation per error rate: both parties' work on one core, the fallback to Cascade included.

    Returns:
        For each error rate mbps_per_core (the best repeat); efficiency_f (all that is told, over n h(errors / n), all
        repeats); frame_error_rate, the share of frames that Cascade had to correct, with its 95 per cent interval; how
        many keys came out wrong; and rounds, Bob's messages that Alice answered: the median, and the most. The kernels
        are compiled before the clock starts.
    """
    prepare_to_compute()
    generator = rng.stream(BENCH_SEED, "bench/ldpc")
    _Tally().add(generator, FRAME_BITS, qbers[0])  # compiles
    figures: dict[str, Any] = {"method": "ldpc", "block_bits": n_bits, "per_qber": []}
    for qber in qbers:
        tally = _Tally()
        for _ in range(repeats):
            tally.add(generator, n_bits, qber)
        figures["per_qber"].append(tally.figures(qber, n_bits))
    return figures
