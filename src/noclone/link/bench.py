"""How fast the light is, against a real 1 GHz source.

In: total losses (fibre, receiver and detectors together) and how long to measure.  Out: plain numbers for
`noclone bench --json`.
"""

from __future__ import annotations

import time
from typing import Any

from noclone import rng
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.light import transmit_chunks
from noclone.records import MAX_SLOTS, DecoyBB84

CLOCK_HZ = 1e9


def bench_devices(loss_db: float) -> LinkDevices:
    """Return a link whose total loss is `loss_db`: superconducting detectors, all effects switched on."""
    protocol = DecoyBB84((0.5, 0.1, 0.002), (0.8, 0.15, 0.05), 0.9, 0.9)
    receiver = Receiver(
        "active",
        efficiency=(1.0, 1.0),  # their loss is in the fibre's figure
        dark_count_hz=(100.0, 100.0),
        dead_time_ns=30.0,
        afterpulse_probability=0.01,
        afterpulse_lifetime_ns=100.0,
        jitter_ps=50.0,
        gate_ps=500.0,
        misalignment=0.01,
    )
    return LinkDevices(Source(CLOCK_HZ, protocol), Fibre(0.0, 0.2, loss_db), receiver)


def bench_link(
    losses_db: tuple[float, ...] = (5, 10, 20, 30), seconds: float = 1.0, threads: int = 2
) -> dict[str, Any]:
    """Measure each loss for about `seconds`; return rates per second of wall-clock time."""
    _measure(losses_db[0], 0.0, threads)  # compiles
    return {
        "clock_hz": CLOCK_HZ,
        "threads": threads,
        "by_loss_db": {f"{loss_db:g}": _measure(loss_db, seconds, threads) for loss_db in losses_db},
    }


def _measure(loss_db: float, seconds: float, threads: int) -> dict[str, float]:
    seed = rng.seed_from_int(0)
    chunks = transmit_chunks(
        bench_devices(loss_db),
        alice_seed=rng.derive(seed, "bench/alice"),
        physics_seed=rng.derive(seed, "bench/physics"),
        n_slots=MAX_SLOTS,
        link="bench",
        block=0,
        threads=threads,
    )
    start = time.perf_counter()
    detections = pulses = 0
    for events in chunks:
        detections += len(events)
        pulses = (int(events[-1]) >> 16) + 1
        elapsed_s = time.perf_counter() - start
        if elapsed_s >= seconds:
            break
    chunks.close()  # type: ignore[attr-defined]
    return {
        "pulses_per_s": pulses / elapsed_s,
        "detections_per_s": detections / elapsed_s,
        "realtime_factor": pulses / elapsed_s / CLOCK_HZ,
    }
