"""Beam splitting: Eve replaces the fibre by one without loss, and keeps the light that used to be lost.

In: the share of pulses.  Out: nothing is changed that anybody could see; Eve's memory. Of a coherent pulse of mean mu
and a channel of transmittance T she holds mu (1 - T) photons, independent of what Bob gets: with at least one she
knows the bit after the bases are announced, so 1 - exp(-mu (1 - T)) of all sifted bits (Bennett et al. 1992; Dušek,
Haderka, Hendrych, Opt. Commun. 169, 103 (1999)). Decoy proofs take it off: those are pulses of several photons.
"""

from __future__ import annotations

import math

import numpy as np

from noclone.link.devices import LinkDevices
from noclone.link.overheard import Overheard
from noclone.redteam.light import LightAttack, photons_of
from noclone.redteam.record import EveRecord, with_error
from noclone.units import transmittance


def kept_light(view: Overheard, share: float) -> EveRecord:
    """Return the record of a memory that holds what the fibre would have lost."""
    lost = 1 - transmittance(view.bb84.fibre.loss_db)
    means = np.array([photons_of(view.bb84, code) for code in range(16)])[view.codes]
    holds = view.random.random(len(means)) < share * -np.expm1(-lost * means)
    return with_error(view, holds, 0.0)


def known_share(devices: LinkDevices, share: float) -> float:
    """Return the share of sifted bits that she knows: intensities count as often as they are detected."""
    fibre = transmittance(devices.fibre.loss_db)
    receiver, protocol = devices.receiver, devices.source.protocol
    bob = transmittance(receiver.loss_db) * sum(receiver.efficiency) / len(receiver.efficiency)
    dark = sum(receiver.dark_count_hz) / devices.source.clock_hz
    pairs = list(zip(protocol.probabilities, protocol.intensities, strict=True))
    gains = [p * (dark - math.expm1(-mu * fibre * bob)) for p, mu in pairs]
    known = [g * -math.expm1(-mu * (1 - fibre)) for g, (_, mu) in zip(gains, pairs, strict=True)]
    return share * math.fsum(known) / math.fsum(gains)


ATTACK = LightAttack("beam-splitting", record=kept_light, bits=known_share, naive="every detection a single photon")
