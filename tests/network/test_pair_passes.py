"""Pairs from a satellite as a link: against what was published, against closed forms, and who need not be trusted."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest

from noclone import rng
from noclone.audit.audit import audit
from noclone.errors import InputError, ScenarioError
from noclone.events import EventLog
from noclone.link.passing import PassLight
from noclone.link.satellite import Downlink, Pass
from noclone.network.blocks import LinkPlan, plan_link
from noclone.network.satellite_pass import geometry, losses_db
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.simulate import run
from noclone.proofs.entangled import PairSource
from noclone.redteam.attacks import resolve

FLAT = """
name = "net"
base_port = {port}
lab = true
node = [{{ name = "west" }}, {{ name = "east" }}]
sae = [{{ id = "sae-west", node = "west" }}, {{ id = "sae-east", node = "east" }}]
[[link]]
name = "west-east"
alice = "west"
bob = "east"
protocol = "bbm92"
[link.pairs]
clock_hz = 1e7
mean_pairs = 0.02
statistics = "poisson"
[link.pass]
altitude_km = 500
highest_deg = 85
lowest_deg = 60
step_s = 5
downlink = {{ divergence_urad = 10, aperture_m = 2.0, pointing_urad = 0.6, zenith_db = 2.0, fixed_db = 2.0 }}
[link.receiver]
scheme = "passive"
p_key = 0.5
efficiency = 0.6
dark_count_hz = 100
gate_ps = 2500
misalignment = 0.01
[link.distillation]
eps_secrecy = 1e-6
"""
ORBIT = """altitude_km = 500
highest_deg = 85
lowest_deg = 60"""
SIGMAS = 5.5  # of each comparison: 4e-8
HAS_SKYFIELD = importlib.util.find_spec("skyfield") is not None


def scenario(folder: Path, port: int = 9440, **changes: str) -> Scenario:
    text = FLAT.format(port=port)
    for old, new in changes.items():
        old = {"ORBIT": ORBIT}.get(old, old)
        assert old in text
        text = text.replace(old, new)
    path = folder / "net.toml"
    path.write_text(text, encoding="utf-8")
    return load_scenario(path)


def sifted(plan: LinkPlan) -> tuple[float, float]:
    counts = plan.expected
    total = sum(counts.n_key) + sum(counts.n_test)
    return total, (sum(counts.m_key) + sum(counts.m_test)) / total


@pytest.mark.skipif(not HAS_SKYFIELD, reason="orbits need Skyfield")
def test_micius_pairs_are_as_published() -> None:
    """Yin et al., Nature 582, 501 (2020): one number is fitted to the sifted bits a second, one to the errors."""
    plan = plan_link(load_scenario("micius-pairs").links[0])
    light, over = plan.light, plan.overpass
    assert isinstance(light, PassLight)
    assert over is not None
    assert (over.passes, over.stations) == (13, 2)
    assert over.seconds == pytest.approx(3_100, rel=0.03)  # 372 bits at 0.12 b/s
    assert over.losses_db == pytest.approx((56.0, 71.0), abs=1.5)  # both arms together, best and worst
    bits, errors = sifted(plan)
    assert bits / over.seconds == pytest.approx(1.1, abs=0.05)
    assert errors == pytest.approx(0.0451, abs=0.002)
    # What is fitted to neither: signal to noise, 15 to 1. Without darkness and sky, pairs alone are left.
    devices = [one.devices for one in light.stretches]
    source = [d.source.mean_pairs * d.clock_hz * 10 ** (-d.loss_db / 10) * 0.25 for d in devices]
    signal = sum(one.n_slots / light.clock_hz * rate / 2 for one, rate in zip(light.stretches, source, strict=True))
    assert signal / (bits - signal) == pytest.approx(15, rel=0.2)
    assert plan.agreement.length_bits == 0  # a declared miss: see the gallery
    assert "the expected counts would give -" in plan.agreement.reason
    assert plan.link.length_km == pytest.approx(1000)


def test_a_pass_gives_what_closed_forms_say_second_by_second(tmp_path: Path) -> None:
    """Ma, Fung, Lo 2007 for each step, by hand: pairs of one mode are those of many where they are few."""
    plan = plan_link(
        scenario(tmp_path, **{'"poisson"': '"thermal"', "mean_pairs = 0.02": "mean_pairs = 0.002"}).links[0]
    )
    seen = geometry(Pass(500.0, 85.0, 60.0), 5.0)
    number = wrong = 0.0
    for loss_db in losses_db(seen, Downlink(10.0, 2.0, 0.6, 2.0, 2.0)):
        eta = 10 ** (-loss_db / 10) * 0.6
        # 1.98e4 photons of a dark night's sky reach the detectors a second, behind 3 dB of optics; 60 % are counted,
        # and a gate of 2.5 ns in windows of 100 ns lets a fortieth of them through
        dark = (400 + 0.6 * 1.98e4) / 1e7 / 40
        window = PairSource(0.002, eta, eta, dark, dark, 0.0198)
        number += window.gain() * seen.step_s * 1e7 / 2
        wrong += window.gain() * window.error_rate() * seen.step_s * 1e7 / 2
    bits, errors = sifted(plan)
    assert plan.overpass is not None
    assert plan.overpass.seconds == pytest.approx(Pass(500.0, 85.0, 60.0).duration_s)
    assert bits == pytest.approx(number, rel=0.03)  # losses are rounded up, by 0.05 dB in each arm
    assert bits < number
    assert errors == pytest.approx(wrong / number, rel=0.03)


def test_a_sampled_pass_gives_key_and_what_was_expected(tmp_path: Path) -> None:
    network, log = scenario(tmp_path), EventLog()
    plan = plan_link(network.links[0])
    found = run(network, log, seed=rng.seed_from_int(3), seeded=True, blocks=1, resolve=resolve)
    (event,) = [event for event in log if event.kind == "block.distilled"]
    assert found.links[0].secret_bits > 1_000
    counts = event.data["counts"]
    for name in ("n_key", "n_test", "m_test"):
        for seen, mean in zip(counts[name], getattr(plan.expected, name), strict=True):
            assert abs(seen - mean) < SIGMAS * math.sqrt(mean) + 1
    assert not [event for event in log if event.kind == "alarm.raised"]
    (sent,) = [event for event in log if event.kind == "light.sent"]
    assert sent.data["pass"]["stations"] == 2
    assert found.links[0].published["sifted_bps"] == pytest.approx(sifted(plan)[0] / plan.seconds_per_block, rel=0.05)


def test_several_passes_make_one_block(tmp_path: Path) -> None:
    one = plan_link(scenario(tmp_path).links[0])
    three = plan_link(scenario(tmp_path, **{"step_s = 5": "step_s = 5\npasses_per_block = 3"}).links[0])
    assert one.overpass is not None
    assert three.overpass is not None
    assert (three.overpass.passes, three.n_slots) == (3, pytest.approx(3 * one.n_slots, abs=2))
    assert three.overpass.losses_db == one.overpass.losses_db
    assert sifted(three)[0] == pytest.approx(3 * sifted(one)[0])
    assert three.agreement.length_bits > 3 * one.agreement.length_bits  # statistics cost less


def test_a_satellite_that_sends_no_entanglement_gets_no_key(tmp_path: Path) -> None:
    attack = '[[attack]]\nname = "separable-source"\non = "west-east"\n'
    network = scenario(tmp_path, **{"[[link]]": attack + "[[link]]"})
    log = EventLog()
    found = run(network, log, seed=rng.seed_from_int(4), seeded=True, blocks=1, resolve=resolve)
    events = {event.kind: event.data for event in log}
    assert events["block.aborted"]["reason"] == "qber-too-high"
    assert events["block.aborted"]["qber"] == pytest.approx(0.5, abs=0.02)
    learned = events["eve.learned"]
    assert learned["per_sifted_bit"] > 0.9  # dark counts apart, which nobody knows
    assert learned["sifted_bits"] == pytest.approx(sum(plan_link(network.links[0]).expected.n_key), rel=0.1)
    assert found.links[0].secret_bits == 0
    with pytest.raises(InputError, match="nothing to attack on a link of bbm92"):
        resolve("measuring-repeater", 1.0, plan_link(network.links[0]).light)


def test_the_audit_says_that_nobody_has_to_trust_the_satellite(tmp_path: Path) -> None:
    found = audit(scenario(tmp_path))
    (demand,) = found.scene.demands
    assert (demand.routes, demand.nodes_alone) == ((("west", "east"),), ())
    text = "\n".join(found.lines())
    assert "west-east (bbm92 from a satellite) trusts both stations' detectors, and not the satellite" in text
    assert "it can stop the link and learns nothing of its keys, whoever holds it" in text


def test_stations_get_keys_that_no_node_between_knows(tmp_path: Path, free_ports: Any, fetch_keys: Any) -> None:
    got, same = fetch_keys(scenario(tmp_path, free_ports()), resolve)
    assert [key.value for key in got.keys] == [key.value for key in same.keys]
    assert "noclone_nodes" not in got.keys[0].extension
    assert "node:" not in str(got.keys[0].extension["noclone_leaks"])
    assert got.keys[0].extension["noclone_origin"] == "simulated"


STATIONS = (
    "\nstation = { latitude_deg = 40, longitude_deg = 10 }\nstation_alice = { latitude_deg = 40, longitude_deg = 20 }"
)
CIRCLE = (
    "start = 2026-11-01T00:00:00Z\nsatellite = { altitude_km = 500, inclination_deg = 97.4, node_local_time_h = 0.3 }"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ORBIT", CIRCLE + "\nstation = { latitude_deg = 40, longitude_deg = 10 }", "needs station_alice"),
        (
            "highest_deg = 85",
            "highest_deg = 85\nstation_alice = { latitude_deg = 40, longitude_deg = 20 }",
            "needs either",
        ),
        (
            "[link.receiver]",
            "[link.fibre]\nlength_km = 5\n[link.receiver]",
            r"bbm92 from a satellite has no \[link.fibre\]",
        ),
        ('[link.pairs]\nclock_hz = 1e7\nmean_pairs = 0.02\nstatistics = "poisson"', "", r"needs \[link.pairs\]"),
        ("step_s = 5", "step_s = 5\npasses_per_block = 0", "passes_per_block"),
        ('statistics = "poisson"', 'statistics = "poisson"\np_chsh = 0.1', "receivers that choose their bases"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        scenario(tmp_path, **{old: new})


def test_alice_who_is_the_satellite_has_no_station(tmp_path: Path) -> None:
    text = load_scenario("jinan1").model_dump_json(by_alias=True)
    station = Scenario.model_validate_json(text).links[0].passes
    assert station is not None
    with pytest.raises(InputError, match="station_alice for bbm92 only"):
        station.model_copy(update={"station_alice": station.station}).check_ends(both=False)


@pytest.mark.skipif(not HAS_SKYFIELD, reason="orbits need Skyfield")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (STATIONS.replace("longitude_deg = 20", "longitude_deg = -170"), "over both stations at once within 24 hours"),
        (STATIONS + "\nsun_below_deg = -89", "never to 0 degrees with the Sun below -89 degrees"),
        (STATIONS + "\nrises_to_deg = 89", "never to 89 degrees"),
    ],
)
def test_passes_that_never_are_end_in_words(tmp_path: Path, changed: str, message: str) -> None:
    network = scenario(tmp_path, ORBIT=CIRCLE + changed)
    with pytest.raises(ScenarioError, match=message):
        plan_link(network.links[0])


def test_defaults_reach_links_of_pairs_too(tmp_path: Path) -> None:
    text = FLAT.format(port=9440)
    section = text[text.index("[link.pass]") : text.index("[link.receiver]")]
    path = tmp_path / "defaults.toml"
    path.write_text(text.replace(section, "") + section.replace("[link.pass]", "[defaults.pass]"), encoding="utf-8")
    with pytest.raises(
        ScenarioError, match=r"needs \[link.fibre\]"
    ):  # as of any link: it has to say that it has passes
        load_scenario(path)
    path.write_text(path.read_text().replace("[link.pairs]", "pass = {}\n[link.pairs]"), encoding="utf-8")
    assert load_scenario(path).links[0].passes == scenario(tmp_path).links[0].passes
