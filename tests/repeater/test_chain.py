"""The engine against closed forms, a slow twin, and the key that far ends make of its pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone.errors import InputError
from noclone.proofs.capacity import repeaterless_bound
from noclone.proofs.epsilon import Epsilons
from noclone.repeater.chain import Chain, Rules, Running, joined, sample
from noclone.repeater.key import key_fraction, measure
from noclone.repeater.links import Emitters, Link, two_clicks
from noclone.repeater.pairs import BellPair, Memory, dejmps
from noclone.repeater.waiting import TwoLinks, attempts_of_all
from noclone.rng import seed_from_int, stream

SEED = seed_from_int(7)
ATTEMPT_S = 1e-3
PERFECT = BellPair(1, 1, 1)
SIGMAS = 6.0  # two-sided 2e-9


def here(success: float, pair: BellPair = PERFECT) -> Link:
    """A link of no length: words take no time."""
    return Link(0.0, success, ATTEMPT_S, pair)


def assert_mean(values: np.ndarray, expected: float) -> None:
    error = values.std(ddof=1) / math.sqrt(values.size)
    assert abs(values.mean() - expected) <= SIGMAS * error + 1e-12


@pytest.mark.parametrize(("links", "success"), [(1, 0.3), (2, 0.05), (5, 0.2), (30, 0.1), (100, 0.02)])
def test_without_cutoff_the_wait_is_that_of_the_slowest_link(links: int, success: float) -> None:
    found = sample(Chain.uniform(here(success), links, Memory()), 20_000, SEED)
    assert_mean(found.waited_s / ATTEMPT_S, attempts_of_all(links, success))
    assert np.all(found.correlations == 1)


def test_the_closed_form_of_many_links_meets_the_exact_one() -> None:
    assert attempts_of_all(2, 0.1) == pytest.approx((3 - 0.2) / (0.1 * 1.9))
    exact, far = attempts_of_all(15, 0.05), sum(1 / j for j in range(1, 16)) / -math.log1p(-0.05) + 0.5
    assert exact == pytest.approx(far, rel=1e-6)
    assert attempts_of_all(7, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("window", [None, 1, 5, 40])
def test_two_links_with_and_without_cutoff(window: int | None) -> None:
    success, memory = 0.05, Memory(dephasing_s=0.05, depolarising_s=0.2)
    cutoff = None if window is None else window * ATTEMPT_S
    found = sample(Chain.uniform(here(success), 2, memory, Rules(cutoff_s=cutoff)), 30_000, SEED)
    theory = TwoLinks(success, window)
    assert_mean(found.waited_s / ATTEMPT_S, theory.attempts())
    # The ends measure at once; of the halves in the middle only the earlier one has waited.
    assert_mean(found.correlations[:, 2], theory.kept(ATTEMPT_S / 0.2))
    assert_mean(found.correlations[:, 0], theory.kept(ATTEMPT_S / 0.2 + ATTEMPT_S / 0.05))
    assert np.all(found.correlations[:, 0] == pytest.approx(found.correlations[:, 1]))


def test_the_cutoff_formula_has_the_right_limits() -> None:
    assert TwoLinks(0.1, None).attempts() == pytest.approx((3 - 0.2) / (0.1 * 1.9))
    assert TwoLinks(0.1, 10_000).attempts() == pytest.approx(TwoLinks(0.1).attempts())
    assert TwoLinks(0.1, 0).attempts() == pytest.approx(100)  # both in the same attempt
    assert TwoLinks(0.1, 0).kept(0.3) == 1


def test_swaps_that_fail_begin_again() -> None:
    found = sample(Chain.uniform(here(0.1), 2, Memory(), Rules(swap_success=0.5)), 20_000, SEED)
    assert_mean(found.waited_s / ATTEMPT_S, attempts_of_all(2, 0.1) / 0.5)
    assert found.counted["failed_swaps"] == pytest.approx(found.counted["swaps"], rel=0.1)


def test_stored_ends_wait_for_the_word_and_decay() -> None:
    """Links that succeed at once: all that is left is the word's way, from the middle to both ends."""
    link, memory = Link(100.0, 1.0, ATTEMPT_S, PERFECT), Memory(0.1, math.inf)
    chain = Chain.uniform(link, 2, memory, Rules(ends="stored"))
    found = sample(chain, 3, SEED)
    assert found.waited_s == pytest.approx(ATTEMPT_S + link.travel_s, rel=1e-6)
    assert found.correlations[:, 0] == pytest.approx(math.exp(-2 * link.travel_s / 0.1), rel=1e-5)
    at_once = sample(Chain.uniform(link, 2, memory), 3, SEED)
    assert at_once.correlations[:, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("lengths", [(10.0, 100.0, 40.0), (100.0, 10.0, 40.0), (40.0, 10.0, 100.0)])
def test_word_of_every_swap_reaches_both_ends(lengths: tuple[float, float, float]) -> None:
    """The middle link comes last, and both nodes swap at once: each outcome has its own way to either end."""
    memory = Memory(0.5, math.inf)
    links = tuple(Link(km, 1.0, s, PERFECT) for km, s in zip(lengths, (1e-3, 2e-3, 1e-3), strict=True))
    chain = Chain(links, (memory,) * 4, Rules(ends="stored"))
    d = [link.travel_s for link in links]
    heard = 2e-3 + max(d[0] + d[1], d[1] + d[2])
    found = sample(chain, 1, SEED)
    assert found.waited_s == pytest.approx(heard, rel=1e-6)
    # The outer halves lie from their links' first attempt until then, the inner ones of the outer links for 1 ms each.
    lay = 2 * (heard - 1e-3) + 2 * 1e-3
    assert found.correlations[0, 0] == pytest.approx(math.exp(-lay / 0.5), rel=1e-5)


def test_imperfect_links_and_swaps_multiply() -> None:
    link = here(0.5, BellPair.werner(0.97))
    found = sample(Chain.uniform(link, 9, Memory(), Rules(swap_quality=0.99)), 10, SEED)
    w = (4 * 0.97 - 1) / 3
    assert found.correlations == pytest.approx(w**9 * 0.99**8)


def test_a_purified_link_takes_and_leaves_what_it_should() -> None:
    pair = BellPair.werner(0.9)
    step = dejmps(pair, pair)
    found = sample(Chain.uniform(here(0.2, pair), 1, Memory(), Rules(pumps=1)), 20_000, SEED)
    assert_mean(found.waited_s / ATTEMPT_S, 2 / 0.2 / step.success)
    assert found.correlations[0] == pytest.approx((step.pair.x, step.pair.y, step.pair.z))
    twice = sample(Chain.uniform(here(0.2, pair), 1, Memory(), Rules(pumps=2)), 10, SEED)
    again = dejmps(step.pair, pair).pair
    assert twice.correlations[0] == pytest.approx((again.x, again.y, again.z))


def test_a_stream_is_faster_than_requests_one_by_one_and_its_pairs_are_older() -> None:
    link, memory = here(0.1), Memory(0.2)
    asked = sample(Chain.uniform(link, 6, memory), 5_000, SEED)
    stream_ = sample(Chain.uniform(link, 6, memory, Rules(stream=True)), 5_000, SEED)
    assert stream_.rate_hz > 1.05 * asked.rate_hz
    assert stream_.pair.fidelity < asked.pair.fidelity


def twin(links: int, success: float, window: int, swap: float, number: int, random: np.random.Generator) -> np.ndarray:
    """Attempts per delivery, step by step: each link that is free tries, nodes swap, old pairs go."""
    took = []
    for _ in range(number):
        pairs: list[tuple[int, int]] = []  # node to node
        age: dict[int, int] = {}  # of each memory: 2 k and 2 k + 1
        step = 0
        while (0, links) not in pairs:
            step += 1
            age = {m: t + 1 for m, t in age.items()}
            used = {m for a, b in pairs for m in (2 * a + 1, 2 * b)}
            tries = [i for i in range(links) if not {2 * i + 1, 2 * i + 2} & used]
            fresh = [i for i in tries if random.random() < success]
            for i in fresh:
                pairs.append((i, i + 1))
                age |= {2 * i + 1: 0, 2 * i + 2: 0}
                for node in (i, i + 1):
                    left = [p for p in pairs if p[1] == node]
                    right = [p for p in pairs if p[0] == node]
                    if left and right:
                        pairs = [p for p in pairs if p not in (left[0], right[0])]
                        if random.random() >= swap:
                            break
                        pairs.append((left[0][0], right[0][1]))
            pairs = [
                (a, b)
                for a, b in pairs
                if (a, b) == (0, links) or not any(0 < m // 2 < links and age[m] >= window for m in (2 * a + 1, 2 * b))
            ]
        took.append(step)
    return np.array(took, float)


@pytest.mark.parametrize("swap", [1.0, 0.7])
def test_longer_chains_with_cutoff_agree_with_a_slow_twin(swap: float) -> None:
    links, success, window = 4, 0.3, 4
    slow = twin(links, success, window, swap, 3_000, stream(SEED, "twin"))
    rules = Rules(swap_success=swap, cutoff_s=window * ATTEMPT_S)
    fast = sample(Chain.uniform(here(success), links, Memory(), rules), 30_000, SEED).waited_s / ATTEMPT_S
    error = math.hypot(slow.std() / math.sqrt(slow.size), fast.std() / math.sqrt(fast.size))
    assert abs(slow.mean() - fast.mean()) < SIGMAS * error


def test_a_run_goes_on_where_it_was() -> None:
    chain = Chain.uniform(here(0.2), 5, Memory(0.1), Rules(stream=True, cutoff_s=0.02))
    whole = Running(chain, SEED).request(300)
    running = Running(chain, SEED)
    parts = joined([running.request(100), running.request(200)])
    assert np.array_equal(whole.waited_s, parts.waited_s)
    assert np.array_equal(whole.correlations, parts.correlations)
    assert whole.counted == parts.counted


def test_key_without_trusted_nodes_and_under_every_bound() -> None:
    """Far ends make key at 400 km; per attempt and mode it stays under what each link's fibre could ever carry."""
    link = two_clicks(50.0, Emitters(0.6, visibility=0.99))
    chain = Chain.uniform(link, 8, Memory(2.0), Rules(cutoff_s=0.3))
    found = sample(chain, 20_000, SEED)
    fraction = key_fraction(found.pair)
    assert 0.1 < fraction < 1
    assert found.rate_hz * link.attempt_s * fraction < chain.bound(0.2)
    assert found.rate_hz * link.attempt_s * fraction > repeaterless_bound(10**-8)  # 80 dB of plain fibre
    block = measure(found, stream(SEED, "ends"), Epsilons(1e-9, 1e-12))
    assert 0 < block.secret_bits < fraction * len(found)
    assert block.n_key + block.n_test < block.pairs
    assert block.m_key / block.n_key == pytest.approx(found.pair.error_z, abs=0.02)
    assert measure(sample(chain, 100, SEED), stream(SEED, "ends"), Epsilons(1e-9, 1e-12)).secret_bits == 0


def test_werner_pairs_give_key_from_the_published_fidelity_on() -> None:
    assert key_fraction(BellPair.werner(0.836), 1.0) > 0 == key_fraction(BellPair.werner(0.834), 1.0)


def test_a_chain_that_never_delivers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noclone.repeater.chain.PATIENCE_EVENTS", 1_000_000)
    with pytest.raises(InputError, match="does not deliver"):
        sample(Chain.uniform(here(0.5), 60, Memory(), Rules(swap_success=0.5)), 1, SEED)


def test_slow_links_never_run_out_of_nanoseconds_unseen() -> None:
    slow = Link(0.0, 1e-9, 1e-4, PERFECT)  # a day for a pair
    found = sample(Chain.uniform(slow, 2, Memory()), 300, SEED)
    assert_mean(found.waited_s * 1e4, attempts_of_all(2, 1e-9))
    with pytest.raises(InputError, match="36 years"):
        sample(Chain.uniform(Link(0.0, 1e-9, 1e-3, PERFECT), 2, Memory()), 3_000, SEED)


def test_wrong_chains_are_refused() -> None:
    for wrong in (
        lambda: Rules(swap_success=0),
        lambda: Rules(cutoff_s=0.0),
        lambda: Rules(pumps=-1),
        lambda: Rules(ends="lost"),
        lambda: Chain((), (Memory(),)),
        lambda: Chain((here(0.5),), (Memory(),)),
        lambda: Running(Chain.uniform(here(0.5), 1, Memory()), SEED).request(0),
        lambda: TwoLinks(0.0),
    ):
        with pytest.raises(InputError):
            wrong()
