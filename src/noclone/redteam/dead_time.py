"""Dead time: a flash just before the pulse makes some of Bob's detectors blind to it, and Eve knows which.

In: devices whose detectors are dead each for itself (`flaws.dead_each`), and the share of slots.  Out: a tap. A flash
of mean F detected photons, in one of the four states, makes the detector of its state dead with 1 - exp(-F), in its
own basis only; in the other basis each with 1 - exp(-F / 2). Of what Bob then detects in the flash's basis Eve
expects the other value: wrong with exp(-F) / (1 + exp(-F)); in the other basis she knows nothing (Weier, Krauss, Rau,
Fürst, Nauerth, Weinfurter, New J. Phys. 13, 073024 (2011)). Her fibre makes up for the loss. Clicks of the flash fall
outside the gate. What helps: no click counts unless all detectors are alive.
"""

from __future__ import annotations

import math

import numpy as np

from noclone.link.devices import LinkDevices
from noclone.link.flaws import Flaws, Guards
from noclone.link.overheard import Overheard
from noclone.link.tap import SETTINGS, Outcome, Tap
from noclone.proofs.entropy import binary_entropy
from noclone.records import Basis
from noclone.redteam.light import LightAttack, tap_of
from noclone.redteam.record import EveRecord
from noclone.units import transmittance

FLASH = 8.0  # detected photons


def flashes(devices: LinkDevices, share: float) -> Tap:
    """Return the tap that flashes before a share of the pulses, in a state drawn at random."""
    receiver = devices.receiver
    bob = transmittance(receiver.loss_db) * sum(receiver.efficiency) / len(receiver.efficiency)
    left = (alive(devices, same_basis=True) + alive(devices, same_basis=False)) / 2
    flash = [
        Outcome("deaden", FLASH / bob if bob else 0.0, basis, value, gain=1 / left)
        for basis in Basis
        for value in (0, 1)
    ]
    return tap_of([dict.fromkeys(flash, share / 4)] * SETTINGS)


def alive(devices: LinkDevices, *, same_basis: bool) -> float:
    """Return how much of Bob's efficiency a flash leaves, in its basis or in the other one."""
    return sum(_left(devices)) / 2 if same_basis else math.exp(-FLASH / 2)


def _left(devices: LinkDevices) -> tuple[float, float]:
    """Return how likely the detector of the flash's state, and the other one, are alive; some light goes astray."""
    astray = devices.receiver.misalignment
    return math.exp(-(1 - astray) * FLASH), math.exp(-astray * FLASH)


def who_is_left(view: Overheard, _strength: float) -> EveRecord:
    """Return the record of who expects the detector that her flash left alive."""
    outcomes = view.tap.outcomes
    flashed = np.array([o.kind == "deaden" for o in outcomes])[view.outcomes]
    basis = np.array([int(o.basis) for o in outcomes], np.uint8)[view.outcomes]
    value = np.array([o.value for o in outcomes], np.uint8)[view.outcomes]
    return EveRecord(1 - value, (flashed & (basis == view.detections.bases)).astype(np.uint8))


def share_of_bits(devices: LinkDevices, share: float) -> float:
    """Return the information per sifted bit: flashes of the right basis, by how often they leave a click."""
    flashed, other = _left(devices)
    astray = devices.receiver.misalignment
    wrong = (flashed * (1 - astray) + other * astray) / (flashed + other)
    same, different = alive(devices, same_basis=True), alive(devices, same_basis=False)
    return share * (1 - binary_entropy(wrong)) * same / (same + different)


ATTACK = LightAttack(
    "dead-time",
    record=who_is_left,
    bits=share_of_bits,
    tap=flashes,
    flaws=Flaws(dead_each=True),
    guards=Guards(all_alive=True),
)
