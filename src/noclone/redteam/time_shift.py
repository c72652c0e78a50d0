"""Time shift: light that comes a little early or late finds one of Bob's detectors better than the other.

In: devices with an efficiency mismatch, and the share of pulses that Eve shifts, early or late as her coin says.
Out: a tap. When a shifted pulse is detected the better detector is the likelier one: right with 1 / (1 + r), so she
knows 1 - h(r / (1 + r)) of each such bit, without any error (Qi, Fung, Lo, Ma, Quantum Inf. Comput. 7, 73 (2007);
seen on a commercial system: Zhao, Fung, Qi, Chen, Lo, Phys. Rev. A 78, 042333 (2008)). Her fibre makes up for the
loss. What helps: a histogram of arrival times, detectors that Bob swaps at random, or a proof that charges the
mismatch (Fung, Tamaki, Qi, Lo, Ma, Quantum Inf. Comput. 9, 131 (2009)).
"""

from __future__ import annotations

import numpy as np

from noclone.link.devices import LinkDevices
from noclone.link.flaws import Flaws, Guards
from noclone.link.overheard import Overheard
from noclone.link.tap import SETTINGS, Outcome, Tap
from noclone.proofs.entropy import binary_entropy
from noclone.redteam.light import LightAttack, tap_of
from noclone.redteam.record import EveRecord


def shifted(devices: LinkDevices, share: float) -> Tap:
    """Return the tap that shifts a share of the pulses."""
    flaws = devices.flaws
    gain = 2 / (1 + flaws.mismatch)
    early, late = (Outcome("pass", shift=sign * flaws.mismatch_shift, gain=gain) for sign in (-1, 1))
    return tap_of([{early: share / 2, late: share / 2}] * SETTINGS)


def better_detector(view: Overheard, _strength: float) -> EveRecord:
    """Return the record of who bets on the better detector: that of value 0 for early light."""
    shifts = np.array([outcome.shift for outcome in view.tap.outcomes])[view.outcomes]
    return EveRecord((shifts > 0).astype(np.uint8), (shifts != 0).astype(np.uint8))


def share_of_bits(devices: LinkDevices, share: float) -> float:
    """Return the information per sifted bit of Alice's; Bob's own errors stand between her bits and his detectors."""
    if devices.guards.four_state:
        return 0.0
    r, astray = devices.flaws.mismatch, devices.receiver.misalignment
    return share * (1 - binary_entropy((r * (1 - astray) + astray) / (1 + r)))


ATTACK = LightAttack(
    "time-shift",
    record=better_detector,
    bits=share_of_bits,
    tap=shifted,
    flaws=Flaws(mismatch=0.05),
    guards=Guards(arrivals=True, four_state=True),
)
