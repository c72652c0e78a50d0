"""How fast the light is, against a real 1 GHz source.

In: total losses or lengths of fibre, and how long to measure.  Out: plain numbers for `noclone bench --json`.
"""

from __future__ import annotations

import time
from typing import Any

from noclone import rng
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.lights import LinkLight, chunks
from noclone.records import MAX_SLOTS, DecoyBB84

CLOCK_HZ = 1e9
PROTOCOL = DecoyBB84((0.5, 0.1, 0.002), (0.8, 0.15, 0.05), 0.9, 0.9)
DETECTORS: dict[str, Any] = {"dead_time_ns": 30.0, "afterpulse_probability": 0.01, "afterpulse_lifetime_ns": 100.0}


def bench_devices(loss_db: float) -> LinkDevices:
    """Return a link whose total loss is `loss_db`: superconducting detectors, active choice, all effects on."""
    receiver = Receiver(
        "active",
        efficiency=(1.0, 1.0),  # their loss is in the fibre's figure
        dark_count_hz=(100.0, 100.0),
        jitter_ps=50.0,
        gate_ps=500.0,
        misalignment=0.01,
        **DETECTORS,
    )
    return LinkDevices(Source(CLOCK_HZ, PROTOCOL), Fibre(0.0, 0.2, loss_db), receiver)


def fibre_devices(length_km: float) -> LinkDevices:
    """Return a link over ordinary fibre with 1 dB of connectors and a beam splitter before four detectors."""
    receiver = Receiver("passive", efficiency=(0.8,) * 4, dark_count_hz=(100.0,) * 4, misalignment=0.01, **DETECTORS)
    return LinkDevices(Source(CLOCK_HZ, PROTOCOL), Fibre(length_km, 0.2, 1.0), receiver)


def bench_link(
    losses_db: tuple[float, ...] = (5, 10, 20, 30),
    lengths_km: tuple[float, ...] = (0, 5, 10, 25, 50, 75, 100),
    *,
    seconds: float = 0.5,
    threads: int = 2,
) -> dict[str, Any]:
    """Measure each link for about `seconds`, on some threads and on one; return rates per second of wall-clock time."""
    links = {"by_loss_db": {f"{loss_db:g}": bench_devices(loss_db) for loss_db in losses_db}}
    links["by_length_km"] = {f"{length_km:g}": fibre_devices(length_km) for length_km in lengths_km}
    for devices in (bench_devices(30), fibre_devices(50)):
        measure(devices, 0.0, 1)  # compiles
    rates = {name: {key: _rates(link, seconds, threads) for key, link in some.items()} for name, some in links.items()}
    return {"clock_hz": CLOCK_HZ, "threads": threads, **rates}


def _rates(devices: LinkDevices, seconds: float, threads: int) -> dict[str, float]:
    one = measure(devices, seconds, 1)["realtime_factor"]
    return {**measure(devices, seconds, threads), "realtime_factor_one_thread": one}


def measure(light: LinkLight, seconds: float, threads: int) -> dict[str, float]:
    """Send light for about so many seconds, of any protocol, and return the rates."""
    seed = rng.seed_from_int(0)
    parts = chunks(
        light,
        alice_seed=rng.derive(seed, "bench/alice"),
        physics_seed=rng.derive(seed, "bench/physics"),
        n_slots=MAX_SLOTS,
        link="bench",
        block=0,
        threads=threads,
    )
    start = time.perf_counter()
    detections = pulses = 0
    for alices, bobs in parts:
        detections += len(alices) + len(bobs)
        pulses = (int(bobs[-1]) >> 16) + 1 if len(bobs) else pulses
        elapsed_s = time.perf_counter() - start
        if elapsed_s >= seconds and pulses:
            break
    parts.close()  # type: ignore[attr-defined]
    return {
        "pulses_per_s": pulses / elapsed_s,
        "detections_per_s": detections / elapsed_s,
        "realtime_factor": pulses / elapsed_s / CLOCK_HZ,
    }
