"""Which detectors one pulse makes click together, where this is no Poisson law: photon by photon, or in linear mode.

In: probabilities for each detector.  Out: `Law`, a probability for each set of detectors, written as a number with one
bit for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Law:
    """What one slot's light and darkness do.

    Args:
        light: For each set of detectors, how likely the light makes just these click, were all alive.
        dark: Each detector's mean number of dark counts in the slot.
        shift: How much of a slot the light comes late.
    """

    light: F64
    dark: F64
    shift: float = 0.0

    def __post_init__(self) -> None:
        assert len(self.light) == 1 << len(self.dark)
        assert abs(float(self.light.sum()) - 1) < 1e-9

    def none_outside(self, lit: F64, unlit: F64) -> F64:
        """Return, for each set of detectors, the probability that no detector outside it clicks.

        Args:
            lit: How likely each detector clicks where the light would make it.
            unlit: How likely it clicks where not.
        """
        detectors, sets = len(self.dark), len(self.light)
        out = np.zeros(sets)
        for lighted, p in enumerate(self.light):
            if p:
                clicks = [lit[d] if (lighted >> d) & 1 else unlit[d] for d in range(detectors)]
                out += p * no_click_outside(clicks)
        return out

    def click(self) -> F64:
        """Return each detector's probability of a click by the light."""
        sets = np.arange(len(self.light))
        return np.array([float(self.light[(sets >> d) & 1 == 1].sum()) for d in range(len(self.dark))])

    def masks(self) -> list[tuple[float, int]]:
        """Return (probability, set) for each set that light and dark counts together make click."""
        dark = -np.expm1(-self.dark)
        out = np.zeros(len(self.light))
        for lighted, p in enumerate(self.light):
            for darkened in range(len(self.light)):
                factors = [q if (darkened >> d) & 1 else 1 - q for d, q in enumerate(dark)]
                out[lighted | darkened] += p * math.prod(factors)
        return sorted(((float(p), s) for s, p in enumerate(out) if s and p > 0), key=lambda one: (-one[0], one[1]))


def no_click_outside(clicks: Sequence[float] | F64) -> F64:
    """Return, for each set of detectors (one bit each), the probability that no detector outside it clicks."""
    sets = range(1 << len(clicks))
    return np.array([math.prod(1 - p for d, p in enumerate(clicks) if not (s >> d) & 1) for s in sets])


def set_probabilities(none_outside: F64) -> F64:
    """Return the probability that exactly a set of detectors clicked (Möbius inversion over subsets)."""
    out = none_outside.copy()
    for d in range((len(out) - 1).bit_length()):
        for s in range(len(out)):
            if (s >> d) & 1:
                out[s] -= out[s ^ (1 << d)]
    return out


def independent(clicks: Sequence[float] | F64) -> F64:
    """Return the law of detectors that click independently."""
    return np.maximum(set_probabilities(no_click_outside(clicks)), 0.0)


def photon_by_photon(photons: int, shares: F64) -> F64:
    """Return the law of exactly so many photons: each goes to detector d with probability shares[d], or is lost.

    A photon-number state through linear optics and loss: each photon for itself.
    """
    sets = range(1 << len(shares))
    outside = np.array([math.fsum(q for d, q in enumerate(shares) if not (s >> d) & 1) for s in sets])
    return np.maximum(set_probabilities((1 - outside) ** photons), 0.0)
