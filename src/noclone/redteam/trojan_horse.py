"""Trojan horse: Eve shines light into Alice's lab and reads her modulators in what comes back.

In: devices with their `probe_loss_db`, and how bright the probe is.  Out: a probe on the tap, and Eve's memory. At
most N = 10^20 photons a second enter before the fibre melts, so mu_out = (N / f) 10^(-loss / 10) a slot come back,
coherent, with Alice's phase on them (Lucamarini, Choi, Ward, Dynes, Yuan, Shields, Phys. Rev. X 5, 031030 (2015),
Eqs. (2)-(7)). Once the basis is known two coherent states of opposite phase are left, which she tells apart with an
error of (1 - sqrt(1 - exp(-4 mu_out))) / 2 (Helstrom 1976). Nothing changes at Bob. What helps is isolation, a
watchdog detector, and a proof that charges what the states give away: `mixed_error`.
"""

from __future__ import annotations

import math

import numpy as np

from noclone.link.devices import LinkDevices
from noclone.link.flaws import Flaws, Guards
from noclone.link.overheard import Overheard
from noclone.link.tap import NO_TAP, Tap
from noclone.proofs.entropy import binary_entropy
from noclone.redteam.light import LightAttack
from noclone.redteam.record import EveRecord, with_error

PHOTONS_HZ = 1e20  # what a fibre carries before it burns (Lucamarini et al. 2015, section III)


def probe_photons(devices: LinkDevices, strength: float) -> float:
    """Return the photons a slot that she sends in."""
    return strength * PHOTONS_HZ / devices.source.clock_hz


def photons_out(devices: LinkDevices, strength: float) -> float:
    """Return the mean photon number a slot that comes back out."""
    return float(probe_photons(devices, strength) * 10 ** (-devices.flaws.probe_loss_db / 10))


def helstrom_error(mean_photons: float) -> float:
    """Return the least error with which coherent states of opposite phase are told apart."""
    return (1 - math.sqrt(-math.expm1(-4 * mean_photons))) / 2


def mixed_error(error: float, mean_photons: float, single_yield: float) -> float:
    """Return the phase error to charge: Lucamarini et al. 2015, Eqs. (5), (7), (16); one half where nothing is left.

    Args:
        single_yield: How often a single photon is detected: Eve blocks where her probe told her least.
    """
    delta = (1 - math.exp(-mean_photons) * math.cos(mean_photons)) / 2
    d = delta / single_yield if single_yield else 1.0
    if d >= 0.5 or error >= 0.5:
        return 0.5
    return min(
        0.5,
        error + 4 * d * (1 - d) * (1 - 2 * error) + 4 * (1 - 2 * d) * math.sqrt(d * (1 - d) * error * (1 - error)),
    )


def probed(devices: LinkDevices, strength: float) -> Tap:
    """Return the tap that lets all pass, and shines into Alice's lab."""
    return Tap(NO_TAP.outcomes, NO_TAP.probabilities, probe_photons(devices, strength))


def read_back(view: Overheard, strength: float) -> EveRecord:
    """Return the record of what came back, measured when the bases are known."""
    error = helstrom_error(photons_out(view.bb84, strength))
    return with_error(view, np.ones(len(view.codes), bool), error)


ATTACK = LightAttack(
    "trojan-horse",
    record=read_back,
    bits=lambda devices, strength: 1 - binary_entropy(helstrom_error(photons_out(devices, strength))),
    tap=probed,
    flaws=Flaws(probe_loss_db=105.0),
    guards=Guards(input_meter=True),
    corrected="states leak",
)
