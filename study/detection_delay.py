"""How soon each monitor sees what it is there for: blocks until its first alarm, over many seeds.

    python study/detection_delay.py            prints the table of docs/attacks.md; a few minutes of one core

Attacks on light at full strength, and fainter, on the trial's link with blocks of 30,000 sifted key bits; every meter
is present, and each monitor's false-alarm probability is 10^-6 a block.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator

from noclone import rng
from noclone.link.flaws import Guards
from noclone.redteam.attacks import LIGHT_ATTACKS
from noclone.redteam.light_trial import block_of, plan, trial_devices

METERS = Guards(
    photocurrent=True, dark_slots=0.05, arrivals=True, output_meter=True, input_meter=True, setting_meter=True
)
KEY_BITS = 30_000
SEEDS = 20
MOST = 100
CASES: tuple[tuple[str, float, str], ...] = (
    ("intercept-resend", 1.0, "error-rate"),
    ("intercept-resend", 0.1, "error-"),
    ("intercept-resend", 0.04, "error-"),
    ("intercept-resend", 0.02, "error-"),
    ("intercept-resend", 0.01, "error-"),
    ("photon-number-splitting", 1.0, "gain-"),
    ("photon-number-splitting", 0.1, "gain-"),
    ("blinding", 1.0, "photocurrent"),
    ("blinding", 0.02, "photocurrent"),
    ("after-gate", 1.0, "arrival-"),
    ("time-shift", 1.0, "arrival-"),
    ("time-shift", 0.1, "arrival-"),
    ("dead-time", 1.0, "double-clicks"),
    ("trojan-horse", 1.0, "back-reflection"),
    ("trojan-horse", 0.1, "back-reflection"),
    ("laser-seeding", 1.0, "output-power"),
    ("intensity-correlation", 1.0, "setting-correlation"),
    ("fibre-cut", 1.0, "gain-"),
    ("jamming", 1.0, "error-rate"),
)


def delay(attack: str, strength: float, monitor: str, seed: int) -> int | None:
    """Return in which block a monitor first speaks; None: in none of the first `MOST`."""
    one = plan(trial_devices(LIGHT_ATTACKS[attack].flaws, METERS), KEY_BITS)
    state = one.watched.fresh()
    for number in range(MOST):
        block = block_of(one, LIGHT_ATTACKS[attack], strength, rng.seed_from_int(seed), number)
        if any(alarm.monitor.startswith(monitor) for alarm in state.look(block.counts, block.telemetry)):
            return number + 1
    return None


def rows() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| attack | strength | monitor | blocks until its first alarm: median, most | seen |"
    yield "|---|---|---|---|---|"
    for attack, strength, monitor in CASES:
        print(f"{attack} {strength:g}", file=sys.stderr)
        found = [delay(attack, strength, monitor, seed) for seed in range(SEEDS)]
        seen = [one for one in found if one is not None]
        told = f"{statistics.median(seen):g}, {max(seen)}" if seen else "-"
        yield f"| {attack} | {strength:g} | {monitor} | {told} | {len(seen)} of {SEEDS} |"


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
