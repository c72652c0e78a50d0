"""Pairs that repeaters deliver, as both ends' events: against the engine, closed forms and expectation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone import rng
from noclone.link.heralded import HeraldedPairs, expected_heralded_chsh, expected_heralded_counts, transmit_heralded
from noclone.link.lights import one_block
from noclone.protocols import EntangledPairs
from noclone.records import NOTHING, Detections, Origin
from noclone.repeater.chain import Chain, Rules
from noclone.repeater.clocked import Clocked
from noclone.repeater.links import Link
from noclone.repeater.pairs import BellPair, Memory

SEED = rng.seed_from_int(8)
SIGMAS = 6.0  # one in 10^9
LINK = Link(10.0, 0.2, 1e-4, BellPair(0.9, 0.88, 0.96))
TWO = Chain((LINK, LINK), (Memory(dephasing_s=0.02),) * 3, Rules(cutoff_s=2e-3, swap_success=0.8))
TICKS = Clocked(LINK, Memory(depolarising_s=0.02), 2e-3, without=0.4)


def light(source: Chain | Clocked = TWO, p_chsh: float = 0.0, readout_error: float = 0.0) -> HeraldedPairs:
    return HeraldedPairs(source, EntangledPairs(0.7, 0.6, p_chsh), 20.0, 4.0, readout_error)


def emit(found: HeraldedPairs, n_slots: int, seed: bytes = SEED) -> tuple[np.ndarray, np.ndarray]:
    seeds = {"alice_seed": rng.derive(seed, "a"), "physics_seed": rng.derive(seed, "p")}
    parts = list(transmit_heralded(found, n_slots=n_slots, link="l", block=0, **seeds))
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


@pytest.mark.parametrize("source", [TWO, TICKS], ids=["chain", "clock"])
@pytest.mark.parametrize("readout_error", [0.0, 0.03])
def test_counts_are_those_expected(source: Chain | Clocked, readout_error: float) -> None:
    found = light(source, readout_error=readout_error)
    n_slots = round(100_000 / found.expected.rate_hz * found.clock_hz)
    alice, bob = emit(found, n_slots)
    expected = expected_heralded_counts(found, n_slots)
    assert (alice >> 16 == bob >> 16).all()  # where a pair comes, both have a value
    assert (np.diff((bob >> 16).astype(np.int64)) > 0).all()
    assert int(bob[-1] >> 16) < n_slots
    pairs = expected.click_rate_hz * n_slots / found.clock_hz
    slack = SIGMAS * math.hypot(math.sqrt(pairs), pairs * found.expected.rate_error)
    assert abs(len(bob) - pairs) < (slack if source is TWO else 1)
    basis_a, basis_b = alice >> 1 & 1, bob >> 1 & 1
    wrong = (alice ^ bob) & 1
    for basis, n, m in ((0, expected.n_key, expected.m_key), (1, expected.n_test, expected.m_test)):
        both = (basis_a == basis) & (basis_b == basis)
        assert abs(int(both.sum()) - n[0]) < SIGMAS * math.sqrt(2 * n[0])
        rate = m[0] / n[0]
        error = SIGMAS * math.sqrt(rate * (1 - rate) / both.sum())
        assert abs(wrong[both].mean() - rate) < error
    apart = wrong[basis_a != basis_b]
    assert abs(apart.mean() - 0.5) < SIGMAS / 2 / math.sqrt(len(apart))  # nothing is common to the two bases
    assert abs((alice & 1).mean() - 0.5) < SIGMAS / 2 / math.sqrt(len(alice))
    assert ((bob >> 4 & 0b1111) == np.where(bob & 1, 2, 1)).all()


def test_times_are_the_engines() -> None:
    """Waits between pairs of one link are whole attempts, geometric; a slot is where a pair falls."""
    found = light(Chain((LINK,), (Memory(),) * 2))
    assert found.tick_ns == 1000
    _, bob = emit(found, 20_000_000)
    gaps = np.diff((bob >> 16).astype(np.int64))
    assert (gaps % 100 == 0).all()
    assert gaps.mean() == pytest.approx(100 / LINK.success, rel=SIGMAS / math.sqrt(len(gaps)))
    fast = Link(0.0, 0.5, 2e-7, BellPair(1, 1, 1))
    assert light(Chain((fast,), (Memory(),) * 2)).tick_ns == 200


@pytest.mark.parametrize("source", [TWO, TICKS], ids=["chain", "clock"])
def test_further_bases_give_the_chsh_value(source: Chain | Clocked) -> None:
    found = light(source, p_chsh=0.5)
    n_slots = round(100_000 / found.expected.rate_hz * found.clock_hz)
    alice, bob = emit(found, n_slots)
    further = bob & Detections.CHSH > 0
    assert abs(further.mean() - 0.5) < SIGMAS / 2 / math.sqrt(len(bob))
    value, variance = 0.0, 0.0
    for a in (0, 1):
        for b in (0, 1):
            here = further & (alice >> 1 & 1 == a) & (bob >> 1 & 1 == b)
            correlation = 1 - 2 * float(((alice ^ bob) & 1)[here].mean())
            value += -correlation if (a, b) == (1, 1) else correlation
            variance += (1 - correlation**2) / here.sum()
    assert abs(value - expected_heralded_chsh(found)) < SIGMAS * math.sqrt(variance)


def test_a_block_is_made_again_from_its_seeds_and_from_no_others() -> None:
    found, n_slots = light(), 500_000
    assert all((one == other).all() for one, other in zip(emit(found, n_slots), emit(found, n_slots), strict=True))
    assert len(emit(found, n_slots)[1]) != len(emit(found, n_slots, rng.seed_from_int(9))[1])
    fields = {"n_slots": n_slots, "link": "l", "block": 0, "origin": Origin("simulated", seeded=True)}
    settings, detections = one_block(
        found, alice_seed=rng.derive(SEED, "a"), physics_seed=rng.derive(SEED, "p"), **fields
    )
    slots = detections.events >> np.uint64(16)
    assert (settings.at(slots) & NOTHING == 0).all()
    assert (
        settings.at(np.array([int(slots[0]) + 1], np.uint64))[0] == NOTHING
    )  # a pair is a hundred slots from the next


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="readout_error"):
        light(readout_error=0.6)
    with pytest.raises(ValueError, match="n_slots"):
        emit(light(), 0)
