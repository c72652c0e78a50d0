"""What a plan can choose beside fibre and BB84: stations, satellites, vendors' equipment; and policies on demands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noclone.cli.main import run_command
from noclone.network.scenario import load_scenario
from noclone.plan.candidates import candidates_of
from noclone.plan.devices import CATALOGUE
from noclone.plan.rates import secret_bps
from noclone.plan.sites import Brief, PlanError
from noclone.plan.solver import Solution, solve
from noclone.plan.writing import scenario_of_plan
from noclone.proofs.capacity import one_node_bound, repeaterless_bound

LONG_HAUL = Path(__file__).parents[2] / "examples" / "long-haul.toml"
BB84 = {"name": "bb84", "cost": 100.0, "efficiency": 0.8, "dark_count_hz": 50.0}
TWIN = {"name": "twin", "protocol": "twin-field", "cost": 300.0, "efficiency": 0.8, "dark_count_hz": 10.0}


def brief(**tables: Any) -> Brief:
    """Sites a to e without coordinates; `site` changes some."""
    site = tables.pop("site", {})
    return Brief.model_validate({"name": "test", "site": [{"name": n, **site.get(n, {})} for n in "abcde"], **tables})


def fibre(ends: str, km: float, **more: Any) -> dict[str, Any]:
    return {"a": ends[0], "b": ends[1], "length_km": km, **more}


def demand(ends: str, bps: float = 100.0, **more: Any) -> dict[str, Any]:
    return {"between": list(ends), "bps": bps, **more}


def planned(given: Brief) -> Solution:
    return solve(given, candidates_of(given)[0], gap=0.0)


@pytest.mark.parametrize("device", CATALOGUE, ids=lambda device: device.name)
def test_no_device_beats_what_physics_allows(device: Any) -> None:
    rates = []
    for loss_db in (2.0, 20.0, 60.0):
        eta = 10 ** (-loss_db / 10)
        whole = device.protocol in ("decoy-bb84", "cv")
        rate = secret_bps(device, loss_db) if whole else secret_bps(device, loss_db / 2, loss_db / 2)
        bound = one_node_bound(eta) if device.protocol in ("twin-field", "sns") else repeaterless_bound(eta)
        assert rate <= device.clock_hz * bound
        rates.append(rate)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0


def test_twin_fields_reach_where_nothing_else_does() -> None:
    rates = {d.protocol: secret_bps(d, 40.0, 40.0) for d in CATALOGUE if d.protocol in ("mdi", "twin-field", "bbm92")}
    assert rates["twin-field"] > 1e9 * repeaterless_bound(10**-8.0), "above the bound without a station"
    assert rates["mdi"] < rates["twin-field"]


def test_a_station_stands_where_nobody_is_trusted() -> None:
    fibres = [fibre("ab", 90.0), fibre("bc", 90.0)]
    given = brief(fibre=fibres, demand=[demand("ac")], device=[BB84, TWIN], site={"b": {"trusted": False}})
    found = planned(given)
    (link,) = found.built
    assert (link.a, link.b, link.middle, link.protocol) == ("a", "c", "b", "twin-field")
    assert found.relays == ()
    assert found.cost == 300.0 + 20.0, "the devices and the place of the station"


def test_a_trusted_node_is_taken_where_it_is_cheaper() -> None:
    fibres = [fibre("ab", 90.0), fibre("bc", 90.0)]
    given = brief(fibre=fibres, demand=[demand("ac")], device=[BB84, TWIN], site={"b": {"station": True, "cost": 50.0}})
    found = planned(given)
    assert found.relays == ("b",)
    assert found.cost == 2 * 100.0 + 50.0


def test_a_hut_takes_a_station() -> None:
    long = [fibre("ab", 400.0, hut_km=180.0)]
    given = brief(fibre=long, demand=[demand("ab")], device=[BB84, TWIN])
    (link,) = planned(given).built
    assert link.middle == "a hut"
    assert link.span is not None
    assert link.span.lengths_km == (180.0, 220.0)
    assert planned(brief(fibre=[fibre("ab", 400.0)], demand=[demand("ab")], device=[BB84, TWIN])).unmet == (1.0,)


def test_a_hut_beyond_its_fibre_is_refused() -> None:
    with pytest.raises(PlanError, match="hut_km = 50 lies beyond its 40"):
        candidates_of(brief(fibre=[fibre("ab", 40.0, hut_km=50.0)], demand=[demand("ab")]))


def test_a_fibre_carries_no_more_links_than_it_takes() -> None:
    demands = [demand("ac", max_relays=0), demand("ad", max_relays=0)]
    fibres = [fibre("ab", 60.0), fibre("bc", 60.0), fibre("bd", 60.0)]
    site = {"b": {"trusted": False}}
    given = brief(fibre=fibres, demand=demands, device=[TWIN], site=site)
    assert sorted(planned(given).unmet) == [0.0, 1.0]
    fibres[0]["systems"] = 2
    assert planned(brief(fibre=fibres, demand=demands, device=[TWIN], site=site)).unmet == (0.0, 0.0)


def test_few_relays_and_sites_to_avoid() -> None:
    fibres = [fibre("ab", 40.0), fibre("bc", 40.0), fibre("cd", 40.0), fibre("ae", 70.0), fibre("ed", 70.0)]
    site = {"e": {"cost": 500.0}}
    base = {"fibre": fibres, "device": [BB84], "site": site}
    assert planned(brief(demand=[demand("ad")], **base)).relays == ("b", "c")
    assert planned(brief(demand=[demand("ad", max_relays=1)], **base)).relays == ("e",)
    assert planned(brief(demand=[demand("ad", avoid=["c"])], **base)).relays == ("e",)
    assert planned(brief(demand=[demand("ad", max_relays=0)], **base)).unmet == (1.0,)


def test_what_is_there_is_used_first() -> None:
    there = {"a": "b", "b": "a", "vendor": "Acme", "bps": 500.0, "epsilon": 1e-10}
    base = {"fibre": [fibre("ab", 40.0)], "device": [BB84], "vendor": [there]}
    assert planned(brief(demand=[demand("ab", 400.0)], **base)).cost == 0.0
    found = planned(brief(demand=[demand("ab", 600.0)], **base))
    assert [one.protocol for one in found.built] == ["decoy-bb84"], "two sites have one link"


def test_a_satellite_joins_what_no_fibre_joins() -> None:
    satellite = {
        "name": "leo",
        "cost": 1000.0,
        "ground_station_cost": 100.0,
        "stations": ["a", "b", "c"],
        "passes_per_day": 2.0,
    }
    given = brief(satellite=[satellite], demand=[{"between": ["a", "b"], "keys_per_s": 0.001}])
    found = planned(given)
    assert found.relays == ("leo",)
    assert found.cost == 1200.0
    assert found.used_bps == pytest.approx((0.256, 0.256))
    twice = given.model_copy(update={"satellites": [given.satellites[0].model_copy(update={"passes_per_day": 4.0})]})
    assert candidates_of(twice)[0][0].bps == pytest.approx(2 * candidates_of(given)[0][0].bps)


def test_keys_a_second_are_bits_a_second() -> None:
    told = brief(fibre=[fibre("ab", 10.0)], demand=[{"between": ["a", "b"], "keys_per_s": 2.0, "key_bits": 128}])
    assert told.demands[0].rate_bps == 256.0
    assert told.demands[0].times(3.0).rate_bps == 768.0


def test_what_is_there_and_what_is_stated_become_vendors_links(tmp_path: Path) -> None:
    out = tmp_path / "net.toml"
    assert run_command(["plan", str(LONG_HAUL), "-o", str(out)]) == 0
    scenario = load_scenario(out)
    assert [link.vendor for link in scenario.vendor_links] == ["Acme QKD, serial 7"]
    assert {link.alice for link in scenario.links} == {"frankfurt", "leo"}
    (policy,) = scenario.policies
    assert policy.max_nodes_knowing == 0
    assert run_command(["plan", str(LONG_HAUL), "--only-what-runs"]) == 1, "and what is there already is no such"
    stated = {"name": "stated", "protocol": "cv", "cost": 1.0, "beta": 0.95}
    given = brief(fibre=[fibre("ab", 20.0)], demand=[demand("ab", max_relays=0)], device=[stated])
    text = scenario_of_plan(given, planned(given))
    assert "planning only" in text
    assert "# [[policy]]" in text, "no policy holds over equipment that states no epsilon"
    given = brief(fibre=[fibre("ab", 20.0)], demand=[demand("ab", max_relays=0)], device=[{**stated, "epsilon": 1e-9}])
    out.write_text(scenario_of_plan(given, planned(given)))
    scenario = load_scenario(out)
    assert scenario.vendor_links[0].epsilon == 1e-9
    assert scenario.policies[0].max_nodes_knowing == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"demand": [{"between": ["a", "b"]}]}, "either bps or keys_per_s"),
        ({"demand": [demand("ab", max_relays=1, disjoint_paths=2)]}, "either disjoint_paths or max_relays"),
        ({"demand": [demand("ab"), demand("ba")]}, "make them one"),
        ({"demand": [demand("ab", avoid=["x"])]}, "avoids 'x'"),
        ({"device": [{"name": "x", "cost": 1.0, "protocol": "magic"}]}, "protocol is one of"),
        ({"device": [BB84, BB84]}, "two devices"),
        ({"vendor": [{"a": "a", "b": "x", "vendor": "V", "bps": 1.0}]}, "no site"),
        (
            {
                "satellite": [
                    {
                        "name": "s",
                        "cost": 1.0,
                        "ground_station_cost": 1.0,
                        "stations": ["a", "x"],
                        "passes_per_day": 1.0,
                    }
                ]
            },
            "station at 'x'",
        ),
    ],
)
def test_impossible_wishes_are_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        brief(**{"fibre": [fibre("ab", 10.0)], "demand": [demand("ab")], **change})
