"""Measure how many end-to-end pairs a second the engine delivers, chain by chain, on one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from noclone.repeater.chain import Chain, Rules, Running
from noclone.repeater.links import Emitters, two_clicks
from noclone.repeater.pairs import Memory
from noclone.rng import seed_from_int

LENGTH_KM, EMISSION = 20.0, 0.5


def bench_repeaters(*, nodes: Sequence[int] = (5, 9, 100), seconds: float = 1.0, repeats: int = 3) -> dict[str, Any]:
    """Return pairs and events per second of wall time, the best of some runs, for chains of so many nodes.

    Links of 20 km in two clicks, one memory to either side, swaps that succeed, far ends that keep their halves until
    all outcomes have arrived; the chain goes on between deliveries.
    """
    link = two_clicks(LENGTH_KM, Emitters(EMISSION, visibility=0.98))
    rows = []
    for number in nodes:
        chain = Chain.uniform(link, number - 1, Memory(1.0), Rules(stream=True, ends="stored"))
        running = Running(chain, seed_from_int(1))
        running.request(1)
        best: dict[str, Any] = {"pairs_per_s": 0.0}
        for _ in range(repeats):
            batch, pairs, events = 200, 0, 0
            began = time.perf_counter()
            while (took := time.perf_counter() - began) < seconds:
                found = running.request(batch)
                pairs, events, batch = pairs + batch, events + found.counted["events"], min(2 * batch, 100_000)
            if pairs / took > best["pairs_per_s"]:
                best = {
                    "pairs_per_s": pairs / took,
                    "events_per_s": events / took,
                    "pairs_per_network_s": found.rate_hz,
                }
        rows.append({"nodes": number, **best})
    return {"link_km": LENGTH_KM, "emission": EMISSION, "per_nodes": rows}
