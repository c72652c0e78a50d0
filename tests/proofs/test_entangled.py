"""BBM92 against enumeration of the pairs, its limits, and the published thresholds of CHSH."""

from __future__ import annotations

import math

import pytest

from noclone.proofs.entangled import (
    PairSource,
    chsh_of_error,
    device_independent_rate,
    finite_length,
    holevo_of_chsh,
)


def enumerated_gain(source: PairSource, most: int = 60) -> float:
    """Sum over the numbers of pairs: P(n) = (n + 1) lambda^n / (1 + lambda)^(n + 2), Ma, Fung and Lo 2007."""
    lam = source.mean_pairs / 2
    total = 0.0
    for n in range(most):
        p = (n + 1) * lam**n / (1 + lam) ** (n + 2)
        alice = 1 - (1 - source.background_alice) * (1 - source.eta_alice) ** n
        bob = 1 - (1 - source.background_bob) * (1 - source.eta_bob) ** n
        total += p * alice * bob
    return total


@pytest.mark.parametrize("pairs", [0.001, 0.05, 0.3, 1.0])
@pytest.mark.parametrize(("a", "b"), [(0.1, 0.1), (0.5, 0.02), (0.9, 0.7)])
def test_the_gain_is_the_sum_over_pairs(pairs: float, a: float, b: float) -> None:
    source = PairSource(pairs, a, b, 1e-4, 2e-4, 0.01)
    assert source.gain() == pytest.approx(enumerated_gain(source), rel=1e-9)


def test_a_faint_perfect_source_errs_only_by_misalignment() -> None:
    assert PairSource(1e-6, 0.5, 0.5, misalignment=0.015).error_rate() == pytest.approx(0.015, abs=1e-5)


def test_several_pairs_raise_the_errors_by_what_counting_says() -> None:
    """Faint arms: coincidences go as <n^2> = 2 l + 6 l^2, and right ones exceed wrong ones by 2 l (1 + l)."""
    for lam in (1e-5, 0.01, 0.1):
        error = PairSource(2 * lam, 1e-4, 1e-4).error_rate()
        assert error == pytest.approx(lam / (1 + 3 * lam), rel=1e-3)


def test_nothing_but_darkness_is_half_wrong() -> None:
    source = PairSource(0.1, 0.0, 0.0, 1e-5, 1e-5)
    assert source.error_rate() == pytest.approx(0.5)
    assert source.rate() == 0


def test_device_independence_ends_where_it_is_published_to_end() -> None:
    """Acin et al. 2007: no key above an error rate of 7.1 %; no violation above 14.6 %."""
    assert device_independent_rate(0.0714, chsh_of_error(0.0714)) > 0
    assert device_independent_rate(0.0716, chsh_of_error(0.0716)) == 0
    assert chsh_of_error(0.1464) == pytest.approx(2.0, abs=1e-3)
    assert holevo_of_chsh(2 * math.sqrt(2)) == pytest.approx(0.0, abs=1e-9)
    assert holevo_of_chsh(1.5) == 1.0


def test_finite_blocks_approach_the_limit_and_never_beat_it() -> None:
    error, limit = 0.02, 1 - 2 * 0.1414405425  # 1 - 2 h(0.02)
    rates = []
    for n in (10**4, 10**5, 10**6, 10**8):
        leak = 0.1414405425 * n
        rates.append(finite_length(n, n, error, leak, 1e-10, 1e-15) / n)
    assert rates == sorted(rates)
    assert limit - 0.01 < rates[-1] < limit
    assert finite_length(100, 100, error, 15, 1e-10, 1e-15) == 0
