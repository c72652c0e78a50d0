"""Finite statistics against the exact tails that they bound."""

import math

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from noclone.proofs.sampling import (
    chernoff_excess,
    fung_gamma,
    hoeffding,
    hoeffding_two_sided,
    sampling_excess,
    serfling,
)


@pytest.mark.parametrize("n", [10, 1000, 10**6])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.5])
@pytest.mark.parametrize("epsilon", [1e-2, 1e-6, 1e-12])
def test_hoeffding_covers_the_binomial(n: int, p: float, epsilon: float) -> None:
    """The true tail of a binomial beyond the deviation never exceeds what was promised."""
    one, two = hoeffding(n, epsilon), hoeffding_two_sided(n, epsilon)
    assert binom.sf(math.floor(n * p + one), n, p) <= epsilon
    assert binom.sf(math.floor(n * p + two), n, p) + binom.cdf(math.ceil(n * p - two) - 1, n, p) <= epsilon**2


def worst_tail(n_test: int, n_key: int, excess) -> float:  # type: ignore[no-untyped-def]
    """Return the largest probability, over the number of errors there are, that the untested rate exceeds its bound."""
    worst, total = 0.0, n_test + n_key
    for errors in sorted({int(x) for x in np.geomspace(1, total // 3, 12)}):
        seen = np.arange(0, min(errors, n_test) + 1)
        bound = np.array([min(s / n_test + excess(s / n_test), 0.5) for s in seen])
        bad = (errors - seen) / n_key > bound
        worst = max(
            worst, float(hypergeom.pmf(seen, total, errors, n_test)[bad & ((errors - seen) / n_key < 0.5)].sum())
        )
    return worst


@pytest.mark.parametrize(("n_test", "n_key"), [(200, 1000), (1000, 1000), (2000, 20000), (5000, 500)])
@pytest.mark.parametrize("epsilon", [1e-2, 1e-4, 5e-11])
def test_sampling_bounds_cover_the_hypergeometric(n_test: int, n_key: int, epsilon: float) -> None:
    """Whatever the number of errors, untested bits exceed Serfling's bound with at most epsilon squared."""
    assert worst_tail(n_test, n_key, lambda _: serfling(n_key, n_test, epsilon)) <= epsilon**2
    assert worst_tail(n_test, n_key, lambda b: chernoff_excess(b, n_test, n_key, epsilon)) <= epsilon
    assert worst_tail(n_test, n_key, lambda b: sampling_excess(b, n_test, n_key, epsilon)) <= epsilon


def test_the_published_gamma_alone_would_not_do() -> None:
    """Why `sampling_excess` exists: with few errors the published formula does not even reach epsilon."""
    epsilon = 5e-11
    assert worst_tail(1000, 10000, lambda b: fung_gamma(b, 1000, 10000, epsilon)) > 100 * epsilon
    assert fung_gamma(0.0, 1000, 10000, epsilon) == 0.0
    # No error among 1000 leaves r with (1-r)^1000 = epsilon possible, r = 2.3 %.
    assert sampling_excess(0.0, 1000, 10**9, epsilon) == pytest.approx(1 - epsilon ** (1 / 1000), rel=1e-5)


def test_with_many_errors_the_published_gamma_stands() -> None:
    assert sampling_excess(0.02, 10**6, 10**8, 5e-11) == fung_gamma(0.02, 10**6, 10**8, 5e-11)
    assert sampling_excess(0.6, 1000, 10000, 1e-10) == 0.5


def test_bigger_samples_know_more() -> None:
    for smaller, bigger in ((100, 1000), (1000, 10**6)):
        assert serfling(10**6, bigger, 1e-10) < serfling(10**6, smaller, 1e-10)
        assert sampling_excess(0.02, bigger, 10**6, 1e-10) < sampling_excess(0.02, smaller, 10**6, 1e-10)
