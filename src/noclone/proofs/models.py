"""The channel models of the papers, which say what an honest link would count.

In: device numbers.  Out: gains, error rates and expected counts, in floats. Used to reproduce published figures and for
first estimates; what our own devices would count, `link.theory` knows better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from noclone.counts import Moments, Paired
from noclone.proofs.asymptotic import RANDOM_ERROR, Gain, SinglePhotons
from noclone.records import DecoyBB84


@dataclass(frozen=True, slots=True)
class MaChannel:
    """Ma et al. 2005, Sec. II: threshold detectors behind a lossy channel.

    Args:
        transmittance: Of channel and receiver together (eta).
        background: Probability of a click without light (Y0).
        misalignment: Probability that a photon hits the wrong detector (e_d).
    """

    transmittance: float
    background: float
    misalignment: float

    def gain(self, mean_photons: float) -> Gain:
        """Return gain and error rate, Eqs. (10) and (11)."""
        light = -math.expm1(-self.transmittance * mean_photons)
        total = self.background + light
        wrong = RANDOM_ERROR * self.background + self.misalignment * light
        return Gain(mean_photons, total, wrong / total)

    def single_photons(self) -> SinglePhotons:
        """Return what infinitely many decoys would find: Eqs. (7) and (9) for one photon."""
        y1 = self.background + self.transmittance - self.background * self.transmittance
        wrong = RANDOM_ERROR * self.background + self.misalignment * self.transmittance
        return SinglePhotons(y1, min(wrong / y1, 0.5))


@dataclass(frozen=True, slots=True)
class ExpectedTally:
    """Counts in floats: fits `agreement.agree` and each proof's arithmetic."""

    n_slots: int
    n_key: tuple[float, ...]
    n_test: tuple[float, ...]
    m_test: tuple[float, ...]
    m_key: tuple[float, ...]
    moments: Moments | None = None
    paired: Paired | None = None

    def scaled_to(self, key_total: float) -> ExpectedTally:
        """Return the same for a block with so many sifted bits."""
        factor = key_total / sum(self.n_key)
        scaled: dict[str, Any] = {
            name: tuple(factor * x for x in getattr(self, name)) for name in ("n_key", "n_test", "m_test", "m_key")
        }
        if self.paired is not None:
            scaled["paired"] = Paired(factor * self.paired.raw, factor * self.paired.pairs)
        return replace(self, n_slots=round(self.n_slots * factor), **scaled)


@dataclass(frozen=True, slots=True)
class DecoyChannel:
    """Per-pulse click and error probabilities of Lim et al. 2014 or Rusca et al. 2018.

    Args:
        transmittance: Of channel and receiver together.
        dark: Dark-count probability per slot: of each detector (Lim), or of all (Rusca).
        misalignment: Probability that a photon hits the wrong detector.
        afterpulse: Afterpulse probability (Lim).
        model: Lim, Sec. IV: D = 1-(1-2p_dc)e^(-eta k), R = D(1+p_ap), e = p_dc + e_mis(1-e^(-eta k)) + p_ap D/2. The
            paper prints eta_ch in the error term; the system's transmittance is meant.
            Rusca, App. B: R = 1-e^(-eta k) + p_DC, e = (1-e^(-eta k)) e_mis + p_DC/2.
    """

    transmittance: float
    dark: float
    misalignment: float
    afterpulse: float = 0.0
    model: Literal["lim", "rusca"] = "lim"

    def click(self, mean_photons: float) -> float:
        """Return the probability that a pulse is detected."""
        light = -math.expm1(-self.transmittance * mean_photons)
        if self.model == "rusca":
            return light + self.dark
        return self._lim_click(light) * (1.0 + self.afterpulse)

    def error(self, mean_photons: float) -> float:
        """Return the probability that a pulse is detected and wrong."""
        light = -math.expm1(-self.transmittance * mean_photons)
        if self.model == "rusca":
            return light * self.misalignment + self.dark / 2.0
        return self.dark + self.misalignment * light + self.afterpulse * self._lim_click(light) / 2.0

    def _lim_click(self, light: float) -> float:
        return 1.0 - (1.0 - 2.0 * self.dark) * (1.0 - light)

    def tally(self, protocol: DecoyBB84, n_slots: int) -> ExpectedTally:
        """Return the counts to expect of a block of `n_slots` pulses."""
        key = n_slots * protocol.p_key_alice * protocol.p_key_bob
        test = n_slots * (1.0 - protocol.p_key_alice) * (1.0 - protocol.p_key_bob)
        pairs = tuple(zip(protocol.intensities, protocol.probabilities, strict=True))
        clicks = tuple(p * self.click(k) for k, p in pairs)
        errors = tuple(p * self.error(k) for k, p in pairs)
        return ExpectedTally(
            n_slots=n_slots,
            n_key=tuple(key * c for c in clicks),
            n_test=tuple(test * c for c in clicks),
            m_test=tuple(test * e for e in errors),
            m_key=tuple(key * e for e in errors),
        )
