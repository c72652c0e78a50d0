"""What is planned is what `noclone run` makes: each protocol's link, over fibres, a satellite, repeaters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from noclone.cli.main import run_command
from noclone.network.blocks import plan_link
from noclone.network.scenario import load_scenario
from noclone.plan.candidates import candidates_of
from noclone.plan.links import climb
from noclone.plan.rates import COARSE_DB
from noclone.plan.report import render
from noclone.plan.sites import Brief
from noclone.plan.solver import Solution, solve
from noclone.plan.table import Plan
from noclone.plan.writing import scenario_of_plan, toml_value

GOOD = {"name": "x", "cost": 100.0, "efficiency": 0.8, "dark_count_hz": 50.0, "block_key_bits": 1_000_000}
COHERENT = {"name": "x", "cost": 100.0, "block_key_bits": 2_000_000}
MEMORIES = {
    "name": "memories",
    "protocol": "repeater",
    "cost": 200.0,
    "node_cost": 150.0,
    "link_cost": 40.0,
    "devices": {"scheme": "two-clicks", "modes": 100},
    "memory": {"dephasing_s": 1.0},
    "rules": {"cutoff_s": 0.05},
    "block_pairs": 60_000,
}
LEO = {"name": "leo", "cost": 1000.0, "ground_station_cost": 100.0, "stations": ["a", "b"], "passes_per_day": 2.0}
FIBRES: dict[str, dict[str, Any]] = {
    "decoy-bb84": {"length_km": 51.3},
    "bbm92": {"length_km": 26.1},
    "bbm92 over a hut": {"length_km": 41.0, "hut_km": 14.3},
    "mdi": {"length_km": 21.0, "hut_km": 6.3},
    "twin-field": {"length_km": 103.0, "hut_km": 44.0},
    "sns": {"length_km": 101.0, "hut_km": 50.3},
    "cv": {"length_km": 5.1},
}


def one_fibre(kind: str, **device: Any) -> Brief:
    return Brief.model_validate(
        {
            "name": "test",
            "site": [{"name": "a"}, {"name": "b"}],
            "fibre": [{"a": "a", "b": "b", **FIBRES[kind]}],
            "demand": [{"between": ["a", "b"], "bps": 10.0}],
            "device": [{**(COHERENT if kind == "cv" else GOOD), "protocol": kind.split()[0], **device}],
        }
    )


def chain(**more: Any) -> Brief:
    """Two ends, 100 km apart, and a site between where nobody is trusted."""
    return Brief.model_validate(
        {
            "name": "chain",
            "site": [{"name": "a"}, {"name": "b"}, {"name": "m", "trusted": False}],
            "fibre": [{"a": "a", "b": "m", "length_km": 50.0}, {"a": "m", "b": "b", "length_km": 50.0}],
            "demand": [{"between": ["a", "b"], "bps": 5.0, "max_relays": 0}],
            "device": [MEMORIES],
        }
        | more
    )


def written(given: Brief, path: Path, *, middle: str = "", **options: Any) -> Solution:
    candidates = [one for one in candidates_of(given, **options)[0] if middle in one.middle]
    found = solve(given, candidates, gap=0.0)
    assert found.unmet == (0.0,)
    path.write_text(scenario_of_plan(given, found))
    return found


@pytest.mark.parametrize("kind", FIBRES)
def test_a_planned_link_promises_what_the_plan_does(kind: str, tmp_path: Path) -> None:
    """Losses are rounded up, by half a decibel in each arm at most: the link gives no less, and little more."""
    out = tmp_path / "net.toml"
    middle = "a hut" if "hut_km" in FIBRES[kind] else ""
    (planned,) = written(one_fibre(kind), out, middle=middle, only_what_runs=True).built
    (link,) = load_scenario(out).links
    assert link.protocol == kind.split()[0]
    assert planned.middle == middle
    plan = plan_link(link)
    rate = plan.agreement.length_bits / plan.seconds_per_block
    # Key falls faster than light where blocks are small or noise is near: half as much again.
    most = 1.5 * 10 ** (0.1 * COARSE_DB * (2 if middle else 1))
    assert planned.bps <= rate <= most * planned.bps


def test_on_the_planners_grid_the_two_are_equal(tmp_path: Path) -> None:
    given = one_fibre("twin-field")
    (wide,) = given.fibres
    given = given.model_copy(update={"fibres": [wide.model_copy(update={"length_km": 100.0, "hut_km": 40.0})]})
    (planned,) = written(given, tmp_path / "net.toml").built
    plan = plan_link(load_scenario(tmp_path / "net.toml").links[0])
    assert plan.agreement.length_bits / plan.seconds_per_block == pytest.approx(planned.bps, rel=1e-3)


@pytest.mark.parametrize("kind", ["bbm92", "mdi", "twin-field", "sns"])
def test_run_makes_the_key_that_was_planned(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.toml"
    (planned,) = written(one_fibre(kind, block_key_bits=1_000_000 if kind in ("mdi", "sns") else 200_000), out).built
    assert run_command(["run", str(out), "--blocks", "1", "--seed", "1", "--output", str(tmp_path), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    (link,) = told["links"]
    events = [json.loads(line) for line in (Path(told["folder"]) / "events.jsonl").read_text().splitlines()]
    (block,) = [event for event in events if event["kind"] == "block.distilled"]
    # Part of the first block fills the reserve that authenticates the next ones.
    made = (block["secret_bits"] + block["refill_bits"]) / link["light_s"]
    assert 0.999 * planned.bps <= made <= 1.4 * planned.bps


def test_repeaters_join_what_nobody_may_relay(tmp_path: Path) -> None:
    given = chain()
    found = written(given, tmp_path / "net.toml")
    (planned,) = found.built
    assert found.relays == ()
    assert found.cost == 200.0 + 150.0 + 2 * 40.0 + given.costs.station
    (link,) = load_scenario(tmp_path / "net.toml").links
    assert link.repeaters == ["m"]
    plan = plan_link(link)
    assert plan.agreement.length_bits / plan.seconds_per_block == pytest.approx(planned.bps, rel=1e-6)
    half = chain(device=[{**MEMORIES, "counted": 0.5}])
    assert candidates_of(half)[0][0].bps == pytest.approx(planned.bps / 2)


def test_the_report_draws_a_chain_over_its_stations(tmp_path: Path) -> None:
    given = chain()
    page = render(Plan(given, written(given, tmp_path / "net.toml"), [""], []))
    assert page.count('class="link"') == 2, "two links of one chain"
    assert "memories (repeater over m)" in page


def test_repeaters_stand_where_stations_may(tmp_path: Path) -> None:
    trusted = chain(site=[{"name": "a"}, {"name": "b"}, {"name": "m"}])
    assert candidates_of(trusted)[0] == [], "no station there, and a trusted node has no device"
    hut = chain(fibre=[{"a": "a", "b": "b", "length_km": 100.0, "hut_km": 40.0}])
    (planned,) = written(hut, tmp_path / "net.toml").built
    assert planned.middle == "hut-1"
    (link,) = load_scenario(tmp_path / "net.toml").links
    assert link.repeaters == ["hut-1"]
    lossy = chain(fibre=[{"a": "a", "b": "b", "length_km": 100.0, "loss_db": 30.0, "hut_km": 40.0}])
    assert 0 < candidates_of(lossy)[0][0].bps < planned.bps


def test_a_satellites_passes_are_blocks(tmp_path: Path) -> None:
    given = Brief.model_validate(
        {
            "name": "passes",
            "site": [{"name": "a"}, {"name": "b"}],
            "satellite": [LEO],
            "demand": [{"between": ["a", "b"], "bps": 0.2}],
        }
    )
    found = written(given, tmp_path / "net.toml", only_what_runs=True)
    links = load_scenario(tmp_path / "net.toml").links
    assert [link.alice for link in links] == ["leo", "leo"]
    for planned, link in zip(found.built, links, strict=True):
        plan = plan_link(link)
        assert planned.bps == pytest.approx(2.0 * plan.agreement.length_bits / 86_400.0)
        assert planned.loss_db == pytest.approx(plan.overpass.losses_db[0] if plan.overpass else None)


def test_a_climb_finds_a_hill() -> None:
    top = climb(lambda at: -((at[0] - 3.0) ** 2) - (at[1] - 0.1) ** 2, (1.0, 1.0))
    assert top == pytest.approx((3.0, 0.1), rel=0.3)
    assert climb(lambda at: 1.0, ()) == ()


def test_values_are_written_as_toml() -> None:
    import tomllib

    value = {"a": 1e-06, "b": [1, 2.5, True], "c": {"d": "say so"}, "e": 20_000_000}
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value
