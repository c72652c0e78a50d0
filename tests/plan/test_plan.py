"""Plans: the cheapest by brute force, true to the proofs, and a scenario that runs."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from noclone.cli.main import run_command
from noclone.errors import InputError
from noclone.network.blocks import plan_link
from noclone.network.scenario import load_scenario
from noclone.network.topology_files import random_topology
from noclone.plan.candidates import Candidate, candidates_of
from noclone.plan.devices import DeviceSection
from noclone.plan.narrowing import dearest_path
from noclone.plan.rates import secret_bps
from noclone.plan.reasons import reasons
from noclone.plan.sites import Brief, brief_of_topology, load_brief
from noclone.plan.solver import solve
from noclone.plan.writing import scenario_of_plan

ALPINE = Path(__file__).parents[2] / "examples" / "sites.toml"


def brief(fibres: list[tuple[str, str, float]], demands: list[tuple[str, str, float, int]], **more: Any) -> Brief:
    sites = sorted({end for fibre in fibres for end in fibre[:2]} | {end for demand in demands for end in demand[:2]})
    return Brief.model_validate(
        {
            "name": "test",
            "site": [{"name": site, **more.get("site", {}).get(site, {})} for site in sites],
            "fibre": [{"a": a, "b": b, "length_km": km} for a, b, km in fibres],
            "demand": [{"between": [a, b], "bps": bps, "disjoint_paths": paths} for a, b, bps, paths in demands],
            "costs": more.get("costs", {}),
        }
    )


def brute_force(given: Brief, candidates: list[Candidate]) -> float | None:
    """The least cost of one demand for one path, by trying every choice of devices; None if none meets it."""
    import networkx

    (demand,) = given.demands
    fibres = sorted({(one.a, one.b) for one in candidates})
    options = [[None, *[one for one in candidates if (one.a, one.b) == fibre]] for fibre in fibres]
    best = None
    nodes = [site.name for site in given.sites if site.name not in demand.between]
    for chosen in itertools.product(*options):
        built = [one for one in chosen if one is not None]
        cost = sum(one.cost for one in built)
        if best is not None and cost >= best:
            continue
        for count in range(len(nodes) + 1):
            for relays in itertools.combinations(nodes, count):
                total = cost + given.costs.node * count
                if best is not None and total >= best:
                    continue
                graph = networkx.DiGraph()
                graph.add_nodes_from(demand.between)
                allowed = {*relays, *demand.between}
                for one in built:
                    if {one.a, one.b} <= allowed:
                        graph.add_edge(one.a, one.b, capacity=one.bps)
                        graph.add_edge(one.b, one.a, capacity=one.bps)
                if networkx.maximum_flow_value(graph, *demand.between) >= 1.001 * demand.bps:
                    best = total
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_plan_is_the_cheapest(seed: int) -> None:
    draw = random.Random(seed)
    edges = [pair for pair in itertools.combinations("abcd", 2) if draw.random() < 0.8] or [("a", "d")]
    fibres = [(a, b, draw.choice([20.0, 60.0, 100.0, 140.0])) for a, b in edges]
    given = brief(fibres, [("a", "d", draw.choice([2_000.0, 30_000.0, 120_000.0]), 1)], costs={"node": 60.0})
    candidates, _ = candidates_of(given, only_what_runs=True)
    found = solve(given, candidates, gap=0.0)
    narrowed = solve(given, candidates, gap=0.0, small=0)
    assert narrowed.cost == pytest.approx(found.cost)
    assert narrowed.bound <= found.cost + 1e-6
    expected = brute_force(given, candidates)
    if expected is None:
        assert found.unmet[0] > 0
    else:
        assert found.unmet[0] == 0
        assert found.cost == pytest.approx(expected)
        assert found.bound <= found.cost + 1e-6


def test_rates_are_those_of_the_proofs_and_the_scenario_keeps_them(tmp_path: Path) -> None:
    given = load_brief(ALPINE)
    candidates, notes = candidates_of(given)
    found = solve(given, candidates)
    path = tmp_path / "planned.toml"
    path.write_text(scenario_of_plan(given, found))
    scenario = load_scenario(path)
    assert notes == []
    for one in found.built:
        plan = plan_link(scenario.link(f"{one.a}-{one.b}"))
        rate = plan.agreement.length_bits / plan.seconds_per_block
        assert rate == pytest.approx(one.bps, rel=0.02), "the planner rounds losses up by 0.05 dB at most"
        assert rate >= one.bps * 0.999
    assert scenario.policies[0].disjoint_paths == 2


def test_a_chain_is_bounded_by_its_own_cost() -> None:
    given = brief([("a", "b", 60.0), ("b", "c", 60.0)], [("a", "c", 1000.0, 1)], costs={"node": 30.0})
    candidates, _ = candidates_of(given, only_what_runs=True)
    found = solve(given, candidates, gap=0.0)
    assert dearest_path(given, candidates, [0]) == found.cost == 2 * 80.0 + 30.0
    assert dearest_path(given, candidates, []) == 0.0, "what is not met bounds nothing"


def test_disjoint_paths_share_no_node_and_cost_what_they_take() -> None:
    given = brief(
        [("a", "b", 50.0), ("b", "d", 50.0), ("a", "c", 50.0), ("c", "d", 50.0), ("b", "c", 10.0)],
        [("a", "d", 1000.0, 2)],
    )
    candidates, _ = candidates_of(given)
    found = solve(given, candidates)
    assert found.unmet == (0.0,)
    assert found.relays == ("b", "c")
    assert {(one.a, one.b) for one in found.built} == {("a", "b"), ("b", "d"), ("a", "c"), ("c", "d")}
    assert all(used == pytest.approx(1000.0) for used in found.used_bps)


def why(given: Brief) -> list[str]:
    candidates, _ = candidates_of(given)
    return reasons(given, candidates, solve(given, candidates))


def test_what_cannot_be_met_is_said_with_the_reason() -> None:
    chain = brief([("a", "b", 50.0), ("b", "c", 50.0)], [("a", "c", 1000.0, 2), ("a", "b", 1e9, 1), ("a", "z", 1.0, 1)])
    told = why(chain)
    assert "1 of the 2 paths" in told[0]
    assert "a-b, the narrowest place" in told[1]
    assert "no link with any device" in told[2]
    apart = brief([("a", "b", 50.0), ("y", "z", 50.0)], [("a", "z", 1.0, 1)])
    assert "they lead to a, b only" in why(apart)[0]
    barred = brief([("a", "b", 90.0), ("b", "c", 90.0)], [("a", "c", 1.0, 1)], site={"b": {"trusted": False}})
    barred = barred.model_copy(update={"devices": [DeviceSection(name="x", cost=1.0)]})
    assert "must not relay here, such as b" in why(barred)[0]


def test_a_site_that_may_not_relay_does_not() -> None:
    fibres = [("a", "b", 40.0), ("b", "d", 40.0), ("a", "c", 90.0), ("c", "d", 90.0)]
    given = brief(fibres, [("a", "d", 1000.0, 1)], site={"b": {"trusted": False}})
    given = given.model_copy(update={"devices": [DeviceSection(name="x", cost=1.0)]})  # no station may stand at b
    candidates, _ = candidates_of(given, only_what_runs=True)
    assert solve(given, candidates).relays == ("c",)


def test_a_fibre_too_long_is_named() -> None:
    given = brief([("a", "b", 900.0)], [("a", "b", 1.0, 1)])
    candidates, notes = candidates_of(given)
    assert candidates == []
    assert "a to b" in notes[0]


def test_more_loss_is_less_key() -> None:
    device = DeviceSection(name="x", cost=1.0)
    rates = [secret_bps(device, loss) for loss in (5.0, 15.0, 25.0, 45.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"fibre": [{"a": "geneva", "b": "atlantis", "length_km": 1.0}]}, "atlantis"),
        ({"fibre": [{"a": "geneva", "b": "geneva", "length_km": 1.0}]}, "both ends"),
        ({"demand": [{"between": ["geneva", "geneva"], "bps": 1.0}]}, "both ends"),
        ({"demand": [{"between": ["geneva", "oz"], "bps": 1.0}]}, "no site"),
        (
            {"site": [{"name": "a"}, {"name": "b"}], "fibre": [], "demand": [{"between": ["a", "b"], "bps": 1}]},
            "latitude",
        ),
    ],
)
def test_impossible_briefs_are_refused(change: dict[str, Any], why: str) -> None:
    data = load_brief(ALPINE).model_dump(by_alias=True, mode="json")
    with pytest.raises(ValueError, match=why):
        Brief.model_validate({**data, **change})


def test_without_fibres_near_sites_may_be_joined() -> None:
    data = load_brief(ALPINE).model_dump(by_alias=True, mode="json")
    given = Brief.model_validate({**data, "fibre": [], "neighbours": 2})
    candidates, _ = candidates_of(given)
    assert ("geneva", "lausanne") in {(one.a, one.b) for one in candidates}
    assert all(one.length_km <= given.reach_km for one in candidates)


def test_the_command_plans_writes_and_says_what_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.toml"
    assert run_command(["plan", str(ALPINE), "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["gap"] <= 0.01
    assert run_command(["audit", str(out)]) == 0
    assert "Five Swiss towns" in capsys.readouterr().out
    assert run_command(["plan", str(tmp_path / "none.toml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "bad.toml").write_text('name = "x"\n[[sight]]\n')
    assert run_command(["plan", str(tmp_path / "bad.toml")]) == 2
    assert "sight" in capsys.readouterr().err
    (tmp_path / "bad.toml").write_text(ALPINE.read_text() + '[[device]]\nname = "d"\ncost = 1.0\nprotocol = "dps"\n')
    assert run_command(["plan", str(tmp_path / "bad.toml")]) == 2
    assert "device 1 (d): protocol is one of: decoy-bb84, bbm92" in capsys.readouterr().err


def test_a_map_is_planned_to_its_gap() -> None:
    given = brief_of_topology(random_topology(40, 3), bps=500.0, pairs=8)
    candidates, _ = candidates_of(given)
    found = solve(given, candidates, time_limit_s=60, gap=0.3)
    assert found.unmet == (0.0,) * len(given.demands)
    assert found.bound <= found.cost <= 1.3 * found.bound + 1e-6


def test_nothing_to_build_is_an_error() -> None:
    given = brief([("a", "b", 600.0)], [("a", "b", 1.0, 1)])
    candidates, _ = candidates_of(given)
    with pytest.raises(InputError, match="nothing can be built"):
        scenario_of_plan(given, solve(given, candidates))
