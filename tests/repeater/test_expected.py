"""Averages against closed forms and other seeds; offers for whoever plans."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone.errors import InputError
from noclone.proofs.capacity import chain_bound
from noclone.repeater.brief import load_repeaters
from noclone.repeater.chain import Chain, Rules, sample
from noclone.repeater.expected import expected_pairs
from noclone.repeater.links import Link
from noclone.repeater.offer import Equipment, offer
from noclone.repeater.pairs import BellPair, Memory
from noclone.repeater.tables import DevicesTable, MemoryTable, RulesTable
from noclone.repeater.waiting import TwoLinks
from noclone.rng import seed_from_int, stream

LINK = Link(0.0, 0.05, 1e-3, BellPair(0.97, 0.96, 0.98))
ASSUMED = Equipment(
    DevicesTable(emission=0.6, visibility=0.98, modes=20, dark=1e-7),
    MemoryTable(dephasing_s=2.0),
    RulesTable(swap_quality=0.99, cutoff_s=0.05),
    end_cost=100.0,
    node_cost=150.0,
    link_cost=30.0,
)


def test_one_link_and_two_deliver_what_closed_forms_say() -> None:
    one = expected_pairs(Chain((LINK,), (Memory(),) * 2))
    assert one.rate_hz == pytest.approx(1 / LINK.mean_s, rel=6 * one.rate_error)
    assert one.pair == BellPair(0.97, 0.96, 0.98)
    two = expected_pairs(Chain((LINK, LINK), (Memory(dephasing_s=0.1),) * 3, Rules(cutoff_s=0.01)))
    law = TwoLinks(0.05, 10)
    assert two.rate_hz == pytest.approx(1 / (law.attempts() * LINK.attempt_s), rel=6 * two.rate_error)
    assert two.pair.z == pytest.approx(0.98**2, abs=1e-6)
    assert two.rate_error <= 1e-3


def test_another_seed_finds_the_same() -> None:
    chain = load_repeaters("backbone").chain()
    there, number = expected_pairs(chain), 50_000
    here = sample(chain, number, seed_from_int(3))
    error = math.hypot(there.rate_error, float(here.waited_s.std()) / here.mean_s / math.sqrt(number))
    assert here.rate_hz == pytest.approx(there.rate_hz, rel=6 * error)
    spread = float(here.correlations[:, 0].std()) / math.sqrt(number)
    assert here.pair.x == pytest.approx(there.pair.x, abs=6 * spread + 1e-6)


def test_a_clock_is_exact_and_its_ticks_agree() -> None:
    clocked = load_repeaters("delft").clocked()
    assert clocked is not None
    found = expected_pairs(clocked)
    assert found.rate_hz == pytest.approx(10.0)
    assert found.rate_error == 0
    assert found.pair.fidelity == pytest.approx(clocked.success * clocked.pair().fidelity + (1 - clocked.success) / 4)
    ticks = clocked.sample(40_000, stream(seed_from_int(4), "ticks"))
    error = ticks.std(axis=0) / math.sqrt(len(ticks))
    wanted = np.array([found.pair.x, found.pair.y, found.pair.z])
    assert (np.abs(ticks.mean(axis=0) - wanted) < 6 * error + 1e-9).all()
    certain = type(clocked)(Link(0.0, 1.0, 1e-3, BellPair(1, 1, 1)), Memory(), 0.1, without=0.5)
    assert (certain.sample(10, stream(seed_from_int(4), "certain")) == 1).all()
    assert certain.instead.fidelity == pytest.approx(0.5)


def test_offers_are_fractions_of_what_a_chain_can_carry() -> None:
    near, far = offer([20.0, 20.0], ASSUMED), offer([50.0] * 4, ASSUMED)
    assert near.cost == 2 * 100 + 150 + 2 * 30
    assert near.secret_bps > far.secret_bps > 0
    assert far.pairs is not None
    for found, spans in ((near, [20.0, 20.0]), (far, [50.0] * 4)):
        uses_hz = 2 * 20 / ASSUMED.devices.link(spans[0]).attempt_s  # a photon in each of two rounds, in twenty modes
        assert found.secret_bps < uses_hz * chain_bound(10 ** (-0.02 * km) for km in spans)
        assert found.pairs is not None
        assert found.secret_bps < found.pairs.secret_bps
    # Long before repeaters carry key to their ends, one link of the same length carries hardly any.
    assert offer([200.0], ASSUMED).secret_bps < far.secret_bps / 10


def test_no_key_is_an_answer() -> None:
    noisy = offer([20.0], Equipment(DevicesTable(visibility=0.1)))
    assert noisy.secret_bps == 0
    assert "errors" in noisy.reason
    assert offer([5000.0], ASSUMED).pairs is None
    poor = MemoryTable(dephasing_s=0.004)
    tuned = offer([50.0] * 4, Equipment(ASSUMED.devices, poor, tuned=True))
    assert tuned.cutoff_s is not None
    assert tuned.secret_bps > offer([50.0] * 4, Equipment(ASSUMED.devices, poor)).secret_bps
    with pytest.raises(InputError):
        expected_pairs(Chain((LINK,), (Memory(),) * 2), 0.0)
