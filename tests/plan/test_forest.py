"""The bound by forests: never above the cheapest network, and near it where links carry enough."""

from __future__ import annotations

import random
from typing import Any

import pytest

from noclone.network.topology_files import random_topology
from noclone.plan import forest
from noclone.plan.candidates import Candidate, candidates_of
from noclone.plan.forest import forest_bound
from noclone.plan.narrowing import least_unmet, narrow, never_dearer
from noclone.plan.sites import Brief, brief_of_topology
from noclone.plan.solver import solve

BB84 = {"name": "bb84", "cost": 80.0, "efficiency": 0.8, "dark_count_hz": 50.0}
FASTER = {**BB84, "name": "faster", "cost": 130.0, "clock_hz": 3e9}


def drawn(seed: int, **more: Any) -> tuple[Brief, list[Candidate]]:
    """Return a small map with demands of every kind, some of them too large for one link."""
    draw = random.Random(seed)
    names = "abcdefghi"
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if draw.random() < 0.3]
    kinds: list[dict[str, Any]] = [{}, {}, {"disjoint_paths": 2}, {"max_relays": 2}, {"avoid": ["e"]}]
    ends = draw.sample([(a, b) for a in names for b in names if a < b and "e" not in (a, b)], 5)
    rates = [500.0, 2_000.0, 150_000.0]
    given = Brief.model_validate(
        {
            "name": "drawn",
            "site": [
                {"name": name, "trusted": draw.random() < 0.9, "cost": draw.choice([10.0, 50.0])} for name in names
            ],
            "fibre": [{"a": a, "b": b, "length_km": draw.choice([20.0, 60.0, 90.0])} for a, b in pairs],
            "demand": [
                {"between": list(pair), "bps": draw.choice(rates), **kind}
                for pair, kind in zip(ends, kinds, strict=True)
            ],
            "device": [BB84, FASTER],
        }
        | more
    )
    return given, candidates_of(given)[0]


@pytest.mark.parametrize("seed", range(25))
def test_no_network_is_cheaper_and_the_steps_find_the_cheapest(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given, candidates = drawn(seed)
    exact = solve(given, candidates, gap=0.0, small=10**9)
    least = least_unmet(given, candidates)
    assert all(alone <= unmet + 1e-5 for alone, unmet in zip(least, exact.unmet, strict=True))
    met = [number for number, unmet in enumerate(exact.unmet) if unmet < 1.0 - 1e-6]
    bound = forest_bound(given, candidates, met, 60.0)
    assert bound.finished
    assert 0.0 <= bound.cost <= exact.cost + 1e-6
    monkeypatch.setattr(forest, "TREES_MAX", 2)  # demands that share ends in one tree, others left out
    assert forest_bound(given, candidates, met, 60.0).cost <= exact.cost + 1e-6
    monkeypatch.undo()
    stepped = solve(given, candidates, gap=0.0, small=0)
    assert sum(stepped.unmet) == pytest.approx(sum(exact.unmet), abs=1e-4)
    assert stepped.bound <= stepped.cost
    if stepped.unmet == exact.unmet:
        assert stepped.cost == pytest.approx(exact.cost)
        assert stepped.bound <= exact.cost + 1e-6


def test_on_a_chain_the_bound_is_the_cost() -> None:
    given = Brief.model_validate(
        {
            "name": "chain",
            "site": [{"name": name} for name in "abcd"],
            "fibre": [{"a": a, "b": b, "length_km": 50.0} for a, b in ("ab", "bc", "cd")],
            "demand": [{"between": ["a", "d"], "bps": 500.0}, {"between": ["b", "c"], "bps": 500.0}],
            "device": [BB84],
        }
    )
    candidates, _ = candidates_of(given)
    bound = forest_bound(given, candidates, [0, 1], 60.0)
    assert bound.cost == pytest.approx(3 * 80.0 + 2 * 50.0, rel=1e-5)
    assert bound.pairs == {("a", "b"), ("b", "c"), ("c", "d")}
    assert forest_bound(given, candidates, [1], 60.0).cost == pytest.approx(80.0, rel=1e-5)
    assert forest_bound(given, candidates, [], 60.0).cost == 0.0


def test_where_the_time_is_up_the_bound_still_holds() -> None:
    given, candidates = drawn(1)
    bound = forest_bound(given, candidates, [0, 1], 0.0)
    assert (bound.finished, bound.cost, bound.pairs) == (False, 0.0, frozenset())


def test_a_dearer_link_is_dropped_only_where_the_cheaper_carries_everything() -> None:
    given, candidates = drawn(1, device=[BB84, FASTER])
    loaded, few = [], []
    for bps, kept in ((1e6, loaded), (1.0, few)):
        demands = [demand.model_copy(update={"bps": bps}) for demand in given.demands]
        kept += never_dearer(given.model_copy(update={"demands": demands}), candidates)
    assert {one.made_by for one in loaded} == {"bb84", "faster"}
    assert {one.made_by for one in few} == {"bb84"}
    assert {one.pair for one in few} == {one.pair for one in candidates}
    assert len(narrow(given, few, ())) < len(few)


@pytest.mark.timeout(300)
def test_a_map_of_150_sites_is_planned_near_its_bound() -> None:
    """As `study/plan_large.py`, with fewer sites. The cheapest costs 6,340: bound and network meet there."""
    given = brief_of_topology(random_topology(150, 3), bps=500.0, pairs=10)
    candidates, _ = candidates_of(given)
    found = solve(given, candidates, time_limit_s=240, gap=0.02)
    assert found.unmet == (0.0,) * len(given.demands)
    assert 6_200 < found.bound <= 6_340 <= found.cost <= 6_340 * 1.02
    assert found.gap == pytest.approx((found.cost - found.bound) / found.bound)
