"""Detector blinding: bright light keeps Bob's detectors in linear mode, and faked states make them say what Eve read.

In: devices that bright light blinds, and the share of slots in which it does.  Out: a tap; see `faked_states`. Eve
has every bit, the error rate stays (Lydersen et al. 2010; Gerhardt et al., Nature Communications 2, 349 (2011): a
whole link). What helps: the current through the detectors, and that dark counts vanish;
measurement-device-independent protocols do without trust in detectors. What is left is pulsed blinding between two
looks at a meter.
"""

from __future__ import annotations

from noclone.link.devices import LinkDevices
from noclone.link.flaws import Flaws, Guards
from noclone.link.tap import Outcome, Tap
from noclone.redteam.faked_states import dictated, faked
from noclone.redteam.light import LightAttack

CLAVIS2 = Flaws(linear_never_uw=647.697, linear_always_uw=808.932)


def blinding(devices: LinkDevices, share: float) -> Tap:
    """Return the tap that blinds, and fakes, in a share of all slots."""
    return faked(devices, share, Outcome("bright", blind=True))


ATTACK = LightAttack(
    "blinding",
    record=dictated,
    bits=lambda _devices, strength: strength,
    tap=blinding,
    flaws=CLAVIS2,
    guards=Guards(photocurrent=True, dark_slots=0.01),
)
