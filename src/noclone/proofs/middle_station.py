"""Keys through a middle station that nobody has to trust: MDI-QKD, and twin-field QKD in two forms.

In: arms, detectors, intensities.  Out: gains, error rates, secret bits per pulse. The station announces; it may be Eve
herself.

MDI-QKD: Lo, Curty, Qi, Phys. Rev. Lett. 108, 130503 (2012), with the light of Ma and Razavi, Phys. Rev. A 86, 062319
(2012). Twin-field: Curty, Azuma, Lo, npj Quantum Inf. 5, 64 (2019) (CAL); Wang, Yu, Hu, Phys. Rev. A 98, 062323 (2018)
(sending or not sending, SNS). All in the limit of long blocks and of infinitely many decoys; SNS without AOPP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noclone.proofs.asymptotic import RANDOM_ERROR
from noclone.proofs.entropy import binary_entropy

TERMS = 12  # photon numbers of CAL's bound; brighter terms are bounded by 1


def bessel_i0(x: float) -> float:
    """Return the modified Bessel function of order 0, by its series; arguments here are small."""
    term = total = 1.0
    k = 1
    while term > 1e-17 * total:
        term *= (x / (2.0 * k)) ** 2
        total += term
        k += 1
    return total


@dataclass(frozen=True, slots=True)
class Arms:
    """Two arms that meet in a station with two detectors (MDI: four).

    Args:
        eta_alice, eta_bob: Transmittance of each arm, detector included.
        dark: Dark-count probability of a detector per pulse.
        misalignment: Probability that a photon goes to the wrong detector (e_d).
    """

    eta_alice: float
    eta_bob: float
    dark: float
    misalignment: float


@dataclass(frozen=True, slots=True)
class MdiGains:
    """Gains and error rates of both bases, per pulse."""

    gain_key: float
    error_key: float
    gain_test: float
    error_test: float


def mdi_gains(arms: Arms, mu_alice: float, mu_bob: float) -> MdiGains:
    """Return what coherent states give, Ma and Razavi 2012, Eqs. (51)-(54)."""
    a, b = arms.eta_alice * mu_alice, arms.eta_bob * mu_bob
    total, x = a + b, math.sqrt(a * b) / 2.0
    live = 1.0 - arms.dark
    y = live * math.exp(-total / 4.0)
    gain_test = 2.0 * y * y * (1.0 + 2.0 * y * y - 4.0 * y * bessel_i0(x) + bessel_i0(2.0 * x))
    wrong_test = RANDOM_ERROR * gain_test - 2.0 * (RANDOM_ERROR - arms.misalignment) * y * y * (
        bessel_i0(2.0 * x) - 1.0
    )
    right = (
        2.0 * live**2 * math.exp(-total / 2.0) * (1.0 - live * math.exp(-a / 2.0)) * (1.0 - live * math.exp(-b / 2.0))
    )
    wrong = 2.0 * arms.dark * live**2 * math.exp(-total / 2.0) * (bessel_i0(2.0 * x) - live * math.exp(-total / 2.0))
    gain_key = right + wrong
    wrong_key = arms.misalignment * right + (1.0 - arms.misalignment) * wrong
    return MdiGains(gain_key, _share(wrong_key, gain_key), gain_test, _share(wrong_test, gain_test))


def mdi_single_photons(arms: Arms) -> tuple[float, float]:
    """Return yield and error rate of single photons from both, Ma and Razavi 2012, Eqs. (35) and (39)."""
    a, b, dark = arms.eta_alice, arms.eta_bob, arms.dark
    live2 = (1.0 - dark) ** 2
    pairs = a * b / 2.0
    total = live2 * (pairs + (2.0 * a + 2.0 * b - 3.0 * a * b) * dark + 4.0 * (1.0 - a) * (1.0 - b) * dark**2)
    wrong = RANDOM_ERROR * total - (RANDOM_ERROR - arms.misalignment) * live2 * pairs
    return total, _share(wrong, total)


def mdi_rate(arms: Arms, mu_alice: float, mu_bob: float, efficiency: float = 1.16) -> float:
    """Return secret bits per pulse: Q11 (1 - h(e11)) - Q f h(E), Lo, Curty and Qi 2012."""
    gains = mdi_gains(arms, mu_alice, mu_bob)
    y11, e11 = mdi_single_photons(arms)
    q11 = mu_alice * mu_bob * math.exp(-mu_alice - mu_bob) * y11
    cost = gains.gain_key * efficiency * binary_entropy(min(gains.error_key, 0.5))
    return max(0.0, q11 * (1.0 - binary_entropy(min(e11, 0.5))) - cost)


@dataclass(frozen=True, slots=True)
class PhaseNoise:
    """What is left of the interference of two lasers.

    Args:
        phase_rad: Standard deviation of the phase between the arms.
        polarisation_rad: Angle between the polarisations at the station.
    """

    phase_rad: float = 0.0
    polarisation_rad: float = 0.0

    @property
    def overlap(self) -> float:
        """Omega: how much of the light interferes."""
        return math.exp(-(self.phase_rad**2) / 2.0) * math.cos(self.polarisation_rad)


def cal_rate(eta: float, dark: float, amplitude2: float, noise: PhaseNoise, efficiency: float = 1.16) -> float:
    """Return secret bits per pulse of CAL's twin-field protocol, with infinitely many decoys.

    Args:
        eta: Transmittance of each arm, detector included: the two are alike.
        amplitude2: Mean photon number of the signal states.
    """
    gamma, live, omega = eta * amplitude2, 1.0 - dark, noise.overlap
    plus, minus = math.exp(gamma * omega), math.exp(-gamma * omega)
    gain = 0.5 * live * (minus + plus) * math.exp(-gamma) - live**2 * math.exp(-2.0 * gamma)
    if gain <= 0:
        return 0.0
    error = (minus - live * math.exp(-gamma)) / (minus + plus - 2.0 * live * math.exp(-gamma))
    phase_error = min(_cal_phase_error(eta, dark, amplitude2, math.cos(noise.polarisation_rad)) / gain, 0.5)
    secret = 1.0 - efficiency * binary_entropy(min(max(error, 0.0), 0.5)) - binary_entropy(phase_error)
    return max(0.0, 2.0 * gain * secret)  # either detector may announce


def _cal_phase_error(eta: float, dark: float, amplitude2: float, cosine: float) -> float:
    """Return the bound on phase errors times the gain: cats of even and odd photon numbers, Curty et al. 2019."""
    weights = [
        math.exp(-amplitude2 / 2.0) * amplitude2 ** (n / 2.0) / math.sqrt(math.factorial(n)) for n in range(TERMS)
    ]
    rest = max(0.0, 1.0 - sum(weight**2 for weight in weights))
    total = 0.0
    for parity in (0, 1):
        numbers = range(parity, TERMS, 2)
        amplitude = sum(
            weights[m] * weights[n] * math.sqrt(_one_clicks(m, n, eta, dark, cosine)) for m in numbers for n in numbers
        )
        # What is brighter than the terms above clicks always, at worst.
        amplitude += 2.0 * math.sqrt(rest) * sum(weights[n] for n in numbers) + rest
        total += amplitude**2
    return total


def _one_clicks(m: int, n: int, eta: float, dark: float, cosine: float) -> float:
    """Return the probability that one given detector alone clicks when m and n photons are sent."""
    live = 1.0 - dark
    silent = 0.0  # the other detector sees nothing
    for k in range(min(m, n) + 1):
        pairs = math.comb(m, k) * math.comb(n, k)
        silent += pairs * (1.0 - eta / 2.0) ** (m + n - 2 * k) * (eta * cosine / 2.0) ** (2 * k)
    return max(0.0, live * silent - live**2 * (1.0 - eta) ** (m + n))


def sns_rate(eta: float, dark: float, mu: float, sending: float, noise: PhaseNoise, efficiency: float = 1.16) -> float:
    """Return secret bits per pulse of sending-or-not-sending, with infinitely many decoys and without AOPP.

    Args:
        eta: Transmittance of each arm, detector included: the two are alike.
        mu: Mean photon number of the signal states.
        sending: How often each of the two sends in a signal window.
    """
    live, e = 1.0 - dark, sending
    nobody = 2.0 * dark * live
    q = live * math.exp(-mu * eta / 2.0)
    one = 2.0 * q * (1.0 - q)
    both = 2.0 * live * math.exp(-mu * eta) * (bessel_i0(mu * eta) - live * math.exp(-mu * eta))
    gain = (1.0 - e) ** 2 * nobody + 2.0 * e * (1.0 - e) * one + e * e * both
    error = _share((1.0 - e) ** 2 * nobody + e * e * both, gain)
    # A single photon from one of the two, which of them nobody knows: it clicks somewhere, or a dark count does.
    single = live * (eta + 2.0 * dark * (1.0 - eta))
    wrong = live * (eta * (1.0 - noise.overlap) / 2.0 + dark * (1.0 - eta))
    phase_error = min(_share(wrong, single), 0.5)
    untagged = 2.0 * e * (1.0 - e) * mu * math.exp(-mu) * single
    return max(
        0.0, untagged * (1.0 - binary_entropy(phase_error)) - efficiency * gain * binary_entropy(min(error, 0.5))
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else RANDOM_ERROR
