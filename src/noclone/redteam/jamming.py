"""Jamming: stray light on the fibre makes Bob's detectors click at random, until the error rate forbids any key.

In: how much light.  Out: a tap that replaces pulses by unpolarised ones as bright as Alice's brightest. Eve learns
nothing, for her light carries nothing of Alice; there is no key while she goes on.
"""

from __future__ import annotations

from noclone.link.devices import LinkDevices
from noclone.link.tap import SETTINGS, Outcome, Tap
from noclone.records import Basis
from noclone.redteam.light import LightAttack, tap_of
from noclone.redteam.record import EveRecord


def jam(devices: LinkDevices, share: float) -> Tap:
    """Return the tap that puts stray light in place of a share of the pulses."""
    mean = devices.source.protocol.intensities[0]
    stray = [Outcome("resend", mean, basis, value) for basis in Basis for value in (0, 1)]
    return tap_of([dict.fromkeys(stray, share / 4)] * SETTINGS)


ATTACK = LightAttack(
    "jamming",
    record=lambda view, _strength: EveRecord.empty(len(view.codes)),
    bits=lambda _devices, _strength: 0.0,
    tap=jam,
    naive="",
)
