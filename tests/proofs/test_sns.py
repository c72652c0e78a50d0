"""Finite keys of sending or not sending: bounds against known yields, published limits, and what channels can carry."""

from __future__ import annotations

import math

import pytest

from noclone import rng
from noclone.link.devices import Fibre, Receiver
from noclone.link.sns import SnsStation, expected_sns_counts
from noclone.proofs.capacity import one_node_bound, repeaterless_bound
from noclone.proofs.entropy import binary_entropy
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.keylength import expected_length
from noclone.proofs.models import ExpectedTally
from noclone.proofs.sampling import coins_at_least, coins_at_most
from noclone.proofs.sns import Decoys, jiang2019, sent_alone, untagged
from noclone.protocols import Sender, SendOrNot

EPSILONS = Epsilons(1e-10, 1e-15)
SENDER = Sender((0.49, 0.1, 0.0), (0.27, 0.5, 0.23), 0.73)


def station(
    loss_db: float,
    *,
    ratio_db: float = 0.0,
    senders: SendOrNot | None = None,
    noise: float = 0.05,
    dark: float = 1.0,
    wrong: float = 0.01,
) -> SnsStation:
    """Return a link with that loss between its ends, of which Alice's arm has so much more than Bob's."""
    arms = Fibre(0, 0.2, loss_db / 2 + ratio_db / 2), Fibre(0, 0.2, loss_db / 2 - ratio_db / 2)
    receiver = Receiver("active", (1.0,) * 2, (dark,) * 2, misalignment=wrong)
    return SnsStation(1e9, *arms, receiver, senders or SendOrNot(SENDER, SENDER, 0.49, 0.49), 1.0, noise)


def rate(link: SnsStation, n_slots: float, efficiency: float = 1.1) -> float:
    """Return secret bits per slot, below zero where there is no key."""
    tally = expected_sns_counts(link, int(n_slots))
    leak = efficiency * sum(tally.n_key) * binary_entropy(sum(tally.m_key) / sum(tally.n_key))
    found = expected_length(tally, link.protocol, EPSILONS, leak_bits=leak, proof="jiang2019", two_way=True)
    return found / n_slots


def tally_of(protocol: SendOrNot, y: dict[tuple[int, int], float], errors: float, n: float) -> ExpectedTally:
    """Return the counts that yields of photon numbers give: all that matters is what one end sends alone."""

    def gain(a: float, b: float) -> float:
        return sum(
            math.exp(-a - b) * a**i * b**j / math.factorial(i) / math.factorial(j) * y.get((i, j), 1.0)
            for i in range(12)
            for j in range(12)
        )

    pairs = [(i, j) for i in (0, 1, 2, 1) for j in range(3)]
    test = (1 - protocol.alice.p_key) * (1 - protocol.bob.p_key)
    n_test = tuple(
        n
        * test
        * protocol.alice.probabilities[i]
        * protocol.bob.probabilities[j]
        * gain(protocol.alice.intensities[i], protocol.bob.intensities[j])
        for i, j in pairs
    )
    m_test = [0.0] * 12
    m_test[4] = errors
    return ExpectedTally(int(n), (1e9,) + (0.0,) * 11, n_test, tuple(m_test), (0.0,) * 12)


@pytest.mark.parametrize("number", range(12))
def test_untagged_bits_are_never_overstated(number: int) -> None:
    random = rng.stream(rng.seed_from_int(10), f"yields-{number}")
    bob = Sender((0.4, 0.06, 0.0), (0.3, 0.4, 0.3), 0.6)
    protocol = SendOrNot(SENDER, bob, 0.5, 0.4, "none")
    yields = {(i, j): float(random.random() ** random.integers(1, 6)) for i in range(12) for j in range(12)}
    n = 1e10
    found = untagged(Decoys(tally_of(protocol, yields, 1e5, n), protocol, 1e-11))
    by_alice, by_bob = sent_alone(protocol)
    key = n * SENDER.p_key * bob.p_key
    assert found.ones <= key * by_alice * yields[1, 0]
    assert found.zeros <= key * by_bob * yields[0, 1]


def test_it_is_the_published_formula_in_the_limit_of_long_blocks() -> None:
    """n_1' = (n_01/N_0)(n_10/N_1) N_min and 2 e (1 - e), as Bertaina et al. 2024, App. A, print AOPP."""
    link, n = station(60.0), 10**18
    tally = expected_sns_counts(link, n)
    assert tally.paired is not None
    found = untagged(Decoys(tally, link.protocol, 1e-11))
    bits = found.zeros + found.ones
    e = found.phase_errors / bits
    evaluation = jiang2019(tally, link.protocol, EPSILONS)
    many, few = tally.paired.raw - tally.paired.pairs, tally.paired.pairs
    assert evaluation.single == pytest.approx(found.zeros / many * found.ones / few * few, rel=1e-3)
    assert evaluation.phase_error == pytest.approx(2 * e * (1 - e), rel=5e-3)
    # A photon of either alone arrives with 10^-3, or a dark count of either detector is all there is.
    arrives = 1e-3 + 2e-9
    assert bits == pytest.approx(n * SENDER.p_key**2 * 2 * 0.27 * 0.73 * 0.49 * math.exp(-0.49) * arrives, rel=0.08)


def test_pairing_beats_the_repeaterless_bound_and_what_goes_without() -> None:
    """Where Zhou et al. 2023 do: from 77 dB on; without pairs it takes fewer sent pulses, and gives less."""
    for loss_db in (60, 77, 94):
        found = rate(station(loss_db), 1e14)
        assert repeaterless_bound(10 ** (-loss_db / 10)) < found < one_node_bound(10 ** (-loss_db / 10))
    rare = Sender((0.49, 0.1, 0.0), (0.05, 0.6, 0.35), 0.73)
    without = station(60, senders=SendOrNot(rare, rare, 0.3, 0.3, "none"))
    assert 0 < rate(without, 1e14) < rate(station(60), 1e14)


def test_smaller_blocks_give_less() -> None:
    rates = [rate(station(60.0), n) for n in (1e9, 1e10, 1e11, 1e12, 1e14)]
    assert rates == sorted(rates)
    assert rates[0] < 0 < rates[1]


@pytest.mark.parametrize("changes", [{"noise": 1.5}, {"wrong": 0.48}, {"dark": 1e5}])
def test_without_interference_there_is_no_key(changes: dict[str, float]) -> None:
    assert rate(station(60.0, **changes), 1e14) < 0


def test_unlike_arms_need_unlike_senders_and_a_near_miss_costs_little() -> None:
    """Hu et al. 2019: intensities as the arms' losses; their condition, missed by a per cent, costs about as much."""
    alike = rate(station(60.0, ratio_db=8.0), 1e14)
    weak = 10**-0.8  # Bob's arm loses 8 dB less: he sends so much fainter
    bob = Sender((0.49 * weak, 0.1 * weak, 0.0), (0.27, 0.5, 0.23), 0.73)
    wanted = 0.49 * math.exp(-0.49) * weak
    key = wanted * (1 + wanted + 1.5 * wanted**2)  # key e^-key = wanted, nearly
    fitted = rate(station(60.0, ratio_db=8.0, senders=SendOrNot(SENDER, bob, 0.49, key)), 1e14)
    missed = rate(station(60.0, ratio_db=8.0, senders=SendOrNot(SENDER, bob, 0.49, key * 1.01)), 1e14)
    assert fitted > max(alike, 0)
    assert missed == pytest.approx(fitted, rel=0.03)


def test_counts_of_coins_keep_within_their_bounds() -> None:
    random = rng.stream(rng.seed_from_int(11), "coins")
    for mean in (3.0, 40.0, 900.0):
        high, low = coins_at_most(mean, 1e-4), coins_at_least(mean, 1e-4)
        assert low < mean < high
        seen = random.binomial(100_000, mean / 100_000, 20_000)
        assert (seen >= high).sum() <= 20
        assert low == 0 or (seen <= low).sum() <= 20
    assert coins_at_least(5.0, 1e-10) == 0.0
