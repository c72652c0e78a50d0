"""Coherent states: published rates, and what must hold whatever the numbers."""

from __future__ import annotations

from dataclasses import replace

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
