"""The tests under the monitors: exact tails, and a drift statistic that keeps its promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from noclone.watch.statistics import (
    Drift,
    allowed,
    binomial_log_ratio,
    binomial_tail,
    normal_tail,
    poisson_log_ratio,
    poisson_tail,
)


@given(st.integers(1, 100_000), st.floats(1e-6, 1 - 1e-6), st.data())
def test_binomial_tails_are_exact(n: int, p: float, data: st.DataObject) -> None:
    m = data.draw(st.integers(0, n))
    exact = stats.binom.sf(m - 1, n, p) if m >= n * p else stats.binom.cdf(m, n, p)
    assert binomial_tail(m, n, p) == pytest.approx(exact, rel=1e-6, abs=1e-280)


@pytest.mark.parametrize(("m", "n", "p"), [(505_000, 10**10, 5e-5), (495_000, 10**10, 5e-5), (0, 10**9, 1e-6)])
def test_binomial_tails_of_whole_blocks(m: int, n: int, p: float) -> None:
    exact = stats.binom.sf(m - 1, n, p) if m >= n * p else stats.binom.cdf(m, n, p)
    assert binomial_tail(m, n, p) == pytest.approx(exact, rel=1e-3)


@given(st.integers(0, 5000), st.floats(0.01, 4000))
def test_poisson_tails(count: int, mean: float) -> None:
    exact = stats.poisson.sf(count - 1, mean) if count >= mean else stats.poisson.cdf(count, mean)
    assert poisson_tail(count, mean) == pytest.approx(exact, rel=0.02, abs=1e-280)


def test_tails_of_nothing() -> None:
    assert binomial_tail(0, 0, 0.5) == 1
    assert binomial_tail(0, 10, 0.0) == 1
    assert binomial_tail(1, 10, 0.0) == 0
    assert poisson_tail(0, 0.0) == 1
    assert poisson_tail(3, 0.0) == 0
    assert normal_tail(0.0) == 0.5
    assert normal_tail(-3.0) == normal_tail(3.0) == pytest.approx(stats.norm.sf(3))


def test_what_a_model_cannot_promise_is_allowed() -> None:
    assert allowed(1.005, 1.0, 0.01) == 1.005
    assert allowed(1.05, 1.0, 0.01) == pytest.approx(1.01)
    assert allowed(0.9, 1.0, 0.01) == pytest.approx(0.99)


def test_a_drift_raises_no_more_false_alarms_than_it_says() -> None:
    """Mean time between them: the threshold or more. 20,000 blocks at 1 in 200: 100 at most, 150 with five sigma."""
    random = np.random.default_rng(4)
    drift = Drift(200.0)
    alarms = sum(drift.add(binomial_log_ratio(int(m), 5000, 0.01, 0.02)) for m in random.binomial(5000, 0.01, 20_000))
    assert alarms <= 150


def test_a_drift_sees_soon_what_a_single_block_does_not() -> None:
    """One per cent to 1.2: half a standard deviation a block. The delay is about ln(threshold) over the divergence."""
    random = np.random.default_rng(5)
    delays = []
    for _ in range(200):
        drift, n = Drift(1e6), 0
        while not drift.add(binomial_log_ratio(int(random.binomial(2500, 0.012)), 2500, 0.01, 0.012)):
            n += 1
        delays.append(n)
    divergence = 0.012 * math.log(1.2) + 0.988 * math.log(0.988 / 0.99)
    assert np.mean(delays) == pytest.approx(math.log(1e6) / (2500 * divergence), rel=0.3)


def test_log_ratios_of_impossible_laws_say_nothing() -> None:
    assert binomial_log_ratio(1, 10, 0.0, 0.5) == 0
    assert poisson_log_ratio(3, 0.0, 1.0) == 0
    assert poisson_log_ratio(3, 1.0, 2.0) == pytest.approx(3 * math.log(2) - 1)
