"""Light that comes early or late: moves the arrival times of the events that such light caused.

In: events of the light, Alice's and Eve's keys.  Out: the same events, moved where Eve's light came at another time.
Nobody's honest light passes here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noclone.link.aes import aes256_keys
from noclone.link.aes_simd import AES
from noclone.link.choices import eve_outcomes
from noclone.link.clicktable import eve_limits
from noclone.link.devices import LinkDevices
from noclone.link.settings import SeededSettings
from noclone.link.tap import Tap
from noclone.records import U64, Detections

_ARRIVAL = np.uint64(0xFF << Detections.ARRIVAL_SHIFT)


@dataclass(frozen=True, slots=True)
class Late:
    """How late the light of each outcome comes, in 1/256 of a slot."""

    settings: SeededSettings
    eve_keys: U64 = field(repr=False)
    limits: U64 = field(repr=False)
    shifts: NDArray[np.int64] = field(repr=False)

    @classmethod
    def of(cls, devices: LinkDevices, tap: Tap | None, alice_seed: bytes, eve_key: bytes) -> Late | None:
        """Return what a tap does to arrival times; None if nothing."""
        if tap is None or not any(outcome.shift for outcome in tap.outcomes):
            return None
        shifts = np.array([round(256 * outcome.shift) for outcome in tap.outcomes], np.int64)
        settings = SeededSettings(alice_seed, devices.source.protocol)
        return cls(settings, aes256_keys(eve_key), eve_limits(tap), shifts)

    def move(self, events: U64) -> U64:
        """Return the events with the arrival times that they have."""
        slots = events >> np.uint64(Detections.SLOT_SHIFT)
        outcomes = np.empty(len(slots), np.int64)
        eve_outcomes(AES, self.eve_keys, slots, self.limits, self.settings.at(slots), outcomes)
        arrival = (events & _ARRIVAL) >> np.uint64(Detections.ARRIVAL_SHIFT)
        moved = (arrival.astype(np.int64) + self.shifts[outcomes]) & 0xFF
        return np.asarray((events & ~_ARRIVAL) | moved.astype(np.uint64) << np.uint64(Detections.ARRIVAL_SHIFT))
