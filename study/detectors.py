"""How well the closed forms of `noclone.link.theory` describe detectors with a memory, from no loss to 30 dB.

For each loss, dead time and afterpulsing: detections and errors of a simulated run beside what `expected_counts` says,
in percent, and how many standard errors that is. The light is exact (`tests/link/test_exact.py`), so what is left
beyond three standard errors is what the closed forms leave out: afterpulses in first order, and detectors that are
alive independently of each other. Needs noclone alone; prints a table in Markdown.
"""

from __future__ import annotations

import math

import numpy as np

from noclone import rng
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.light import transmit
from noclone.link.settings import SeededSettings
from noclone.link.theory import expected_counts
from noclone.records import DecoyBB84, Origin

PROTOCOL = DecoyBB84((0.5, 0.1, 0.002), (0.8, 0.15, 0.05), 0.9, 0.9)
LOSSES_DB = (0, 5, 10, 20, 30)
# Dead time in ns, probability of an afterpulse, mean of its delay in ns: none, superconducting twice, avalanche twice.
MEMORIES = ((0.0, 0.0, 0.0), (30.0, 0.0, 0.0), (30.0, 0.01, 100.0), (100.0, 0.05, 200.0), (1000.0, 0.1, 5000.0))
PULSES = 100_000_000  # without loss, and more with it


def devices(loss_db: float, dead_time_ns: float, probability: float, lifetime_ns: float) -> LinkDevices:
    """Return a 1 GHz link with a passive receiver."""
    receiver = Receiver(
        "passive",
        efficiency=(0.8,) * 4,
        dark_count_hz=(100.0,) * 4,
        misalignment=0.01,
        dead_time_ns=dead_time_ns,
        afterpulse_probability=probability,
        afterpulse_lifetime_ns=lifetime_ns,
    )
    return LinkDevices(Source(1e9, PROTOCOL), Fibre(0.0, 0.2, loss_db), receiver)


def compare(link: LinkDevices, n_slots: int) -> tuple[float, float, float, float]:
    """Return the relative excess of detections and of errors in the key basis, each with its standard error."""
    seed = rng.seed_from_int(1)
    alice = rng.derive(seed, "study/alice")
    detections = transmit(
        link,
        alice_seed=alice,
        physics_seed=seed,
        n_slots=n_slots,
        link="study",
        block=0,
        origin=Origin("simulated", seeded=True),
    )
    codes = SeededSettings(alice, PROTOCOL).at(detections.slots)
    key = (((codes >> 1) & 1) == 0) & (detections.bases == 0)
    errors = int((key & ((codes & 1) != detections.values)).sum())
    expected = expected_counts(link, n_slots)
    total = expected.click_rate_hz * n_slots / 1e9
    wrong = sum(expected.m_key)
    return len(detections) / total - 1, 1 / math.sqrt(total), errors / wrong - 1, 1 / math.sqrt(wrong)


def main() -> None:
    """Print the table."""
    print("| loss | dead time | afterpulses | detections, simulated / closed form | errors, simulated / closed form |")
    print("|---|---|---|---|---|")
    for loss_db in LOSSES_DB:
        n_slots = round(PULSES * 10 ** (loss_db / 10))
        for dead_time_ns, probability, lifetime_ns in MEMORIES:
            found = np.array(compare(devices(loss_db, dead_time_ns, probability, lifetime_ns), n_slots))
            afterpulses = f"{probability:.0%}, {lifetime_ns:g} ns" if probability else "none"
            cells = [f"{100 * found[k]:+.3f} % ± {100 * found[k + 1]:.3f}" for k in (0, 2)]
            print(f"| {loss_db} dB | {dead_time_ns:g} ns | {afterpulses} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
