"""Decoy bounds of MDI-QKD against yields that are known, and what the length may never exceed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone import rng
from noclone.proofs.decoy_bounds import Tally
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.mdi import curty2014
from noclone.proofs.models import ExpectedTally
from noclone.proofs.sampling import mean_at_least, mean_at_most
from noclone.protocols import DecoyMdi, Sender

PROTOCOL = DecoyMdi(Sender((0.5, 0.1, 0.001), (0.5, 0.3, 0.2), 0.6), Sender((0.3, 0.05, 0.0), (0.4, 0.4, 0.2), 0.5))
EPSILONS = Epsilons(1e-10, 1e-15)
MOST = 12


def photons(sender: Sender) -> np.ndarray:
    """Return P(n photons | intensity)."""
    mu = np.array(sender.intensities)[:, None]
    n = np.arange(MOST)
    return np.exp(-mu) * mu**n / np.array([math.factorial(int(k)) for k in n])


def tally(yields: np.ndarray, wrong: np.ndarray, n_slots: float) -> tuple[Tally, float, float]:
    """Return counts of a channel with known yields, how many are of one photon each, and how many of these wrong."""
    a, b = PROTOCOL.alice, PROTOCOL.bob
    sent = n_slots * np.outer(a.probabilities, b.probabilities)
    both = np.einsum("in,jm,nm->ijnm", photons(a), photons(b), yields)
    counts = sent * both.sum(axis=(2, 3))
    errors = sent * (both * wrong).sum(axis=(2, 3))
    single = float((sent * both[:, :, 1, 1]).sum())
    flat = tuple(map(float, counts.reshape(-1)))
    found = ExpectedTally(int(n_slots), flat, flat, tuple(map(float, errors.reshape(-1))), flat)
    return found, single, float(single * wrong[1, 1])


@pytest.mark.parametrize("number", range(20))
def test_the_bounds_hold_whatever_the_yields(number: int) -> None:
    random = rng.stream(rng.seed_from_int(5), f"yields-{number}")
    yields = random.random((MOST, MOST)) ** random.integers(1, 6)
    wrong = random.random((MOST, MOST)) / 2
    counts, single, errors = tally(yields, wrong, 1e14)
    found = curty2014(counts, PROTOCOL, EPSILONS)
    assert 0 <= found.single <= single
    assert found.phase_error >= min(errors / single, 0.5)


def test_the_bounds_are_sharp_for_an_honest_channel() -> None:
    n = 1.0 - 0.98 ** np.arange(MOST)
    yields = np.outer(n, n) / 2 + 1e-9
    counts, single, errors = tally(yields, np.full((MOST, MOST), 0.01), 1e16)
    found = curty2014(counts, PROTOCOL, EPSILONS)
    assert found.single > 0.8 * single
    assert found.phase_error < 0.04
    assert errors / single == pytest.approx(0.01)


def test_smaller_blocks_give_less() -> None:
    n = 1.0 - 0.9 ** np.arange(MOST)
    lengths = [
        curty2014(tally(np.outer(n, n), np.full((MOST, MOST), 0.01), size)[0], PROTOCOL, EPSILONS).single / size
        for size in (1e6, 1e8, 1e10, 1e12)
    ]
    assert lengths == sorted(lengths)
    assert (
        curty2014(tally(np.outer(n, n), np.full((MOST, MOST), 0.01), 100.0)[0], PROTOCOL, EPSILONS).phase_error == 0.5
    )


@pytest.mark.parametrize("count", [0, 1, 7, 400, 10**7])
@pytest.mark.parametrize("epsilon", [1e-3, 1e-12])
def test_means_lie_where_poisson_tails_say(count: int, epsilon: float) -> None:
    """The tails of a Poisson law, summed: Chernoff's bound must not be below them."""
    high, low = mean_at_most(count, epsilon), mean_at_least(count, epsilon)
    assert low <= count <= high
    assert high - count < 3 * math.sqrt(2 * max(count, 1) * -math.log(epsilon)) - 2 * math.log(epsilon)
    if count < 1000:
        terms = [math.exp(-high + k * math.log(high) - math.lgamma(k + 1)) for k in range(count + 1)]
        assert math.fsum(terms) <= epsilon * (1 + 1e-9)
        if count:
            below = (
                [math.exp(-low + k * math.log(low) - math.lgamma(k + 1)) for k in range(count)] if low > 0 else [1.0]
            )
            assert 1 - math.fsum(below) <= epsilon + 1e-12
