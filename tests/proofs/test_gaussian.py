"""Coherent states: published rates, and what must hold whatever the numbers."""

from __future__ import annotations

import decimal
from dataclasses import replace
from decimal import Decimal

import pytest

from noclone.proofs.capacity import repeaterless_bound
from noclone.proofs.gaussian import Gaussian

LODEWYCK = Gaussian(18.5, 0.302, 0.005, 0.606, 0.041)  # Phys. Rev. A 76, 042305 (2007): 25 km, 5.2 dB


def test_lodewyck_2007_to_the_digit() -> None:
    """350 kHz: I_AB 365 kb/s, chi 316 kb/s, and with beta = 0.898 a key of 12.3 kb/s."""
    per_symbol = 350e3
    assert per_symbol * LODEWYCK.mutual_information() == pytest.approx(365e3, abs=0.5e3)
    assert per_symbol * LODEWYCK.holevo() == pytest.approx(316e3, abs=0.5e3)
    assert per_symbol * LODEWYCK.rate(0.898) == pytest.approx(12.3e3, abs=0.05e3)


def test_a_perfect_receiver_gives_eve_nothing_to_be_trusted_with() -> None:
    link = Gaussian(5.0, 0.3, 0.01, 1.0, 0.0)
    assert link.as_untrusted().holevo() == pytest.approx(link.holevo(), rel=1e-12)


@pytest.mark.parametrize("detection", ["homodyne", "heterodyne"])
def test_trust_only_helps_and_noise_only_hurts(detection: str) -> None:
    link = replace(LODEWYCK, detection=detection)  # type: ignore[arg-type]
    assert replace(link, trusted=False).holevo() > link.holevo()
    assert replace(link, trusted=False).mutual_information() == pytest.approx(link.mutual_information(), rel=1e-9)
    assert replace(link, excess=0.05).rate(0.95) < link.rate(0.95)


def test_no_noise_and_no_loss_leaves_eve_nothing() -> None:
    assert Gaussian(4.0, 1.0 - 1e-12, 0.0, 1.0, 0.0).holevo() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("detection", ["homodyne", "heterodyne"])
@pytest.mark.parametrize("eta", [0.9, 0.5, 0.1, 0.01])
def test_no_rate_exceeds_the_repeaterless_bound(detection: str, eta: float) -> None:
    for variance in (0.5, 2.0, 10.0, 100.0, 1e4):
        link = Gaussian(variance, eta, 0.0, 1.0, 0.0, detection)  # type: ignore[arg-type]
        assert link.rate(1.0) <= repeaterless_bound(eta) + 1e-9


def test_strong_modulation_of_a_loss_only_line_reaches_half_the_bound() -> None:
    """Homodyne, V -> infinity: K -> -log2(1 - T)/2 (Pirandola et al. 2017, on reverse reconciliation by homodyning)."""
    link = Gaussian(1e6, 0.5, 0.0, 1.0, 0.0)
    assert link.rate(1.0) == pytest.approx(repeaterless_bound(0.5) / 2, abs=1e-3)


def test_finite_blocks_rise_to_the_limit() -> None:
    link = replace(LODEWYCK, excess=0.002)
    rates = [link.finite_rate(0.95, n) for n in (1e6, 1e8, 1e10, 1e12)]
    assert rates == sorted(rates)
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(link.rate(0.95) / 2, rel=0.01)
    assert link.finite_rate(0.95, 10.0) == 0


def in_sixty_digits(link: Gaussian) -> float:
    """Return the Holevo information by the published A, B, C, D (Lodewyck et al. 2007), which cancel to nothing."""
    with decimal.localcontext() as context:
        context.prec = 60
        names = ("variance", "transmittance", "excess", "efficiency", "electronic")
        variance, t, excess, eta, noise = (Decimal(getattr(link, name)) for name in names)
        v, line = variance + 1, 1 / t - 1 + excess
        homodyne = link.detection == "homodyne"
        receiver = (1 - eta + noise) / eta if homodyne else (2 - eta + 2 * noise) / eta
        total = line + receiver / t
        a = v * v * (1 - 2 * t) + 2 * t + t * t * (v + line) ** 2
        root = t * (v * line + 1)
        b = root * root
        if homodyne:
            c = (a * receiver + v * root + t * (v + line)) / (t * (v + total))
            d = root * (v + root * receiver) / (t * (v + total))
        else:
            c = a * receiver**2 + b + 1 + 2 * receiver * (v * root + t * (v + line)) + 2 * t * (v * v - 1)
            c /= (t * (v + total)) ** 2
            d = ((v + root * receiver) / (t * (v + total))) ** 2

        def entropy(sum_of_squares: Decimal, product: Decimal) -> Decimal:
            apart = (sum_of_squares**2 - 4 * product).sqrt()
            found = Decimal(0)
            for square in ((sum_of_squares + apart) / 2, (sum_of_squares - apart) / 2):
                x = (square.sqrt() - 1) / 2
                found += (x + 1) * (x + 1).ln() - (x * x.ln() if x > 0 else 0)
            return found / Decimal(2).ln()

        return float(entropy(a, b) - entropy(c, d))


@pytest.mark.parametrize("detection", ["homodyne", "heterodyne"])
@pytest.mark.parametrize("variance", [1.0, 18.5, 1e4, 1e7, 1e10])
@pytest.mark.parametrize("t", [0.999, 0.3, 0.001])
def test_no_digits_are_lost_at_any_modulation(detection: str, variance: float, t: float) -> None:
    link = Gaussian(variance, t, 0.005, 0.6, 0.04, detection)  # type: ignore[arg-type]
    assert link.holevo() == pytest.approx(in_sixty_digits(link), abs=1e-11)
