"""Satellites as links: sampled passes agree with what is expected, keys are relayed over them, and who is trusted."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noclone import rng
from noclone.audit.audit import audit
from noclone.cli.main import run_command
from noclone.errors import InputError, ScenarioError
from noclone.events import EventLog
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.satellite import Downlink, Pass
from noclone.network.blocks import plan_link
from noclone.network.satellite_pass import key_of_pass
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.simulate import run
from noclone.proofs.epsilon import Epsilons
from noclone.records import DecoyBB84

HEAD = """
name = "net"
base_port = {port}
node = [{{ name = "sat" }}, {{ name = "west" }}, {{ name = "east" }}]
sae = [{{ id = "sae-west", node = "west" }}, {{ id = "sae-east", node = "east" }}]
[relay]
block_bytes = 1024
low_bits = 8192
high_bits = 16384
reserve_bits = 512
[defaults.source]
clock_hz = 2e7
intensities = [0.8, 0.1, 0.0]
probabilities = [0.5, 0.25, 0.25]
p_key = 0.5
[defaults.receiver]
scheme = "passive"
p_key = 0.5
efficiency = 0.5
dark_count_hz = 25
gate_ps = 2000
misalignment = 0.008
[defaults.distillation]
proof = "lim2014"
eps_secrecy = 1e-6
"""
FLAT = """
[defaults.pass]
altitude_km = 500
highest_deg = 85
lowest_deg = 55
step_s = 2
downlink = { divergence_urad = 10, aperture_m = 1.0, pointing_urad = 0.6, zenith_db = 2.0, fixed_db = 4.0, fades = 2 }
[[link]]
name = "sat-west"
alice = "sat"
bob = "west"
pass = {}
"""
BOTH = """
[[link]]
name = "sat-east"
alice = "sat"
bob = "east"
pass = { highest_deg = 80 }
"""
ORBIT = """
[[link]]
name = "sat-west"
alice = "sat"
bob = "west"
[link.pass]
start = 2026-11-01T00:00:00Z
hours = 60
step_s = 5
satellite = { altitude_km = 500, inclination_deg = 97.36, node_local_time_h = 0.3 }
station = { latitude_deg = 40.4, longitude_deg = 117.6 }
downlink = { divergence_urad = 10, aperture_m = 1.0, pointing_urad = 0.6, zenith_db = 2.0, fixed_db = 4.0, fades = 2 }
"""
SIGMAS = 5.5  # of each comparison: 4e-8


def scenario(folder: Path, links: str, port: int = 9440) -> Scenario:
    path = folder / "net.toml"
    path.write_text(HEAD.format(port=port) + links, encoding="utf-8")
    return load_scenario(path)


def unresolved(*_: Any) -> Any:
    raise AssertionError("nobody attacks here")


def test_a_sampled_pass_agrees_with_what_is_expected_of_it(tmp_path: Path) -> None:
    """The same numbers as `noclone satellite` computes for that pass, which knows nothing of scenarios."""
    network, log = scenario(tmp_path, FLAT), EventLog()
    plan = plan_link(network.links[0])
    protocol = DecoyBB84((0.8, 0.1, 0.0), (0.5, 0.25, 0.25), 0.5, 0.5)
    receiver = Receiver("passive", (0.5,) * 4, (25.0,) * 4, gate_ps=2000.0, misalignment=0.008)
    devices = LinkDevices(Source(2e7, protocol), Fibre(0.0, 0.0), receiver)
    downlink = Downlink(10.0, 1.0, 0.6, 2.0, 4.0)
    over = Pass(500.0, 85.0, 55.0)
    alone = key_of_pass(over, downlink, devices, Epsilons(1e-6, 1e-15), proof="lim2014", step_s=2.0)
    assert plan.overpass is not None
    assert plan.overpass.seconds == pytest.approx(over.duration_s)
    assert plan.n_slots == pytest.approx(2e7 * over.duration_s, abs=1)
    # Six cases of pointing there, two here: both have the same mean, and rounding up costs 0.05 dB at most.
    assert sum(plan.expected.n_key) == pytest.approx(alone.sifted_bits, rel=0.012)
    both_bases = sum(plan.expected.n_key) + sum(plan.expected.n_test)
    assert both_bases == pytest.approx(alone.sifted_bits_both_bases, rel=0.012)

    found = run(network, log, seed=rng.seed_from_int(3), seeded=True, blocks=1, resolve=unresolved)
    (event,) = [event for event in log if event.kind == "block.distilled"]
    assert found.links[0].secret_bits > 10_000
    assert (
        abs(found.links[0].best_sifted - both_bases) < SIGMAS * math.sqrt(both_bases) + 1
    )  # what stands beside others
    counts = event.data["counts"]
    for name in ("n_key", "n_test", "m_test"):
        for seen, mean in zip(counts[name], getattr(plan.expected, name), strict=True):
            assert abs(seen - mean) < SIGMAS * math.sqrt(mean) + 1
    assert not [event for event in log if event.kind == "alarm.raised"]
    (sent,) = [event for event in log if event.kind == "light.sent"]
    assert sent.data["pass"]["seconds"] == plan.overpass.seconds
    assert sent.data["pass"]["losses_db"][0] < plan.light.loss_db < sent.data["pass"]["losses_db"][1]
    assert found.links[0].light_s == pytest.approx(over.duration_s)


def test_each_block_is_the_next_pass_and_the_monitors_know(tmp_path: Path) -> None:
    pytest.importorskip("skyfield")
    network, log = scenario(tmp_path, ORBIT), EventLog()
    plan = plan_link(network.links[0])
    starts = [one.overpass.start for one in plan.all if one.overpass is not None]
    assert len(starts) >= 2
    assert starts == sorted(starts)
    assert len({one.expected.n_key for one in plan.all}) == len(starts)
    assert all(one.agreement.length_bits for one in plan.all)  # passes by day are left out
    assert plan.of(len(starts)) == plan
    assert plan.of(1) == plan.later[0]
    assert plan.blocks_per_year == pytest.approx(len(starts) * 8766 / 60)
    found = run(network, log, seed=rng.seed_from_int(3), seeded=True, blocks=2, resolve=unresolved)
    assert found.links[0].aborted == 0
    sent = [event.data["pass"]["start"] for event in log if event.kind == "light.sent"]
    assert sent == starts[:2]
    assert [one.start for one in found.links[0].passes] == starts[:2]
    assert not [event for event in log if event.kind == "alarm.raised"]


def test_stations_share_key_over_a_satellite_that_knows_it(tmp_path: Path, free_ports: Any, fetch_keys: Any) -> None:
    """Through the doors that applications use: ETSI GS QKD 014 at either station."""
    got, same = fetch_keys(scenario(tmp_path, FLAT + BOTH, free_ports()), unresolved)
    assert [key.value for key in got.keys] == [key.value for key in same.keys]
    about = got.keys[0].extension
    assert about["noclone_nodes"] == ["sat"]
    assert "node:sat" in about["noclone_leaks"]
    assert about["noclone_origin"] == "simulated"


def test_the_audit_says_that_the_satellite_has_to_be_trusted(tmp_path: Path) -> None:
    found = audit(scenario(tmp_path, FLAT + BOTH))
    (demand,) = found.scene.demands
    assert demand.formula is not None
    assert demand.nodes_together() == 1
    assert [level.answer for level in found.levels][1] == "no"
    assert "sat" in "\n".join(found.lines())
    assert found.scene.links["sat-west"].length_km == 500
    assert found.scene.links["sat-west"].secret_bps > 0


def test_a_run_shows_passes_and_published_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = '[[published]]\nlink = "sat-west"\nwhat = "{}"\nvalue = 12345\nsource = "Somebody et al."\n'
    scenario(tmp_path, FLAT + "".join(told.format(what) for what in ("key_bps", "key_bits", "sifted_bits")))
    command = ["run", str(tmp_path / "net.toml"), "--blocks", "1", "--seed", "1", "--output", str(tmp_path)]
    assert run_command(command) == 0
    text = capsys.readouterr().out
    assert "pass 90 s, up to 85 degrees" in text
    assert "more bits of key refilled the authentication pool" in text
    assert text.count("published 12\N{NARROW NO-BREAK SPACE}345: Somebody et al.") == 3
    assert run_command([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["published"]
    assert all(row["value"] == 12345 < row["ours"] for row in rows if row["what"] != "key_bps")
    with pytest.raises(ScenarioError, match="published 'key_bps': link = 'x'"):
        scenario(tmp_path, FLAT + told.format("key_bps").replace('"sat-west"', '"x"'))


def test_an_interrupted_run_compares_only_what_it_finished(tmp_path: Path) -> None:
    told = '[[published]]\nlink = "sat-west"\nwhat = "key_bits"\nvalue = 12345\nsource = "Somebody et al."\n'
    network = scenario(tmp_path, FLAT + told)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    found = run(
        network, EventLog(), seed=rng.seed_from_int(3), seeded=True, blocks=9, resolve=unresolved, on_block=stop
    )
    assert found.interrupted
    assert [link.blocks for link in found.links] == [1]
    assert len(found.beside()) == 1
    none = replace(found, links=tuple(replace(link, blocks=0) for link in found.links))
    assert none.beside() == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("highest_deg = 85", "", "either satellite, station and start, or altitude_km and highest_deg"),
        ("highest_deg = 85", "highest_deg = 40", "rises from lowest_deg to highest_deg"),
        ("altitude_km = 500", "altitude_km = 20", "altitude_km"),
        ("divergence_urad = 10", "divergence = 10", "divergence"),
        ("pass = {}", 'protocol = "mdi"\npass = {}', r"mdi has no \[link.pass\]"),
        ("pass = {}", "", r"needs \[link.fibre\]"),
        ("pass = {}", "pass = {}\nfibre = { length_km = 5 }", r"has no \[link.fibre\]"),
        ("pass = {}", "pass = {}\nflaws = { blindable = true }", "flaws"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FLAT
    with pytest.raises(InputError, match=message):
        scenario(tmp_path, FLAT.replace(old, new))


def test_what_cannot_be_is_said_when_it_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_link(scenario(tmp_path, FLAT).links[0])
    with pytest.raises(ScenarioError, match="a satellite's, and this works with decoy-bb84 links only, in fibres"):
        _ = plan.devices
    high = ORBIT.replace("inclination_deg = 97.36", "inclination_deg = 10")
    if importlib.util.find_spec("skyfield") is not None:
        with pytest.raises(ScenarioError, match="does not rise above 15 degrees within 60 hours"):
            plan_link(scenario(tmp_path, high).links[0])
    monkeypatch.setattr("noclone.link.orbit.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="orbits need Skyfield") as caught:
        plan_link(scenario(tmp_path, ORBIT.replace("hours = 60", "hours = 61")).links[0])
    assert "pip install" in caught.value.hint
