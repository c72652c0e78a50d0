"""Key lengths of continuous variables: bounds that hold, sums done anew, never more than a channel carries."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from noclone.counts import Counts, Moments
from noclone.link.devices import Fibre
from noclone.link.quadratures import CoherentDevices, expected_quadratures
from noclone.proofs.agreement import agree
from noclone.proofs.capacity import repeaterless_bound
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.gaussian import Gaussian
from noclone.proofs.gaussian_key import (
    PARTS,
    PIRANDOLA2023,
    channel,
    estimate,
    figures,
    pirandola2023,
    worst_holevo,
)
from noclone.proofs.keylength import secret_length
from noclone.proofs.slices import (
    bin_entropy,
    bin_probabilities,
    choose_bins,
    equivalent_error_rate,
    share_told,
    slice_entropies,
)
from noclone.protocols import GaussianModulation
from noclone.records import QUADRATURE_UNIT

EPSILONS = Epsilons(1e-10, 1e-15)


def devices(
    variance: float, loss_db: float, detection: str = "homodyne", excess: float = 0.005, **more
) -> CoherentDevices:
    protocol = GaussianModulation(variance, detection, 0.85, 0.02, True, 0.2, 100, 5, 3)  # type: ignore[arg-type]
    one = CoherentDevices(1e6, Fibre(0.0, 0.2, loss_db), excess, replace(protocol, **more))
    width, slices, told = choose_bins(round(one.gain * variance / one.noise_variance, 3))
    step = round(width * math.sqrt(one.noise_variance) / QUADRATURE_UNIT)
    return replace(one, protocol=replace(one.protocol, step=step, slices=slices, told=told))


def whole(tally) -> Counts:
    rows = [tuple(map(round, row)) for row in (tally.n_key, tally.n_test, tally.m_test)]
    return Counts(tally.n_slots, *rows, moments=tally.moments)


def test_entropies_of_slices_add_up_to_that_of_the_bin_given_the_amplitude() -> None:
    """The chain rule; and against a sum over a finer grid of amplitudes, written anew."""
    variance, noise, step = 6.2, 1.0, 0.4
    found = slice_entropies(variance, noise, step, 5)
    x = np.linspace(-8, 8, 4001)
    weights = np.exp(-(x**2) / 2)
    weights /= weights.sum()
    rows = bin_probabilities(x * math.sqrt(variance - noise), math.sqrt(noise), step, 5)
    conditional = -(weights[:, None] * rows * np.log2(np.maximum(rows, 1e-300))).sum()
    assert math.fsum(found) == pytest.approx(conditional, abs=1e-6)
    lowest = np.stack([rows[:, 0::2].sum(1), rows[:, 1::2].sum(1)])
    assert found[0] == pytest.approx(-(weights * lowest * np.log2(np.maximum(lowest, 1e-300))).sum(), abs=1e-6)


def test_fine_bins_have_the_entropy_of_a_gaussian() -> None:
    """Differential entropy less the log of the width."""
    width = 16 * QUADRATURE_UNIT
    assert bin_entropy(2.0, 16, 8) == pytest.approx(
        0.5 * math.log2(2 * math.pi * math.e * 2.0) - math.log2(width), abs=1e-3
    )


@pytest.mark.parametrize(("signal_to_noise", "least"), [(1.0, 0.74), (5.0, 0.85), (20.0, 0.88)])
def test_the_bins_leave_most_of_what_is_shared(signal_to_noise: float, least: float) -> None:
    """beta as codes are known to do (tests/distill/test_slice_codes.py); never above 1."""
    width, slices, told = choose_bins(signal_to_noise)
    (shares,) = bin_probabilities(np.zeros(1), math.sqrt(1 + signal_to_noise), width, slices)
    entropy = -(shares * np.log2(shares)).sum()
    each = slice_entropies(1 + signal_to_noise, 1.0, width, slices)
    leak = told + sum(share_told(one) for one in each[told:])
    beta = (entropy - leak) / (0.5 * math.log2(1 + signal_to_noise))
    assert least < beta < 1.0
    assert all(share_told(one) == 1.0 for one in each[:told])


def test_an_error_rate_is_found_by_its_entropy() -> None:
    for rate in (0.001, 0.05, 0.11, 0.4):
        entropy = -rate * math.log2(rate) - (1 - rate) * math.log2(1 - rate)
        assert equivalent_error_rate(entropy) == pytest.approx(rate, rel=1e-9)


def test_bounds_hold_as_often_as_they_say() -> None:
    """At a failure probability of 1 % each, in 20,000 small experiments; the bounds are no equalities, so rarer."""
    random, gain, noise, m, trials = np.random.default_rng(1), 0.7, 1.3, 200, 20_000
    x = 2.0 * random.standard_normal((trials, m))
    y = gain * x + math.sqrt(noise) * random.standard_normal((trials, m))
    failed = np.zeros(3)
    for xx, xy, yy in zip((x * x).sum(1), (x * y).sum(1), (y * y).sum(1), strict=True):
        found = estimate(Moments(xx, xy, yy), m, 0.01)
        assert found is not None
        failed += [
            found.noises[1] < noise,
            found.noises[0] > noise,
            not found.gains[0] <= gain <= found.gains[1],
        ]
    assert (failed < 0.01 * trials).all()
    assert failed.sum() > 0, "bounds that never fail would be far too wide to be these"


def test_too_few_values_bound_nothing() -> None:
    assert estimate(Moments(1.0, 1.0, 1.0), 5, 1e-10) is None
    assert estimate(Moments(0.0, 0.0, 0.0), 0, 1e-10) is None


@pytest.mark.parametrize("detection", ["homodyne", "heterodyne"])
def test_the_worst_channel_is_no_better_than_any_within_the_bounds(detection: str) -> None:
    one = devices(8.0, 2.0, detection)
    tally = expected_quadratures(one, 10_000_000)
    found = estimate(tally.moments, tally.n_test[0], 1e-11)
    assert found is not None
    assert found.gain == pytest.approx(math.sqrt(one.gain), rel=1e-9)
    assert found.noise == pytest.approx(one.noise_variance, rel=1e-9)
    worst = worst_holevo(one.protocol, found)
    for gain in np.linspace(*found.gains, 30):
        for noise in np.linspace(*found.noises, 30):
            assert channel(one.protocol, gain, noise).holevo() <= worst + 1e-6


def test_the_length_is_the_formula() -> None:
    """arXiv:2301.10270, term by term, with the entropy of bins and chi computed elsewhere."""
    one = devices(10.0, 1.0)
    tally = expected_quadratures(one, 10_000_000)
    n, part = tally.n_key[0], 1e-10 / PARTS
    evaluation = pirandola2023(tally, one.protocol, EPSILONS)
    entropy, holevo, smoothing = (term.bits for term in evaluation.steps)
    assert entropy == pytest.approx(
        n * bin_entropy(one.value_variance, one.protocol.step, one.protocol.slices), rel=1e-3
    )
    true = Gaussian(10.0, 10**-0.1, 0.005, 0.85, 0.02).holevo()
    assert 1.0 < -holevo / (n * true) < 1.15
    bits = one.protocol.slices
    by_hand = 4 * math.log2(math.sqrt(2**bits) + 2) * math.sqrt(math.log2(2 / part**2)) * math.sqrt(n)
    assert -smoothing == pytest.approx(by_hand, rel=1e-12)
    assert evaluation.overhead == pytest.approx(-math.log2(2 * part**2), rel=1e-12)
    length = secret_length(whole(tally), one.protocol, EPSILONS, leak_bits=30_000_000, proof=PIRANDOLA2023.name)
    assert length.bits == pytest.approx(entropy + holevo + smoothing - 3e7 - evaluation.overhead - 51, abs=3)


def test_trust_only_helps_noise_only_hurts_and_blocks_grow_to_the_limit() -> None:
    def length(one: CoherentDevices, n: float = 1e8) -> float:
        tally = expected_quadratures(one, int(n))
        return agree(tally, one.protocol, EPSILONS, PIRANDOLA2023.name, efficiency=1.2).length_bits / n

    trusted = devices(8.0, 2.0)
    assert length(trusted) > length(devices(8.0, 2.0, trusted=False)) > 0
    assert length(trusted) > length(devices(8.0, 2.0, excess=0.02))
    rates = [length(trusted, n) for n in (1e6, 1e7, 1e8, 1e9, 1e10)]
    assert rates == sorted(rates)
    assert rates[0] == 0


@pytest.mark.parametrize("detection", ["homodyne", "heterodyne"])
def test_no_agreed_length_beats_the_repeaterless_bound(detection: str) -> None:
    """PLOB over a grid of losses and modulations: a symbol is one mode of the line. Ideal devices, huge blocks."""
    some = 0
    for loss_db in (0.2, 0.5, 1.0, 3.0, 6.0, 15.0):
        for variance in (1.0, 5.0, 20.0, 80.0):
            one = devices(variance, loss_db, detection, excess=0.0, efficiency=1.0, electronic=0.0)
            tally = expected_quadratures(one, 10**11)
            agreed = agree(tally, one.protocol, EPSILONS, PIRANDOLA2023.name, efficiency=1.2)
            assert agreed.length_bits / 1e11 <= repeaterless_bound(10 ** (-loss_db / 10))
            some += agreed.length_bits > 0
            stated = figures(tally, one.protocol, EPSILONS, None, 64.0)
            assert stated is not None
            assert stated.stated_bits / 1e11 <= repeaterless_bound(10 ** (-loss_db / 10))
    assert some > 5


def test_noise_below_that_of_vacuum_gives_nothing() -> None:
    tally = expected_quadratures(devices(8.0, 2.0), 10**8)
    quiet = replace(tally, moments=replace(tally.moments, yy=0.97 * tally.moments.yy))
    length = secret_length(whole(quiet), devices(8.0, 2.0).protocol, EPSILONS, leak_bits=0, proof=PIRANDOLA2023.name)
    assert length.bits == 0
    assert "below that of vacuum" in length.reason


def test_where_slices_leave_nothing_the_stated_efficiency_is_labelled() -> None:
    one = devices(5.0, 6.0)
    tally = expected_quadratures(one, 10**9)
    assert agree(tally, one.protocol, EPSILONS, PIRANDOLA2023.name, efficiency=1.2).length_bits == 0
    found = figures(tally, one.protocol, EPSILONS, None, 64.0)
    assert found is not None
    assert found.efficiency is None
    assert found.stated_bits > 0
    assert found.stated == "stated, not performed: no key was made by it"


def symplectic(matrix: np.ndarray) -> np.ndarray:
    form = np.kron(np.eye(len(matrix) // 2), [[0.0, 1.0], [-1.0, 0.0]])
    return np.sort(np.abs(np.linalg.eigvals(1j * form @ matrix)))[::2]


def entropy_of(matrix: np.ndarray) -> float:
    x = np.maximum((symplectic(matrix) - 1) / 2, 1e-15)
    return float(((x + 1) * np.log2(x + 1) - x * np.log2(x)).sum())


def holevo_by_matrices(variance: float, passed: float, noise: float) -> float:
    """Return chi of homodyne detection where Eve has all that is lost and added: from covariances, step by step."""
    v, z = variance + 1.0, np.diag([1.0, -1.0])
    bob, shared = passed * variance + noise, math.sqrt(passed * (v * v - 1))
    both = np.block([[v * np.eye(2), shared * z], [shared * z, bob * np.eye(2)]])
    measured = v * np.eye(2) - np.diag([shared * shared / bob, 0.0])
    return entropy_of(both) - entropy_of(measured)


@pytest.mark.parametrize(("passed", "noise"), [(0.3, 1.05), (0.606, 1.041), (0.8, 1.1705), (0.95, 1.1), (1.2, 1.5)])
def test_an_untrusted_receiver_leaves_eve_all_gain_up_to_one_and_an_amplifier(passed: float, noise: float) -> None:
    """Whatever gain the told values have is hers, also where it is more than the stated detectors could count."""
    protocol = replace(devices(18.5, 0.2).protocol, efficiency=0.606, electronic=0.041, trusted=False)
    chi = channel(protocol, math.sqrt(passed), noise).holevo()
    assert chi == pytest.approx(holevo_by_matrices(18.5, passed, noise), rel=1e-9)


def test_a_line_that_amplifies_is_no_better_for_being_impossible() -> None:
    """Behind a trusted receiver a gain above 1 is an amplifier's, with the noise that nature asks of it and no less."""
    protocol = replace(devices(18.5, 0.2).protocol, efficiency=0.9, electronic=0.02)
    quiet = 1.0 + protocol.electronic
    for gain in (1.05, 1.2, 1.4):
        passed = 0.9 * gain
        at_least = channel(protocol, math.sqrt(passed), quiet)
        assert at_least.excess == pytest.approx(2 * (gain - 1) / gain)
        assert at_least.transmittance == pytest.approx(gain)
        noisier = channel(protocol, math.sqrt(passed), quiet + 2.6 * 0.9 * (gain - 1))
        assert noisier.holevo() > at_least.holevo() > channel(protocol, math.sqrt(0.9), quiet).holevo()


def test_a_gain_that_the_detectors_cannot_have_costs_an_untrusted_link_its_key() -> None:
    """A found flaw: with the transmittance cut at 1, more than Eve left was promised from such a block."""
    one = devices(18.5, 0.2, efficiency=0.606, electronic=0.041, trusted=False)
    tally = expected_quadratures(one, 8_000_000)
    n = tally.n_test[0]
    xx = tally.moments.xx
    gain, noise = math.sqrt(0.8), 1.1705
    told = Moments(xx, gain * xx, gain * gain * xx + noise * n)
    values = tally.n_key[0]
    evaluation = pirandola2023(replace(tally, moments=told), one.protocol, EPSILONS)
    assert -evaluation.steps[1].bits / values > holevo_by_matrices(18.5, 0.8, 1.1705)


def test_sums_that_mean_nothing_are_no_figures() -> None:
    one = devices(8.0, 2.0)
    tally = expected_quadratures(one, 10**7)
    xx = tally.moments.xx
    assert figures(replace(tally, moments=Moments(xx, xx, xx)), one.protocol, EPSILONS, None, 64.0) is None
    assert figures(replace(tally, moments=Moments(5e-324, 0.0, xx)), one.protocol, EPSILONS, None, 64.0) is None
