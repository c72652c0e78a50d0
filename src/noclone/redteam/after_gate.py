"""After-gate attack: faked states that come when a gated detector is below breakdown, and still answers bright light.

In: devices whose detectors answer bright light, and the share of slots.  Out: a tap; see `faked_states`. No blinding
is needed: between gates an avalanche diode is in linear mode by itself (Wiechers, Lydersen, Wittmann, Elser, Skaar,
Marquardt, Makarov, Leuchs, New J. Phys. 13, 013043 (2011); for energy-time systems arXiv:2603.07538). What helps is
to count only clicks at the gate's centre; a histogram of arrival times shows it.
"""

from __future__ import annotations

from noclone.link.devices import LinkDevices
from noclone.link.flaws import Guards
from noclone.link.tap import Outcome, Tap
from noclone.redteam.blinding import CLAVIS2
from noclone.redteam.faked_states import dictated, faked
from noclone.redteam.light import LightAttack

SHIFT = 0.4  # of a slot: after the gate


def after_gate(devices: LinkDevices, share: float) -> Tap:
    """Return the tap that sends bright pulses after the gate, in a share of all slots."""
    return faked(devices, share, Outcome("bright", shift=SHIFT))


ATTACK = LightAttack(
    "after-gate",
    record=dictated,
    bits=lambda _devices, strength: strength,
    tap=after_gate,
    flaws=CLAVIS2,
    guards=Guards(arrivals=True),
    gate=0.5,
)
