"""What a link's devices should report of themselves, in closed form.

In: devices as they were planned.  Out: `ExpectedTelemetry`, which monitors hold what was read against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from noclone.link.devices import LinkDevices
from noclone.link.tap import NO_TAP
from noclone.link.telemetry import ARRIVAL_BINS, WATCHDOG_FLOOR, photocurrent_ua
from noclone.link.theory import event_probabilities

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class ExpectedTelemetry:
    """Per slot, where it counts; readings as meters give them.

    Args:
        event: Probability that anything clicks.
        clicks: Probability that each detector does.
        multiple: Probability that several do.
        arrivals: Share of events in each bin of the histogram.
        photocurrent_ua: Through all detectors.
        dark_hz: Of all detectors.
    """

    event: float
    clicks: tuple[float, ...]
    multiple: float
    arrivals: tuple[float, ...]
    photocurrent_ua: float
    dark_hz: float
    output: float = 1.0
    input_photons: float = WATCHDOG_FLOOR
    setting_deviation: float = 0.0


def expected_telemetry(devices: LinkDevices) -> ExpectedTelemetry:
    """Return what the devices report while nobody interferes."""
    sets = event_probabilities(devices)
    number = np.arange(len(sets))
    detectors = devices.receiver.detectors
    clicks = tuple(float(sets[(number >> d) & 1 == 1].sum()) for d in range(detectors))
    several = float(sets[(number & (number - 1)) != 0].sum())
    event = float(sets[1:].sum())
    dark_hz = float(sum(devices.receiver.dark_count_hz))
    dark = dark_hz / devices.source.clock_hz * devices.gate_fraction
    return ExpectedTelemetry(
        event,
        clicks,
        several,
        _arrivals(devices, min(dark / event, 1.0) if event else 1.0),
        photocurrent_ua(devices, NO_TAP, sum(clicks) * devices.source.clock_hz),
        dark_hz,
    )


def _arrivals(devices: LinkDevices, dark_share: float) -> tuple[float, ...]:
    """Return the histogram of arrivals: photons around the centre, dark counts anywhere in the gate."""
    half, sigma = devices.gate_fraction / 2, devices.jitter_periods
    reach = math.ceil(6.5 * sigma + 0.5)

    def photons(low: float, high: float) -> float:
        if sigma == 0:
            return float(low <= 0 < high)
        slots = range(-reach, reach + 1)
        return math.fsum(_NORMAL.cdf((high + k) / sigma) - _NORMAL.cdf((low + k) / sigma) for k in slots)

    edges = [-0.5 + i / ARRIVAL_BINS for i in range(ARRIVAL_BINS + 1)]
    bins = [(max(low, -half), min(high, half)) for low, high in pairwise(edges)]
    light = [photons(low, high) if high > low else 0.0 for low, high in bins]
    dark = [max(high - low, 0.0) / (2 * half) for low, high in bins]
    total = math.fsum(light) or 1.0
    return tuple((1 - dark_share) * p / total + dark_share * d for p, d in zip(light, dark, strict=True))
