"""How fast the light of the other protocols is, against 10^8 pulses a second.

In: total losses, both arms and all detectors included; how long to measure.  Out: plain numbers for `noclone bench`.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from noclone import rng
from noclone.link.bench import CLOCK_HZ, measure
from noclone.link.devices import Fibre, Receiver
from noclone.link.lights import LinkLight
from noclone.link.pairs import PairDevices, PairSource
from noclone.link.quadratures import CoherentDevices, transmit_quadratures
from noclone.link.sns import SnsStation
from noclone.link.station import BellStation
from noclone.link.twin import TwinStation
from noclone.protocols import DecoyMdi, EntangledPairs, GaussianModulation, Sender, SendOrNot, TwinField
from noclone.records import MAX_SLOTS

SENDER = Sender((0.4, 0.05, 0.001), (0.6, 0.3, 0.1), 0.7)
SOMETIMES = Sender((0.4, 0.1, 0.0), (0.25, 0.5, 0.25), 0.7)
REAL: dict[str, Any] = {"jitter_ps": 50.0, "gate_ps": 500.0, "dead_time_ns": 30.0}


def bench_light(protocol: str, loss_db: float) -> LinkLight:
    """Return a link with that loss between its ends, half of it in either arm; detectors without loss of their own."""
    arm = Fibre(0.0, 0.2, loss_db / 2)
    if protocol == "bbm92":
        receiver = Receiver("active", (1.0,) * 2, (100.0,) * 2, misalignment=0.01, **REAL)
        return PairDevices(PairSource(CLOCK_HZ, 0.05), arm, arm, receiver, receiver, EntangledPairs(0.9, 0.9))
    if protocol == "mdi":
        station = Receiver("passive", (1.0,) * 4, (100.0,) * 4, misalignment=0.01, **REAL)
        return BellStation(CLOCK_HZ, arm, arm, station, DecoyMdi(SENDER, SENDER), 0.98)
    station = Receiver("active", (1.0,) * 2, (100.0,) * 2, misalignment=0.01, **REAL)
    if protocol == "sns":
        return SnsStation(CLOCK_HZ, arm, arm, station, SendOrNot(SOMETIMES, SOMETIMES, 0.4, 0.4), 0.98, 0.1)
    return TwinStation(CLOCK_HZ, arm, arm, station, TwinField(SENDER, SENDER, 0.02, 0.02), 0.98, 0.1)


def bench_protocols(losses_db: tuple[float, ...] = (10, 20, 40), *, seconds: float = 0.5, threads: int = 2) -> Any:
    """Measure each protocol at each loss for about `seconds`; return rates per second of wall-clock time."""
    measured: dict[str, Any] = {}
    for protocol in ("bbm92", "mdi", "twin-field", "sns"):
        measure(bench_light(protocol, 30), 0.0, 1)  # compiles
        rows = {f"{loss:g}": measure(bench_light(protocol, loss), seconds, threads) for loss in losses_db}
        measured[f"{protocol.replace('-', '_')}_by_loss_db"] = rows
    for detection in ("homodyne", "heterodyne"):
        measured[f"cv_{detection}"] = {"symbols_per_s": measure_symbols(detection, seconds, threads)}
    return {"clock_hz": CLOCK_HZ, "threads": threads, **measured}


def measure_symbols(detection: Literal["homodyne", "heterodyne"], seconds: float, threads: int) -> float:
    """Return coherent states sent and measured a second: each has its values, so loss does not matter."""
    protocol = GaussianModulation(10.0, detection, 0.6, 0.05, True, 0.2, 100, 5, 3)
    light = CoherentDevices(1e8, Fibre(0.0, 0.2, 2.0), 0.005, protocol)
    seed = rng.seed_from_int(0)
    keys = {"alice_seed": rng.derive(seed, "bench/alice"), "physics_seed": rng.derive(seed, "bench/physics")}
    for enough in (0.0, seconds):  # the first compiles
        parts = transmit_quadratures(light, **keys, n_slots=MAX_SLOTS, link="bench", block=0, threads=threads)
        start, values = time.perf_counter(), 0
        for part in parts:
            values += 4 * len(part)
            if time.perf_counter() - start >= enough:
                break
        elapsed_s = time.perf_counter() - start
        parts.close()  # type: ignore[attr-defined]
    return values / protocol.values / elapsed_s
