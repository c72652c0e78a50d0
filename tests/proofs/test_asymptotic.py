"""The asymptotic bounds against what infinitely many decoys would find."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.proofs.asymptotic import Gain, best_mean_photons, rate, two_decoys, weak_and_vacuum
from noclone.proofs.models import MaChannel


@given(
    st.floats(-6, 0),
    st.floats(-8, -4),
    st.floats(0, 0.1),
    st.floats(0.2, 0.9),
    st.floats(0.02, 0.4),
    st.floats(0, 0.9),
)
def test_bounds_hold(eta: float, background: float, wrong: float, mu: float, decoy: float, weaker: float) -> None:
    """Two decoys never claim more than the truth, whatever the channel and the intensities."""
    link = MaChannel(10**eta, 10**background, wrong)
    nu1 = decoy * mu
    nu2 = weaker * nu1 * 0.5
    truth = link.single_photons()
    # Ma's channel model drops Y0 * light, which shifts gains by up to Y0 relative to the yields: allow that much.
    slack = 10 * 10**background / (nu1 - nu2) ** 2
    found = two_decoys(link.gain(mu), link.gain(nu1), link.gain(nu2))
    assert found.yield_lower <= truth.yield_lower + slack
    if found.yield_lower > 0:
        assert found.error_upper >= truth.error_upper - slack / found.yield_lower


def test_weak_decoys_approach_the_truth() -> None:
    link = MaChannel(1e-3, 1.7e-6, 0.033)
    truth = link.single_photons()
    misses = []
    for nu in (0.1, 0.01, 0.001):
        found = weak_and_vacuum(link.gain(0.48), link.gain(nu), 1.7e-6)
        misses.append(truth.yield_lower - found.yield_lower)
    assert misses[0] > misses[1] > misses[2] > 0
    assert misses[2] < 2e-3 * truth.yield_lower


def test_rate_never_beats_the_repeaterless_bound() -> None:
    """Pirandola et al., Nat. Commun. 8, 15043 (2017): no more than -log2(1 - eta) secret bits per pulse."""
    import math

    for eta in (0.5, 0.1, 1e-2, 1e-4):
        link = MaChannel(eta, 1e-9, 0.001)
        best = max(
            rate(link.gain(mu), link.single_photons(), 1.0, sifting=1.0) for mu in [i / 50 for i in range(1, 60)]
        )
        assert 0 < best < -math.log2(1 - eta)


def test_best_signal_is_best() -> None:
    """Eq. (12) neglects the background, so at short distance it is the maximum of the rate within its flatness."""
    mu = best_mean_photons(0.033, 1.22)
    link = MaChannel(1e-3, 0.0, 0.033)
    rates = [rate(link.gain(x), link.single_photons(), 1.22) for x in (0.97 * mu, mu, 1.03 * mu)]
    assert rates[1] == max(rates)


def test_impossible_input() -> None:
    with pytest.raises(ValueError, match="brighter"):
        two_decoys(Gain(0.3, 1e-3, 0.01), Gain(0.2, 1e-3, 0.01), Gain(0.15, 1e-3, 0.01))
    with pytest.raises(ValueError, match="no intensity"):
        best_mean_photons(0.2, 1.2)
