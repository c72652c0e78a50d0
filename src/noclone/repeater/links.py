"""An elementary link: two memories, a station between them that hears photons, and a click that says "entangled".

In: emission, transmittances, dark counts, visibility.  Out: a `Link`: how often an attempt succeeds, how long one
takes, which pair it leaves. The first two schemes are worked out from the populations and the one coherence that a
click leaves, exact in losses and dark counts (threshold detectors, twirled to Bell-diagonal form).

One click: Cabrillo, Cirac, Garcia-Fernandez and Zoller, Phys. Rev. A 59, 1025 (1999); errors as by Humphreys et al.,
Nature 558, 268 (2018), and Hermans et al., New J. Phys. 25, 013011 (2023). Two clicks: Barrett and Kok, Phys. Rev. A
71, 060310 (2005). One photon by both memories: Knaut et al., Nature 629, 573 (2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from noclone.errors import InputError
from noclone.repeater.pairs import BellPair
from noclone.units import fibre_delay_s, transmittance

LEAST_SUCCESS = 1e-12
LONGEST_MEAN_S = 1e6


@dataclass(frozen=True, slots=True)
class Link:
    """One elementary link.

    Args:
        success: Probability that an attempt leaves a pair.
        attempt_s: From the start of an attempt to the start of the next, the word of the station included.
        pair: What a success leaves.
    """

    length_km: float
    success: float
    attempt_s: float
    pair: BellPair

    def __post_init__(self) -> None:
        if not (math.isfinite(self.length_km) and self.length_km >= 0):
            raise InputError(f"a link is 0 km long or longer, not {self.length_km:g}")
        if not LEAST_SUCCESS <= self.success <= 1:
            raise InputError(
                f"an attempt that succeeds with probability {self.success:.3g} is no link",
                hint=f"shorter links, better detectors; the least is {LEAST_SUCCESS:g}",
            )
        if not (self.attempt_s >= 1e-9 and self.attempt_s / self.success <= LONGEST_MEAN_S):
            raise InputError(
                f"{self.attempt_s / self.success:.3g} s for a pair on one link: that is none",
                hint="attempts take 1 ns or more, and a pair 10^6 s at most",
            )

    @property
    def mean_s(self) -> float:
        """How long a pair takes on average."""
        return self.attempt_s / self.success

    @property
    def travel_s(self) -> float:
        """How long a word takes from end to end."""
        return fibre_delay_s(self.length_km)


@dataclass(frozen=True, slots=True)
class Emitters:
    """What both schemes need to know of a link.

    Args:
        emission: Probability that a photon leaves the memory's node into the fibre, at the fibre's wavelength.
        detector: Efficiency of the station's detectors and optics.
        dark: Probability of a dark count, per detector and window.
        visibility: Of the two photons' interference (Hong, Ou, Mandel).
        local_s: Least time of an attempt: preparing memories, emitting.
        modes: Attempts side by side, of which the first success is kept.
        skew: Where the station stands: share of the fibre on the first node's side.
        extra_db: Loss of each arm beside the fibre's.
    """

    emission: float
    detector: float = 0.9
    dark: float = 0.0
    visibility: float = 1.0
    local_s: float = 1e-6
    modes: int = 1
    attenuation_db_per_km: float = 0.2
    skew: float = 0.5
    extra_db: float = 0.0

    def __post_init__(self) -> None:
        for name in ("emission", "detector", "dark", "visibility", "skew"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"{name} lies between 0 and 1, not {value:g}")
        if not (self.local_s > 0 and self.modes >= 1 and self.attenuation_db_per_km >= 0 and self.extra_db >= 0):
            raise InputError("attempts take time, are one or more side by side, and fibre does not amplify")

    def arms(self, length_km: float) -> tuple[float, float]:
        """Return the probability that a photon of either node would be detected."""
        there = self.emission * self.detector * transmittance(self.extra_db)
        return (
            there * transmittance(self.attenuation_db_per_km * length_km * self.skew),
            there * transmittance(self.attenuation_db_per_km * length_km * (1 - self.skew)),
        )

    def attempt_s(self, length_km: float) -> float:
        """Return the length of an attempt: photons go to the station, its word comes back to the farther node."""
        return max(self.local_s, 2 * fibre_delay_s(max(self.skew, 1 - self.skew) * length_km))

    def link(self, length_km: float, success: float, pair: BellPair) -> Link:
        """Return the link of one mode's success."""
        several = -math.expm1(self.modes * math.log1p(-success)) if success < 1 else 1.0
        return Link(length_km, several, self.attempt_s(length_km), pair)


@dataclass(frozen=True, slots=True)
class _Clicks:
    """Probability that exactly one of two detectors clicks, by the photons that set out.

    Args:
        none, first, second, both: Nobody's, one node's, the other's, both's.
        clean: A photon of a node arrives and no dark count joins it, per node; the coherence needs that.
    """

    none: float
    first: float
    second: float
    both: float
    clean: tuple[float, float]


def _clicks(eta: tuple[float, float], dark: float, visibility: float) -> _Clicks:
    a, b = eta
    none = 2 * dark * (1 - dark)
    one = 1 - dark
    bunched = (1 + visibility) / 2  # two photons leave by the same port
    both = a * b * bunched * one + (a * (1 - b) + b * (1 - a)) * one + (1 - a) * (1 - b) * none
    return _Clicks(none, a * one + (1 - a) * none, b * one + (1 - b) * none, both, (a * one, b * one))


def _heralded(different: float, alike: float, coherence: float) -> BellPair:
    """Return the pair whose two bits differ or are alike with these probabilities, turned from Psi+ to Phi+."""
    total = different + alike
    if total <= 0:
        raise InputError("no photon and no dark count ever reaches the station: that is no link")
    z, phase = (different - alike) / total, coherence / total
    # Of Psi+ and Psi-: (different +- coherence) / 2; of both Phi: alike / 2. A flip of one bit makes Psi+ to Phi+.
    return BellPair(phase, phase, z)


def one_click(
    length_km: float, emitters: Emitters, bright: float, *, phase_rad: float = 0.0, double_excitation: float = 0.0
) -> Link:
    """Return a link on which one photon, of whichever node, heralds the pair.

    Without other errors the fidelity is 1 - bright, and success about 2 * bright * eta: one is bought with the other.

    Args:
        bright: Share of the state that emits, in each memory.
        phase_rad: Standard deviation of the phase between the two arms.
        double_excitation: Probability that a memory that emits does so twice: the other photon tells where the first
            came from, and the phase is lost.
    """
    if not 0 < bright < 1:
        raise InputError(f"the share of the bright state lies between 0 and 1, not {bright:g}")
    eta = emitters.arms(length_km)
    clicks = _clicks(eta, emitters.dark, emitters.visibility)
    different = bright * (1 - bright) * (clicks.first + clicks.second)
    alike = bright**2 * clicks.both + (1 - bright) ** 2 * clicks.none
    # First-order interference goes with the overlap of the photons' amplitudes, whose square is the visibility.
    kept = math.sqrt(emitters.visibility) * math.exp(-(phase_rad**2) / 2) * (1 - double_excitation)
    coherence = 2 * bright * (1 - bright) * math.sqrt(clicks.clean[0] * clicks.clean[1]) * kept
    return emitters.link(length_km, different + alike, _heralded(different, alike, coherence))


def two_clicks(length_km: float, emitters: Emitters) -> Link:
    """Return a link on which one click in each of two rounds, memories flipped between, heralds the pair.

    Without dark counts: success eta_a * eta_b / 2 and fidelity (1 + visibility) / 2; the arms' phase falls out.
    """
    eta = emitters.arms(length_km)
    clicks = _clicks(eta, emitters.dark, emitters.visibility)
    different = clicks.first * clicks.second / 2
    alike = clicks.both * clicks.none / 2
    coherence = clicks.clean[0] * clicks.clean[1] / 2 * emitters.visibility
    return emitters.link(length_km, different + alike, _heralded(different, alike, coherence))


def reflected(length_km: float, emitters: Emitters, mean_photons: float, gate: BellPair) -> Link:
    """Return a link on which one photon goes by both memories, one after the other, and is then detected in two bins.

    The serial gate of Knaut et al., Nature 629, 573 (2024). Nothing stands in the middle: light crosses the whole
    fibre, and an attempt waits for its word to come back. What the two gates, and photons that are lost between them,
    do to the pair is measured, not modelled: it is `gate`; a click without light leaves noise.

    Args:
        mean_photons: Of the weak pulse in its two time bins, where `emitters.emission` begins.
        gate: The pair that a click by light leaves.
    """
    if not mean_photons > 0:
        raise InputError("a pulse without light entangles nothing")
    there = transmittance(emitters.attenuation_db_per_km * length_km + emitters.extra_db)
    light = -math.expm1(-mean_photons * emitters.emission * emitters.detector * there)
    success = 1 - (1 - light) * (1 - emitters.dark) ** 2
    right = light / success if success else 0.0
    far = replace(emitters, skew=0.0)  # the word comes back from the far end
    return far.link(length_km, success, BellPair(gate.x * right, gate.y * right, gate.z * right))
