"""Fibre cut: no light arrives, or as much less as was bent out of the fibre.

In: how much of the light is taken.  Out: a tap that stops pulses. Eve learns nothing; there is no key until somebody
mends the fibre, and what stays is what was stored and what goes another way.
"""

from __future__ import annotations

from noclone.link.devices import LinkDevices
from noclone.link.tap import SETTINGS, Outcome, Tap
from noclone.redteam.light import LightAttack, tap_of
from noclone.redteam.record import EveRecord


def cut(_devices: LinkDevices, share: float) -> Tap:
    """Return the tap that stops a share of the pulses."""
    return tap_of([{Outcome("stop"): share}] * SETTINGS)


ATTACK = LightAttack(
    "fibre-cut",
    record=lambda view, _strength: EveRecord.empty(len(view.codes)),
    bits=lambda _devices, _strength: 0.0,
    tap=cut,
    naive="",
)
