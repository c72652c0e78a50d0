"""What the devices of a link report of themselves in a block: the one thing that monitors see, besides the counts.

In: Bob's events; the devices and the light that really reached them.  Out: `Telemetry`. Each number comes from the
model of the device that reads it, so an attack shows up where, and as much as, it acts on that device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from noclone import rng
from noclone.link.devices import LinkDevices
from noclone.link.optics import F64, setting_probability, shares
from noclone.link.tap import NO_TAP, Outcome, Tap
from noclone.records import U64, Basis, Detections

ARRIVAL_BINS = 16
LEAKAGE_UA = 0.01  # of a cooled avalanche diode below breakdown: of the order of data sheets
CHARGE_PC = 1.0  # of one avalanche: 10^6 to 10^7 electrons
RESPONSIVITY_A_PER_W = 1.0  # of an InGaAs diode at unit gain, 1550 nm
METER_NOISE = 0.002  # relative standard deviation of a power or current meter's reading over a block
WATCHDOG_FLOOR = 1e-3  # photons a slot that an input meter sees in the dark: its own noise


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the meters of both ends read in one block; None where there is no such meter.

    Args:
        n_slots: Slots of the block.
        events: Slots in which something clicked.
        clicks: Of each detector, in its gates.
        multiple: Slots in which several detectors clicked.
        arrivals: Histogram over the slot.
        photocurrent_ua: Through all of Bob's detectors, on average.
        dark_counts: Counts of all detectors while the shutter was closed.
        dark_s: For how long it was closed.
        output: Brightness of what left Alice, over what should have.
        input_photons: Photons a slot that entered her lab.
        setting_deviation: How much a pulse's brightness tells of the setting before it.
    """

    n_slots: int
    events: int
    clicks: tuple[int, ...]
    multiple: int
    arrivals: tuple[int, ...] | None = None
    photocurrent_ua: float | None = None
    dark_counts: int | None = None
    dark_s: float = 0.0
    output: float | None = None
    input_photons: float | None = None
    setting_deviation: float | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Telemetry:
        """Rebuild what `dataclasses.asdict` gave."""
        arrivals = data["arrivals"]
        tuples = {"clicks": tuple(data["clicks"]), "arrivals": None if arrivals is None else tuple(arrivals)}
        return cls(**{**data, **tuples})


class Tally:
    """Count a block's events as they come."""

    def __init__(self, detectors: int) -> None:
        self._low = np.zeros(1 << Detections.SLOT_SHIFT, np.int64)  # of each combination of flags and arrival
        self._detectors = detectors

    def add(self, events: U64) -> None:
        """Count some more."""
        self._low += np.bincount(events.astype(np.uint16), minlength=len(self._low))

    def counts(self) -> tuple[int, tuple[int, ...], int, tuple[int, ...]]:
        """Return events, clicks of each detector, slots with several, and the histogram of arrivals."""
        index = np.arange(len(self._low))
        clicks = [
            int(self._low[(index >> (Detections.DETECTOR_SHIFT + d)) & 1 == 1].sum()) for d in range(self._detectors)
        ]
        arrival = (index >> Detections.ARRIVAL_SHIFT).astype(np.uint8).astype(np.int8).astype(int)
        bins = (arrival + 128) * ARRIVAL_BINS // 256
        histogram = np.bincount(bins, self._low, ARRIVAL_BINS).astype(int)
        several = int(self._low[index & Detections.MULTIPLE != 0].sum())
        return int(self._low.sum()), tuple(clicks), several, tuple(map(int, histogram))


def measure(
    tally: Tally,
    planned: LinkDevices,
    devices: LinkDevices,
    tap: Tap | None,
    n_slots: int,
    physics_seed: bytes,
    name: str,
) -> Telemetry:
    """Return what the meters read.

    Args:
        planned: The devices as the two ends know them.
        devices: The devices as they are.
        physics_seed: The meters' noise comes from it.
        name: Of the block, for a stream of its own.
    """
    tap = tap or NO_TAP
    random = rng.stream(physics_seed, f"{name}/meters")
    events, clicks, multiple, arrivals = tally.counts()
    guards, seconds = planned.guards, n_slots / devices.source.clock_hz

    def read(there: bool, value: float) -> float | None:
        noisy = value * (1 + METER_NOISE * float(random.standard_normal()))
        return noisy if there else None

    dark_s = guards.dark_slots * seconds
    dark = sum(devices.receiver.dark_count_hz) * dark_s * (1 - _blind_share(devices, tap))
    counted = int(random.poisson(dark))
    return Telemetry(
        n_slots,
        events,
        clicks,
        multiple,
        arrivals=arrivals if guards.arrivals else None,
        photocurrent_ua=read(guards.photocurrent, photocurrent_ua(devices, tap, sum(clicks) / seconds)),
        dark_counts=counted if guards.dark_slots else None,
        dark_s=dark_s,
        output=read(guards.output_meter, brightness(devices) / brightness(planned)),
        input_photons=read(guards.input_meter, WATCHDOG_FLOOR + tap.probe_photons),
        setting_deviation=read(guards.setting_meter, devices.flaws.setting_leak),
    )


def brightness(devices: LinkDevices) -> float:
    """Return the mean photon number of what leaves Alice."""
    protocol = devices.source.protocol
    return math.fsum(p * k for p, k in zip(protocol.probabilities, protocol.intensities, strict=True))


def photocurrent_ua(devices: LinkDevices, tap: Tap, click_hz: float) -> float:
    """Return the mean current through all detectors: leakage, avalanches, and what bright light drives."""
    detectors = devices.receiver.detectors
    current = detectors * LEAKAGE_UA + click_hz * CHARGE_PC * 1e-6
    return current + _mean(devices, tap, lambda outcome: _light_ua(devices, outcome))


def _light_ua(devices: LinkDevices, outcome: Outcome) -> float:
    """Return the current that one outcome's bright light drives, were it sent in every slot."""
    if outcome.kind != "bright":
        return 0.0
    bright = outcome.power_uw * sum(shares(devices, outcome.basis, outcome.value, Basis.KEY))
    # Clavis2 was blinded by 397 and 765 uW of continuous light (Lydersen et al. 2010): as much as triggers it.
    blinding = devices.flaws.linear_never_uw if outcome.blind else 0.0
    return RESPONSIVITY_A_PER_W * (bright + blinding)


def _blind_share(devices: LinkDevices, tap: Tap) -> float:
    """Return the share of the time in which the detectors are blind."""
    return _mean(devices, tap, lambda outcome: float(outcome.blind))


def _mean(devices: LinkDevices, tap: Tap, value: Any) -> float:
    """Return the average of something over the tap's outcomes in any slot."""
    protocol = devices.source.protocol
    weights: F64 = np.zeros(len(tap.outcomes))
    for code in range(4 * len(protocol.intensities)):
        weights += setting_probability(protocol, code) * np.array(tap.probabilities[code])
    return math.fsum(w * value(outcome) for w, outcome in zip(weights, tap.outcomes, strict=True))
