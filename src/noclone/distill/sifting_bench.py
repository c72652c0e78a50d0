"""How fast sifting is: both parties' work, on one core and on two.

In: sizes.  Out: events per second. Alice's settings are at hand: to work them out is the light's business.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from noclone.distill.chain_bench import ModelBlock, model_block
from noclone.distill.sifting import CHUNK, Announced, Announcement, Announcer, Sieve, answer, apply_answer
from noclone.records import U8


def bench_sifting(
    n_detections: int = 1 << 22, *, mean_gaps: Sequence[int] = (16, 100, 1000), repeats: int = 5
) -> dict[str, Any]:
    """Return events per second that both parties sift, by the mean gap between detections in slots; best of `repeats`.

    On two threads, each sifts a block of its own, both parties' work.
    """
    sift(model_block(CHUNK + 1), None)  # compiles
    return {"detections": n_detections, "per_gap": [_measure(n_detections, gap, repeats) for gap in mean_gaps]}


def _measure(n_detections: int, mean_gap: int, repeats: int) -> dict[str, float]:
    cases = [model_block(n_detections, mean_gap=mean_gap, seed=seed) for seed in (1, 2)]
    codes = [case.settings.at(case.detections.slots) for case in cases]
    one, two, crossed = math.inf, math.inf, 0
    with ThreadPoolExecutor(2) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            crossed = sift(cases[0], codes[0])
            one = min(one, time.perf_counter() - start)
            start = time.perf_counter()
            list(pool.map(sift, cases, codes))
            two = min(two, time.perf_counter() - start)
    return {
        "mean_gap": mean_gap,
        "events_per_s_one_thread": n_detections / one,
        "events_per_s_two_threads": 2 * n_detections / two,
        "bytes_per_event": crossed / n_detections,
    }


def sift(case: ModelBlock, codes: U8 | None) -> int:
    """Sift a block at both ends, chunk by chunk as the parties do; return how many bytes crossed."""
    events, levels = case.detections.events, case.job.protocol.levels
    at_alice, at_bob = Sieve.empty(len(events)), Sieve.empty(len(events))
    announcer, room = Announcer(events), np.empty(CHUNK, np.uint64)
    kept: list[Announced] = []
    answers: list[bytes] = []
    previous, crossed = -1, 0
    for start in range(0, len(events), CHUNK):
        pieces, announced = announcer.announce(start)
        message = b"".join(pieces)
        kept.append(announced)
        read = Announcement.read(message, previous, case.job.n_slots, room)
        previous = int(read.slots[-1])
        here = case.settings.at(read.slots) if codes is None else codes[start : start + CHUNK]
        answers.append(answer(read, here, levels, at_alice))
        crossed += len(message) + len(answers[-1])
    for announced, data in zip(kept, answers, strict=True):
        apply_answer(announced, data, levels, at_bob)
    assert (at_alice.n == at_bob.n).all()
    return crossed
