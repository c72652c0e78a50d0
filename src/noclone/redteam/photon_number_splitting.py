"""Photon-number splitting: Eve counts the photons of a pulse, keeps one of several, and stops lonely ones.

In: devices and the share of pulses.  Out: a tap. She measures the photon number without touching the polarisation,
which physics allows, and owns a fibre without loss. From a pulse of n >= 2 photons she keeps one, sends n - 1, and
measures hers when the bases are announced: she knows that bit. A pulse of one photon passes now and then, so that the
brightest intensity is detected as often as before. No error betrays her; the fraction of bits that she knows is at
most (1 - exp(-mu) (1 + mu)) / Q_mu (Brassard, Lütkenhaus, Mor, Sanders, PRL 85, 1330 (2000); Lütkenhaus, Jahma, New
J. Phys. 4, 44 (2002)). Decoys find her: she cannot tell a signal's single photon from a decoy's (Hwang 2003; Lo, Ma,
Chen 2005).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noclone.link.devices import LinkDevices
from noclone.link.optics import detected_photons
from noclone.link.overheard import Overheard
from noclone.link.tap import SETTINGS, Outcome, Tap
from noclone.records import Basis
from noclone.redteam.light import LightAttack, photons_of, tap_of
from noclone.redteam.record import EveRecord, with_error
from noclone.units import transmittance

PHOTONS_MAX = 6  # more in a pulse are as good as this many: fewer than one pulse in 10^5 has them


@dataclass(frozen=True, slots=True)
class Sieve:
    """How often each kind of pulse is let through, so that a wanted gain comes out.

    Args:
        several: Of pulses of two photons and more, one of which Eve keeps.
        single: Of single photons, through a fibre without loss.
    """

    several: float
    single: float


def poisson(mean: float, photons: int) -> float:
    """Return the probability of so many photons in a pulse."""
    return math.exp(-mean) * mean**photons / math.factorial(photons)


def sieve(devices: LinkDevices, mean: float) -> Sieve:
    """Return how to keep the gain of one intensity: pulses of several photons first."""
    receiver = devices.receiver
    bob = transmittance(receiver.loss_db) * sum(receiver.efficiency) / len(receiver.efficiency)
    wanted = honest_gain(devices, mean)
    several = math.fsum(poisson(mean, n) * (1 - (1 - bob) ** (n - 1)) for n in range(2, PHOTONS_MAX + 1))
    single = poisson(mean, 1) * bob
    if several >= wanted > 0:
        return Sieve(wanted / several, 0.0)
    return Sieve(1.0, min(1.0, (wanted - several) / single) if single else 0.0)


def honest_gain(devices: LinkDevices, mean: float) -> float:
    """Return how often light of this intensity makes any detector click on the honest link."""
    return -math.expm1(-float(detected_photons(devices, mean, Basis.KEY, 0, Basis.KEY).sum()))


def sieved(code: int, mean: float, gaps: Sieve, share: float) -> dict[Outcome, float]:
    """Return what becomes of a share of one setting's pulses."""
    basis, value = Basis((code >> 1) & 1), code & 1
    row: dict[Outcome, float] = {}
    passed = 0.0
    for photons in range(2, PHOTONS_MAX + 1):
        p = share * poisson(mean, photons) * gaps.several
        row[Outcome("resend", 0.0, basis, value, photons=photons - 1)] = p
        passed += p
    single = share * poisson(mean, 1) * gaps.single
    # The same photon, of which she has no twin: a mean photon number that nothing reads tells the two apart.
    row[Outcome("resend", UNKNOWN, basis, value, photons=1)] = single
    row[Outcome("stop")] = max(0.0, share - passed - single)
    return row


UNKNOWN = 1.0


def splitting(devices: LinkDevices, share: float) -> Tap:
    """Return the tap that splits a share of all pulses, as if all were signals."""
    gaps = sieve(devices, devices.source.protocol.intensities[0])
    return tap_of([sieved(code, photons_of(devices, code), gaps, share) for code in range(SETTINGS)])


def kept_one(view: Overheard, _strength: float) -> EveRecord:
    """Return the record of a photon kept from each pulse that had several."""
    twins = np.array([o.photons > 0 and o.mean_photons != UNKNOWN for o in view.tap.outcomes])
    return with_error(view, twins[view.outcomes], 0.0)


def known_share(devices: LinkDevices, strength: float) -> float:
    """Return the share of sifted bits that she knows, over all intensities."""
    protocol = devices.source.protocol
    gaps = sieve(devices, protocol.intensities[0])
    return _known(devices, [gaps] * len(protocol.intensities), strength)


def _known(devices: LinkDevices, gaps: list[Sieve], strength: float) -> float:
    receiver, protocol = devices.receiver, devices.source.protocol
    bob = transmittance(receiver.loss_db) * sum(receiver.efficiency) / len(receiver.efficiency)
    dark = sum(receiver.dark_count_hz) / devices.source.clock_hz
    known = total = 0.0
    for p, mean, one in zip(protocol.probabilities, protocol.intensities, gaps, strict=True):
        several = math.fsum(poisson(mean, n) * (1 - (1 - bob) ** (n - 1)) for n in range(2, PHOTONS_MAX + 1))
        split = one.several * several
        known += p * strength * split
        total += p * (strength * (split + one.single * poisson(mean, 1) * bob) + dark)
        total += p * (1 - strength) * honest_gain(devices, mean)
    return known / total


ATTACK = LightAttack(
    "photon-number-splitting",
    record=kept_one,
    bits=known_share,
    tap=splitting,
    naive="every detection a single photon",
)
