"""Twin-field's bound on phase errors against known yields, its statistics against coins, and what it may give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone import rng
from noclone.proofs.capacity import one_node_bound, repeaterless_bound
from noclone.proofs.entropy import binary_entropy
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.keylength import expected_length
from noclone.proofs.models import ExpectedTally
from noclone.proofs.sampling import chances_at_least, chances_at_most, count_at_most
from noclone.proofs.twin_field import Chances, cal2019, phase_error_chances
from noclone.protocols import Sender, TwinField

ALICE = Sender((0.7, 0.08, 0.001), (0.1, 0.5, 0.4), 0.8)
BOB = Sender((0.5, 0.06, 0.0), (0.2, 0.4, 0.4), 0.7)
PROTOCOL = TwinField(ALICE, BOB, 0.025, 0.018)
MOST = 40


def poisson(mean: float) -> np.ndarray:
    """Return mean^n / n! for each number of photons."""
    return np.array([mean**n / math.factorial(n) for n in range(MOST)])


def chances(yields: np.ndarray, alice: tuple[float, ...] = ALICE.intensities) -> Chances:
    """Return what would be known of summed yields without any fluctuation."""
    rows = [[float(poisson(a) @ yields @ poisson(b)) for b in BOB.intensities] for a in alice]
    exact = tuple(map(tuple, rows))
    return Chances(exact, exact, alice, BOB.intensities)


def phase_errors(yields: np.ndarray) -> float:
    """Return the sum that the bound is for: all photon numbers."""
    numbers = np.arange(MOST)
    one = np.sqrt(poisson(PROTOCOL.key_alice) * math.exp(-PROTOCOL.key_alice))
    other = np.sqrt(poisson(PROTOCOL.key_bob) * math.exp(-PROTOCOL.key_bob))
    amplitudes = one[:, None] * other[None, :] * np.sqrt(yields)
    total = sum(amplitudes[np.ix_(numbers % 2 == j, numbers % 2 == j)].sum() ** 2 for j in (0, 1))
    return float(ALICE.p_key * BOB.p_key * total)


@pytest.mark.parametrize("number", range(20))
def test_the_bound_holds_whatever_the_yields(number: int) -> None:
    random = rng.stream(rng.seed_from_int(6), f"yields-{number}")
    yields = 1e9 * random.random((MOST, MOST)) ** random.integers(1, 9)
    assert phase_error_chances(chances(yields), PROTOCOL) >= phase_errors(yields) * (1 - 1e-9)


def test_the_bound_is_near_for_an_honest_channel() -> None:
    n = np.arange(MOST)
    yields = 1e12 * (1 - np.outer(0.99**n, 0.985**n))
    vacuum = (*ALICE.intensities[:2], 0.0)
    assert phase_error_chances(chances(yields, vacuum), PROTOCOL) < 2 * phase_errors(yields)
    assert phase_error_chances(chances(yields), PROTOCOL) < 4 * phase_errors(yields)  # no true vacuum: darkness unknown


@pytest.mark.parametrize("count", [0, 3, 1000, 10**8])
def test_martingale_bounds_are_near_and_on_the_right_side(count: int) -> None:
    high, low = chances_at_most(count, 1e-10), chances_at_least(count, 1e-10)
    assert low <= count <= high
    assert high - count < 8 * math.sqrt(count) + 50
    assert count - low < 8 * math.sqrt(count) + 50
    assert count_at_most(low, 1e-10) >= count


def test_an_eavesdropper_who_adapts_does_not_leave_the_bounds() -> None:
    """She makes announcements rarer or likelier by what came before; 4,000 blocks, bounds for one in a thousand."""
    random = rng.stream(rng.seed_from_int(7), "adaptive")
    blocks, rounds = 4000, 400
    happened, total = np.zeros(blocks), np.zeros(blocks)
    for _ in range(rounds):
        chance = np.where(happened > total, 0.02, 0.2)
        total += chance
        happened += random.random(blocks) < chance
    above = sum(t > chances_at_most(x, 1e-3) for x, t in zip(happened, total, strict=True))
    below = sum(t < chances_at_least(x, 1e-3) for x, t in zip(happened, total, strict=True))
    more = sum(x > count_at_most(t, 1e-3) for x, t in zip(happened, total, strict=True))
    assert max(above, below, more) <= 20  # four are the most to be expected; more than 20: one in 10^8


def honest(n_slots: float, eta: float, dark: float = 1e-8) -> tuple[TwinField, ExpectedTally]:
    """Return equal arms and their expected counts, first-order: few photons arrive."""
    sender = Sender((0.7, 0.08, 0.0), (0.06, 0.4, 0.54), 0.9)
    protocol = TwinField(sender, sender, 0.024, 0.024)

    def clicks(a: float, b: float) -> float:
        return -math.expm1(-eta * (a + b)) + 2 * dark

    key = n_slots * 0.81 * clicks(0.024, 0.024)
    test = tuple(
        n_slots * 0.01 * p * q * clicks(a, b)
        for a, p in zip(sender.intensities, sender.probabilities, strict=True)
        for b, q in zip(sender.intensities, sender.probabilities, strict=True)
    )
    return protocol, ExpectedTally(
        int(n_slots), (key,) + (0.0,) * 8, test, tuple(n / 2 for n in test), (key * 1e-3,) + (0.0,) * 8
    )


def test_it_beats_the_repeaterless_bound_where_it_should_and_never_the_one_node_bound() -> None:
    rates = {}
    for loss_db in (10, 20, 40, 50, 60):
        eta = 10 ** (-loss_db / 20)
        protocol, tally = honest(1e13, eta)
        leak = 1.16 * sum(tally.n_key) * binary_entropy(1e-3)
        length = expected_length(tally, protocol, Epsilons(1e-10, 1e-15), leak_bits=leak, proof="cal2019", two_way=True)
        rates[loss_db] = length / 1e13
        assert 0 < rates[loss_db] < one_node_bound(eta**2)
    assert rates[20] < repeaterless_bound(1e-2)
    assert rates[50] > repeaterless_bound(1e-5)


def test_smaller_blocks_give_less() -> None:
    errors = [
        cal2019(honest(n, 1e-2)[1], honest(n, 1e-2)[0], Epsilons(1e-10, 1e-15)).phase_error
        for n in (1e7, 1e9, 1e11, 1e13)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == 0.5


def test_impossible_intensities_are_refused() -> None:
    with pytest.raises(ValueError, match="below the brightest"):
        TwinField(ALICE, BOB, 0.9, 0.02)
