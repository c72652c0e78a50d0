"""Decoy bounds: what the counts of each intensity say about pulses of no photon and of one.

In: counts per intensity, brightest first, and their statistical deviations.  Out: bounds on how many detections came
from empty and from single-photon pulses, and on how many of the latter were errors.
Lim et al., Phys. Rev. A 89, 022307 (2014) for two decoys; Rusca et al., Appl. Phys. Lett. 112, 171104 (2018) for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from noclone.counts import Paired
from noclone.records import DecoyBB84

Deviation = Callable[[float], float]


class Tally(Protocol):
    """Counts per intensity: `counts.Counts`, or the same in floats as a model expects them."""

    @property
    def n_key(self) -> Sequence[float]: ...
    @property
    def n_test(self) -> Sequence[float]: ...
    @property
    def m_test(self) -> Sequence[float]: ...
    @property
    def m_key(self) -> Sequence[float] | None: ...
    @property
    def paired(self) -> Paired | None: ...


@dataclass(frozen=True, slots=True)
class PhotonBounds:
    """What is known of the photons behind the detections of a block.

    Args:
        vacuum_key: At least so many key-basis detections came from empty pulses.
        single_key: At least so many came from single-photon pulses.
        single_test: The same in the test basis.
        single_errors: At most so many single-photon detections in the test basis were errors.
    """

    vacuum_key: float
    single_key: float
    single_test: float
    single_errors: float


def tau(protocol: DecoyBB84, photons: int) -> float:
    """Return the probability that a pulse holds so many photons, whatever its intensity (Lim 2014, below Eq. (1))."""
    total = 0.0
    for k, p in zip(protocol.intensities, protocol.probabilities, strict=True):
        total += p * math.exp(-k) * k**photons / math.factorial(photons)
    return total


def scale(protocol: DecoyBB84, index: int) -> float:
    """Return e^k / p_k, which turns a count at intensity k into one comparable with the others'."""
    return math.exp(protocol.intensities[index]) / protocol.probabilities[index]


def two_decoys(tally: Tally, protocol: DecoyBB84, deviation: Deviation) -> PhotonBounds:
    """Return the bounds of Lim et al. 2014, Eqs. (2)-(4), taken literally: n^- and m^- may fall below zero.

    Clipping m^-_3 at zero would be valid as well and gives a little more key; the published curve does not clip.
    """
    vacuum_key, single_key = _two_decoy_basis(tally.n_key, protocol, deviation)
    _, single_test = _two_decoy_basis(tally.n_test, protocol, deviation)
    _, mu2, mu3 = protocol.intensities
    spread = deviation(sum(tally.m_test))
    upper = scale(protocol, 1) * (tally.m_test[1] + spread)
    lower = scale(protocol, 2) * (tally.m_test[2] - spread)
    errors = tau(protocol, 1) * (upper - lower) / (mu2 - mu3)  # Eq. (4)
    return PhotonBounds(vacuum_key, single_key, single_test, max(errors, 0.0))


def _two_decoy_basis(n: Sequence[float], protocol: DecoyBB84, deviation: Deviation) -> tuple[float, float]:
    """Return the lower bounds on empty and on single-photon detections of one basis."""
    mu1, mu2, mu3 = protocol.intensities
    spread = deviation(sum(n))
    n1_upper = scale(protocol, 0) * (n[0] + spread)
    n2_upper = scale(protocol, 1) * (n[1] + spread)
    n2_lower = scale(protocol, 1) * (n[1] - spread)
    n3_upper = scale(protocol, 2) * (n[2] + spread)
    n3_lower = scale(protocol, 2) * (n[2] - spread)
    tau0, tau1 = tau(protocol, 0), tau(protocol, 1)
    vacuum = max(tau0 * (mu2 * n3_lower - mu3 * n2_upper) / (mu2 - mu3), 0.0)  # Eq. (2)
    share = (mu2 * mu2 - mu3 * mu3) / (mu1 * mu1)
    bracket = n2_lower - n3_upper - share * (n1_upper - vacuum / tau0)
    single = tau1 * mu1 * bracket / (mu1 * (mu2 - mu3) - mu2 * mu2 + mu3 * mu3)  # Eq. (3)
    return _within(vacuum, single, sum(n))


def one_decoy(tally: Tally, protocol: DecoyBB84, deviation: Deviation, *, clip: bool) -> PhotonBounds:
    """Return the bounds of Rusca et al. 2018, (A16)-(A22), which need the errors of both bases.

    Printed (A18) omits e^k / p_k, without which (A17) would not be homogeneous; here it stands.
    The upper bound on empty pulses uses the weaker intensity's errors. The proof counts one intensity, fixed before
    the block; the weaker one is the better over the whole range that we looked at.

    Args:
        clip: Hold each bound on a count within 0 and the total, as Wiesemann et al. do in their code.
    """
    assert tally.m_key is not None
    vacuum_key, single_key = _one_decoy_basis(tally.n_key, tally.m_key, protocol, deviation, clip=clip)
    _, single_test = _one_decoy_basis(tally.n_test, tally.m_test, protocol, deviation, clip=clip)
    mu1, mu2 = protocol.intensities
    total = sum(tally.m_test)
    spread = deviation(total)
    m1_upper = tally.m_test[0] + spread
    m2_lower = tally.m_test[1] - spread
    if clip:
        m1_upper, m2_lower = min(m1_upper, total), max(m2_lower, 0.0)
    difference = scale(protocol, 0) * m1_upper - scale(protocol, 1) * m2_lower
    errors = tau(protocol, 1) / (mu1 - mu2) * difference  # (A22)
    return PhotonBounds(vacuum_key, single_key, single_test, max(errors, 0.0))


def _one_decoy_basis(
    n: Sequence[float], m: Sequence[float], protocol: DecoyBB84, deviation: Deviation, *, clip: bool
) -> tuple[float, float]:
    """Return the lower bounds on empty and on single-photon detections of one basis."""
    mu1, mu2 = protocol.intensities
    n_total, m_total = sum(n), sum(m)
    spread = deviation(n_total)
    n1_upper, n2_lower = n[0] + spread, n[1] - spread
    m2_upper = m[1] + deviation(m_total)
    if clip:
        n1_upper, n2_lower = min(n1_upper, n_total), max(n2_lower, 0.0)
        m2_upper = min(m2_upper, m_total)
    n1_upper, n2_lower = scale(protocol, 0) * n1_upper, scale(protocol, 1) * n2_lower
    tau0, tau1 = tau(protocol, 0), tau(protocol, 1)
    # (A16): half of the empty pulses' detections are errors, give or take, and errors are what we can count.
    vacuum_upper = min(2.0 * (tau0 * scale(protocol, 1) * m2_upper + spread), n_total)
    vacuum_lower = max(tau0 / (mu1 - mu2) * (mu1 * n2_lower - mu2 * n1_upper), 0.0)  # (A19)
    share = (mu2 * mu2) / (mu1 * mu1)
    bracket = n2_lower - share * n1_upper - (1.0 - share) * vacuum_upper / tau0
    single = tau1 * mu1 / (mu2 * (mu1 - mu2)) * bracket  # (A17)
    return _within(vacuum_lower, single, n_total)


def _within(vacuum: float, single: float, n_total: float) -> tuple[float, float]:
    """Return both lower bounds held within the detections that there are; odd counts could push them above."""
    vacuum = min(vacuum, n_total)
    return vacuum, min(max(single, 0.0), n_total - vacuum)
