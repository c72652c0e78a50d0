"""Faked states: Eve measures as Bob would, and sends bright pulses that make his detector click when he does the same.

In: devices whose detectors answer bright light (`flaws.linear_never_uw`).  Out: rows of a tap, for `blinding` and
`after_gate`. In linear mode a detector clicks if the power is above a threshold. Bob's basis is Eve's: all of the
power is on one detector, which clicks; it is the other one: both get half, and none clicks. So Bob's bits are Eve's
and no error shows (Lydersen, Wiechers, Wittmann, Elser, Skaar, Makarov, Nature Photonics 4, 686 (2010)). She reads n
photons of a pulse, resends with a probability in proportion to n, and sets the power where a detector clicks now and
then, which keeps Bob's gain at every intensity.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from noclone.link.devices import LinkDevices
from noclone.link.overheard import Overheard
from noclone.link.tap import SETTINGS, Outcome, Tap
from noclone.records import Basis
from noclone.redteam.light import photons_of, tap_of
from noclone.redteam.photon_number_splitting import honest_gain, poisson
from noclone.redteam.record import EveRecord

CLICK = 0.1  # how often a faked state of the right basis makes its detector click
PHOTONS_MAX = 8


def faked(devices: LinkDevices, share: float, pulse: Outcome) -> Tap:
    """Return the tap that fakes a share of all pulses.

    Args:
        pulse: What she sends, but for its power, basis and value.
    """
    flaws = devices.flaws
    if math.isinf(flaws.linear_never_uw):
        power = 1000.0  # detectors that do not answer bright light: nothing clicks, whatever she sends
    else:
        power = flaws.linear_never_uw + CLICK * (flaws.linear_always_uw - flaws.linear_never_uw)
    mean = devices.source.protocol.intensities[0]
    # Half of the sifted pulses were measured in Bob's basis; the dark counts that a blind detector lacks come on top.
    dark = 0.0 if not pulse.blind else sum(devices.receiver.dark_count_hz) / devices.source.clock_hz
    per_photon = min(
        1.0, 2 * (honest_gain(devices, mean) + dark) / (CLICK * mean * (1 - devices.receiver.misalignment))
    )
    # A little light goes to the wrong detector, far below its threshold, and is missing on the right one.
    pulse = replace(pulse, power_uw=power / max(1 - devices.receiver.misalignment, 0.5))
    rows = []
    for code in range(SETTINGS):
        sent = math.fsum(
            poisson(photons_of(devices, code), n) * min(1.0, n * per_photon) for n in range(1, PHOTONS_MAX + 1)
        )
        quiet = replace(pulse, power_uw=0.0) if pulse.blind else Outcome("stop")
        row = {quiet: share * (1 - sent)}
        for basis in Basis:
            for value in (0, 1):
                right = float(value == code & 1) if basis == (code >> 1) & 1 else 0.5
                row[replace(pulse, basis=basis, value=value)] = share * sent * right / 2
        rows.append(row)
    return tap_of(rows)


def dictated(view: Overheard, _strength: float) -> EveRecord:
    """Return the record of who decided each bit that a bright pulse made."""
    outcomes = view.tap.outcomes
    bright = np.array([o.power_uw > 0 for o in outcomes])[view.outcomes]
    value = np.array([o.value for o in outcomes], np.uint8)[view.outcomes]
    return EveRecord(value, bright.astype(np.uint8))
