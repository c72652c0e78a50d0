"""Decoy bounds against blocks whose photon numbers are known."""

from functools import partial

import numpy as np
import pytest

from noclone.counts import Counts
from noclone.proofs.decoy_bounds import one_decoy, tau, two_decoys
from noclone.proofs.sampling import hoeffding
from noclone.records import DecoyBB84

PHOTONS = 12
EPSILON = 1e-10
TRIALS = 100  # at 1e-10 a bound, one failure in all of them has a probability of about 1e-7


def simulate(
    protocol: DecoyBB84, generator: np.random.Generator, n_slots: float
) -> tuple[Counts, np.ndarray, np.ndarray]:
    """Return a block's counts, and its detections per photon number: in the key basis, and wrong in the test basis."""
    k = np.array(protocol.intensities)[:, None]
    p = np.array(protocol.probabilities)[:, None]
    n = np.arange(PHOTONS)
    factorial = np.array([float(np.prod(np.arange(1, i + 1))) for i in n])
    yields = 1 - (1 - 1e-6) * (1 - 0.02) ** n
    wrong = np.where(n == 0, 0.5, 0.02)
    mean = n_slots * p * np.exp(-k) * k**n / factorial * yields
    key_wrong, key_right = generator.poisson(0.81 * mean * wrong), generator.poisson(0.81 * mean * (1 - wrong))
    test_wrong, test_right = generator.poisson(0.01 * mean * wrong), generator.poisson(0.01 * mean * (1 - wrong))
    counts = Counts(
        int(n_slots),
        tuple(map(int, (key_wrong + key_right).sum(1))),
        tuple(map(int, (test_wrong + test_right).sum(1))),
        tuple(map(int, test_wrong.sum(1))),
        tuple(map(int, key_wrong.sum(1))),
    )
    return counts, (key_wrong + key_right).sum(0), np.stack([test_wrong.sum(0), (test_wrong + test_right).sum(0)])


@pytest.mark.parametrize("which", ["one", "one, clipped", "two"])
@pytest.mark.parametrize("n_slots", [3e7, 3e9])
def test_bounds_hold_and_are_not_empty(which: str, n_slots: float, protocols: dict[str, DecoyBB84]) -> None:
    generator = np.random.default_rng(7)
    protocol = protocols["lim2014" if which == "two" else "rusca2018"]
    deviation = partial(hoeffding, epsilon=EPSILON)
    shares = []
    for _ in range(TRIALS):
        counts, key, test = simulate(protocol, generator, n_slots)
        if which == "two":
            bounds = two_decoys(counts, protocol, deviation)
        else:
            bounds = one_decoy(counts, protocol, deviation, clip=which == "one, clipped")
        assert bounds.vacuum_key <= key[0]
        assert bounds.single_key <= key[1]
        assert bounds.single_test <= test[1, 1]
        assert bounds.single_errors >= test[0, 1]
        shares.append(bounds.single_key / key[1])
    if n_slots == 3e9:
        assert np.mean(shares) > 0.75


def test_tau_is_a_distribution(protocols: dict[str, DecoyBB84]) -> None:
    for protocol in protocols.values():
        assert sum(tau(protocol, n) for n in range(40)) == pytest.approx(1, abs=1e-12)


def test_odd_counts_never_vouch_for_more_than_was_detected(protocols: dict[str, DecoyBB84]) -> None:
    """A block where only the decoy was ever detected would push the formula above the total."""
    counts = Counts(10**9, (0, 10**6, 0), (0, 10**6, 0), (0, 0, 0))
    bounds = two_decoys(counts, protocols["lim2014"], partial(hoeffding, epsilon=1e-10))
    assert bounds.vacuum_key + bounds.single_key <= 10**6
