"""One block as it looks from Eve's seat, worked out again from its seeds: what she did in each slot that Bob detected.

In: detections, the seeds that made them, the tap.  Out: `Overheard`, which an attack turns into its record.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noclone import rng
from noclone.link.devices import LinkDevices
from noclone.link.tap import Tap
from noclone.records import U8, Basis, Detections


@dataclass(frozen=True, slots=True)
class Overheard:
    """What can be known of a block's detections by who holds every seed; an attack takes what its physics allows.

    Args:
        codes: Alice's setting in the slot of each detection.
        outcomes: Index of the tap's outcome there.
        random: Eve's own chance, for what her memory measures.
    """

    detections: Detections
    devices: LinkDevices
    tap: Tap
    codes: U8 = field(repr=False)
    outcomes: NDArray[np.int64] = field(repr=False)
    random: np.random.Generator = field(repr=False)

    @property
    def alice_values(self) -> U8:
        """Alice's bits."""
        return np.asarray(self.codes & 1)

    @property
    def sifted_key(self) -> NDArray[np.bool_]:
        """Which detections become key bits: both chose the key basis."""
        return np.asarray((((self.codes >> 1) & 1) == Basis.KEY) & (self.detections.bases == Basis.KEY))


def overheard(
    detections: Detections, devices: LinkDevices, tap: Tap, *, alice_seed: bytes, physics_seed: bytes
) -> Overheard:
    """Work out again what happened in the slots of these detections."""
    from noclone.link.aes import aes256_keys
    from noclone.link.aes_simd import AES
    from noclone.link.choices import eve_outcomes
    from noclone.link.clicktable import eve_limits
    from noclone.link.light import physics_key
    from noclone.link.settings import SeededSettings

    slots = detections.slots
    codes = SeededSettings(alice_seed, devices.source.protocol).at(slots)
    eve = physics_key(physics_seed, detections.link, detections.block, "eve")
    drawn = np.zeros(len(slots), np.int64)
    if len(tap.outcomes) > 1:
        eve_outcomes(AES, aes256_keys(eve), slots, eve_limits(tap), codes, drawn)
    return Overheard(detections, devices, tap, codes, drawn, rng.stream(eve, "memory"))
