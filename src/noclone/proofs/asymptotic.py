"""Decoy-state BB84 with endless keys: the upper limit that finite blocks approach.

In: gains and error rates of each intensity.  Out: bounds on single photons, and secret bits per pulse.
Ma, Qi, Zhao, Lo, Phys. Rev. A 72, 012326 (2005), whose equation numbers are quoted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noclone.proofs.entropy import error_entropy

RANDOM_ERROR = 0.5  # e0: a dark count is right half of the time


@dataclass(frozen=True, slots=True)
class Gain:
    """What one intensity gives.

    Args:
        mean_photons: Mean photon number of the pulse.
        gain: Probability that a pulse is detected (Q).
        error_rate: Share of errors among detections (E).
    """

    mean_photons: float
    gain: float
    error_rate: float


@dataclass(frozen=True, slots=True)
class SinglePhotons:
    """What is known of single-photon pulses: they are detected at least so often, and err at most so often."""

    yield_lower: float
    error_upper: float


def weak_and_vacuum(signal: Gain, decoy: Gain, background: float) -> SinglePhotons:
    """Return the bounds of one weak decoy and vacuum, whose gain is the `background` Y0: Eqs. (34) and (37)."""
    return two_decoys(signal, decoy, Gain(0.0, background, RANDOM_ERROR))


def two_decoys(signal: Gain, decoy: Gain, weaker: Gain) -> SinglePhotons:
    """Return the bounds of two decoys of any intensity: Eqs. (18), (21) and (25)."""
    mu, nu1, nu2 = signal.mean_photons, decoy.mean_photons, weaker.mean_photons
    if not mu > nu1 + nu2 or not nu1 > nu2 >= 0:
        raise ValueError("the signal must be brighter than both decoys together, and the decoys must differ")
    q_mu, q1, q2 = (g.gain * math.exp(g.mean_photons) for g in (signal, decoy, weaker))
    y0 = max((nu1 * q2 - nu2 * q1) / (nu1 - nu2), 0.0)  # Eq. (18)
    share = (nu1 * nu1 - nu2 * nu2) / (mu * mu)
    y1 = mu / (mu * nu1 - mu * nu2 - nu1 * nu1 + nu2 * nu2) * (q1 - q2 - share * (q_mu - y0))  # Eq. (21)
    if y1 <= 0:
        return SinglePhotons(0.0, 0.5)
    e1 = (decoy.error_rate * q1 - weaker.error_rate * q2) / ((nu1 - nu2) * y1)  # Eq. (25)
    return SinglePhotons(min(y1, 1.0), min(max(e1, 0.0), 0.5))


def rate(signal: Gain, single: SinglePhotons, efficiency: float, sifting: float = 0.5) -> float:
    """Return secret bits per pulse, Eq. (1); below zero means none, and is kept so that curves can be followed.

    Args:
        efficiency: Leak of reconciliation over Shannon's limit (the paper's f).
        sifting: Share of pulses that survive sifting (the paper's q): one half, or p_key squared.
    """
    mu = signal.mean_photons
    q1 = mu * math.exp(-mu) * single.yield_lower  # Eq. (35)
    kept = q1 * (1.0 - error_entropy(single.error_upper))
    return sifting * (kept - signal.gain * efficiency * error_entropy(signal.error_rate))


def best_mean_photons(error_rate: float, efficiency: float) -> float:
    """Return the signal intensity that Eq. (12) calls optimal: (1-mu) e^-mu = f h(e_d) / (1 - h(e_d))."""
    h = error_entropy(error_rate)
    target = efficiency * h / (1.0 - h) if h < 1.0 else math.inf
    if target >= 1.0:
        raise ValueError("with so many errors no intensity gives key")
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2.0
        low, high = (middle, high) if (1.0 - middle) * math.exp(-middle) > target else (low, middle)
    return (low + high) / 2.0
