"""The agreement before a block: honest blocks keep to it, others are aborted; the length never follows the counts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from noclone.counts import Counts
from noclone.errors import Aborted, InputError
from noclone.proofs.agreement import Agreement, agree, screen, settle
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.keylength import secret_length
from noclone.proofs.models import ExpectedTally
from noclone.records import DecoyBB84

CASES = ["lim2014", "rusca2018", "wiesemann2024", "wiesemann2024/two", "tupkary2024"]
ONE = DecoyBB84((0.51, 0.15), (0.7, 0.3), 0.9, 0.9)


def name_of(case: str) -> str:
    return case.partition("/")[0]


def draw(tally: ExpectedTally, generator: np.random.Generator) -> Counts:
    """Return what an honest block counts: right and wrong bits are Poisson."""

    def poisson(n: tuple[float, ...], m: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        wrong = generator.poisson(m)
        right = generator.poisson(np.array(n) - np.array(m))
        return tuple(map(int, right + wrong)), tuple(map(int, wrong))

    n_key, m_key = poisson(tally.n_key, tally.m_key)
    n_test, m_test = poisson(tally.n_test, tally.m_test)
    return Counts(tally.n_slots, n_key, n_test, m_test, m_key)


def leak(counts: Counts, efficiency: float) -> int:
    q = counts.qber_key
    assert q is not None
    return math.ceil(efficiency * counts.key_total * (-q * math.log2(q) - (1 - q) * math.log2(1 - q)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sigmas", [1.0, 4.0])
def test_honest_blocks_are_refused_as_often_as_promised(
    case: str,
    sigmas: float,
    protocols: dict[str, DecoyBB84],
    expected: Callable[..., ExpectedTally],
    epsilons: Epsilons,
) -> None:
    """At 4 sigma hardly ever; at 1 sigma sometimes, so that the test could fail, and never above the promise."""
    protocol, trials = protocols[case], 300
    tally = expected(protocol, 1e9)
    agreement = agree(tally, protocol, epsilons, name_of(case), efficiency=1.15, sigmas=sigmas)
    assert agreement.length_bits > 0
    generator, refused = np.random.default_rng(3), 0
    for _ in range(trials):
        counts = draw(tally, generator)
        try:
            found = settle(agreement, counts, leak(counts, 1.15))
            assert found.statement == "variable-length" or found.bits == agreement.length_bits
        except Aborted:
            refused += 1
    promised = agreement.refusal_probability
    # Five binomial standard deviations above the promise: chance alone passes with 3e-7.
    assert refused <= trials * promised + 5 * math.sqrt(trials * promised * (1 - min(promised, 1))) + 1
    if sigmas == 1.0:
        assert refused > 0


def test_the_price_of_agreeing_first_is_small(expected: Callable[..., ExpectedTally], epsilons: Epsilons) -> None:
    """With a sensible block, what is kept back is a few percent of what the counts would allow."""
    tally = expected(ONE, 1e8)
    agreement = agree(tally, ONE, epsilons, efficiency=1.15)
    counts = draw(tally, np.random.default_rng(1))
    found = secret_length(counts, ONE, epsilons, leak_bits=agreement.leak_bits_max)
    assert 0.95 * found.bits < agreement.length_bits < found.bits


def test_accepted_block_has_the_agreed_length_however_good_it_is(
    expected: Callable[..., ExpectedTally], block: Callable[..., Counts], epsilons: Epsilons
) -> None:
    tally = expected(ONE, 1e8, misalignment=0.02)
    agreement = agree(tally, ONE, epsilons, efficiency=1.15)
    better = block(ONE, 1e8, misalignment=0.005)
    counts = Counts(agreement.n_slots, better.n_key, better.n_test, better.m_test, better.m_key)
    found = settle(agreement, counts, 0)
    assert found.bits == agreement.length_bits
    assert found.leak_bits == agreement.leak_bits_max
    assert math.fsum(t.bits for t in found.terms) == pytest.approx(found.bits)
    allowed = secret_length(counts, ONE, epsilons, leak_bits=agreement.leak_bits_max)
    assert allowed.bits > found.bits


def with_slots(agreement: Agreement, counts: Counts) -> Counts:
    return Counts(agreement.n_slots, counts.n_key, counts.n_test, counts.m_test, counts.m_key)


def test_each_abort_says_why(
    expected: Callable[..., ExpectedTally], block: Callable[..., Counts], epsilons: Epsilons
) -> None:
    agreement = agree(expected(ONE, 1e8), ONE, epsilons, efficiency=1.15)
    good = with_slots(agreement, block(ONE, 1e8))
    noisy = with_slots(agreement, block(ONE, 1e8, misalignment=0.05))
    few = with_slots(agreement, block(ONE, 3e7))
    tiny = with_slots(agreement, block(ONE, 3e4))
    none = Counts(agreement.n_slots, (0, 0), (0, 0), (0, 0), (0, 0))
    for counts, leaked, reason, number in (
        (good, agreement.leak_bits_max + 1, "leak-above-agreed", str(agreement.leak_bits_max)),
        (noisy, 0, "qber-too-high", "5."),
        (noisy, agreement.leak_bits_max + 1, "qber-too-high", "5."),
        (few, 0, "below-agreed-length", str(agreement.length_bits)),
        (tiny, 0, "no-secret-key", "30000 sifted"),
        (none, 0, "too-few-detections", "key basis"),
    ):
        with pytest.raises(Aborted) as caught:
            settle(agreement, counts, leaked)
        assert caught.value.reason == reason
        assert number in caught.value.message
    assert settle(agreement, good, agreement.leak_bits_max).bits == agreement.length_bits


def test_screen_saves_the_work_of_reconciliation(
    expected: Callable[..., ExpectedTally], block: Callable[..., Counts], epsilons: Epsilons
) -> None:
    agreement = agree(expected(ONE, 1e8), ONE, epsilons, efficiency=1.15)
    full = block(ONE, 1e8)
    screen(agreement, Counts(full.n_slots, full.n_key, full.n_test, full.m_test))
    with pytest.raises(Aborted, match="25"):
        screen(agreement, Counts(1, (4, 4), (4, 4), (1, 1)))
    with pytest.raises(Aborted) as caught:
        screen(agreement, Counts(1, (4, 4), (0, 0), (0, 0)))
    assert caught.value.reason == "too-few-detections"


def test_nothing_to_expect_agrees_on_nothing(expected: Callable[..., ExpectedTally], epsilons: Epsilons) -> None:
    empty = Counts(10**6, (0, 0), (0, 0), (0, 0), (0, 0))
    for tally in (empty, expected(ONE, 1e4), expected(ONE, 1e9, misalignment=0.25)):
        agreement = agree(tally, ONE, epsilons, efficiency=1.2)
        assert agreement.length_bits == 0
        assert agreement.reason


def test_a_block_better_than_hopeless_still_gives_none(
    expected: Callable[..., ExpectedTally], block: Callable[..., Counts], epsilons: Epsilons
) -> None:
    """No length was agreed, so none is taken, whatever the counts turn out to allow."""
    agreement = agree(expected(ONE, 1e8, misalignment=0.25), ONE, epsilons, efficiency=1.0)
    with pytest.raises(Aborted, match="no length was agreed"):
        settle(agreement, with_slots(agreement, block(ONE, 1e10, misalignment=0.001)), 0)


def test_agreement_from_an_earlier_block_and_a_known_error_rate(
    block: Callable[..., Counts], epsilons: Epsilons
) -> None:
    full = block(ONE, 1e8)
    known = agree(full, ONE, epsilons, efficiency=1.15)
    without = Counts(full.n_slots, full.n_key, full.n_test, full.m_test)
    given_qber = agree(without, ONE, epsilons, efficiency=1.15, qber=full.qber_key)
    assert given_qber.length_bits == pytest.approx(known.length_bits, rel=1e-3)
    with pytest.raises(InputError, match="not known"):
        agree(without, ONE, epsilons, efficiency=1.15)


def test_bad_input(block: Callable[..., Counts], epsilons: Epsilons) -> None:
    full = block(ONE, 1e8)
    for efficiency in (0.9, math.nan, math.inf):
        with pytest.raises(InputError, match="Shannon"):
            agree(full, ONE, epsilons, efficiency=efficiency)
    with pytest.raises(InputError, match="no error rate"):
        agree(full, ONE, epsilons, efficiency=1.2, qber=1.5)
    with pytest.raises(InputError, match="8 bits"):
        agree(full, ONE, epsilons, efficiency=1.2, confirmation_bits=8)
    agreement = agree(full, ONE, epsilons, efficiency=1.2, confirmation_bits=64)
    with pytest.raises(InputError, match="slots"):
        settle(agreement, Counts(1, full.n_key, full.n_test, full.m_test, full.m_key), 0)
    with pytest.raises(InputError, match="65 bits"):
        settle(agreement, full, 0, confirmation_bits=65)


def test_both_ends_hash_the_same_json(block: Callable[..., Counts], epsilons: Epsilons) -> None:
    one, other = (agree(block(ONE, 1e8), ONE, epsilons, efficiency=1.2) for _ in range(2))
    assert json.dumps(one.to_json(), sort_keys=True) == json.dumps(other.to_json(), sort_keys=True)


def test_cascade_earns_nothing_from_empty_pulses() -> None:
    """With two-way reconciliation the vacuum term is left out, in the agreement and in the settlement alike."""
    protocol = DecoyBB84((0.5, 0.1, 2e-4), (0.6, 0.3, 0.1), 0.9, 0.9)
    # A billion pulses, 5 % arrive, 2.5e-3 dark counts each: the faintest intensity sees mostly dark counts.
    n_key = (13_200_000, 1_820_000, 204_000)
    counts = Counts(10**9, n_key, (163_000, 22_500, 2_520), (4_000, 3_000, 1_250), (750_000, 390_000, 101_000))
    epsilons = Epsilons(1e-9, 1e-12)
    one_way = secret_length(counts, protocol, epsilons, leak_bits=10_000, proof="lim2014")
    two_way = secret_length(counts, protocol, epsilons, leak_bits=10_000, proof="lim2014", two_way=True)
    assert one_way.vacuum > 1000
    assert one_way.bits - two_way.bits == pytest.approx(one_way.vacuum, abs=1)
    assert any("both ways" in assumption for assumption in two_way.assumptions)
