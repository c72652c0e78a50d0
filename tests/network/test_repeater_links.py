"""Links over repeaters in a scenario: key by the ordinary journey, and no node between to trust."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from noclone import rng
from noclone.audit.audit import audit
from noclone.cli.main import run_command
from noclone.errors import ScenarioError
from noclone.events import EventLog
from noclone.network.blocks import plan_link
from noclone.network.folder import read_run
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.simulate import run
from noclone.proofs.capacity import chain_bound
from noclone.repeater.brief import load_repeaters
from noclone.repeater.expected import expected_pairs
from tests.network.serving import first_blocks

CHAIN = """
name = "net"
base_port = 9440
node = [{ name = "a" }, { name = "b" }]
sae = [{ id = "sae-a", node = "a" }, { id = "sae-b", node = "b" }]
[[link]]
name = "a-b"
alice = "a"
bob = "b"
protocol = "bbm92"
distillation = { block_key_bits = 20_000, eps_secrecy = 1e-6, eps_correctness = 1e-9 }
[link.repeater]
p_key = 0.7
devices = { emission = 0.6, dark = 1e-7, visibility = 0.98, modes = 20 }
memory = { dephasing_s = 2.0 }
rules = { swap_quality = 0.99, cutoff_s = 0.05 }
link = [
  { between = ["a", "x"], length_km = 25 },
  { between = ["x", "y"], length_km = 20 },
  { between = ["y", "b"], length_km = 25 },
]
origins = { "devices.emission" = "assumed: for this test", "memory.dephasing_s" = "assumed: too" }
"""
SIGMAS = 6.0
MODES, ROUNDS = 20, 2  # photons at once, and in one attempt


def scenario(folder: Path, text: str = CHAIN, port: int = 9440) -> Scenario:
    path = folder / "net.toml"
    path.write_text(text.replace("base_port = 9440", f"base_port = {port}"), encoding="utf-8")
    return load_scenario(path)


def unresolved(*_: Any) -> Any:
    raise AssertionError("nobody attacks here")


def test_a_run_gives_the_key_that_its_model_promises(tmp_path: Path) -> None:
    network, log = scenario(tmp_path), EventLog()
    plan = plan_link(network.links[0])
    found = run(network, log, seed=rng.seed_from_int(4), seeded=True, blocks=3, resolve=unresolved)
    made = [event for event in log if event.kind == "block.distilled"]
    assert len(made) == 3
    assert 0 < found.links[0].secret_bits <= 3 * plan.agreement.length_bits
    assert made[0].data["provenance"]["protocol"] == "bbm92"
    assert not [event for event in log if event.kind == "alarm.raised"]
    # What the run saw is what the chain promises: pairs a second, and errors of the test basis.
    section = network.links[0].repeater
    assert section is not None
    chain = expected_pairs(section.chain_between("a", "b"))
    summary = found.links[0]
    pairs = chain.rate_hz * summary.light_s
    slack = SIGMAS * math.hypot(math.sqrt(pairs), pairs * chain.rate_error)
    assert abs(summary.detections - pairs) < slack
    rate = chain.pair.error_x
    assert abs(summary.test_errors / summary.test_bits - rate) < SIGMAS * math.sqrt(
        rate * (1 - rate) / summary.test_bits
    )


def test_no_agreed_rate_exceeds_what_the_chain_can_carry(tmp_path: Path) -> None:
    """The capacity of its weakest link's fibre, for every photon that is sent through it (Pirandola 2019)."""
    link = scenario(tmp_path).links[0]
    assert link.repeater is not None
    plan = plan_link(link)
    bps = plan.agreement.length_bits / plan.seconds_per_block
    slowest = max(one.attempt_s for one in link.repeater.chain_between("a", "b").links)
    bound = chain_bound(10 ** (-0.02 * km) for km in (25, 20, 25))
    assert 0 < bps < bound * MODES * ROUNDS / slowest
    assert link.length_km == 70
    assert plan.light.loss_db == pytest.approx(14)


def test_the_audit_names_repeaters_as_what_one_need_not_trust(tmp_path: Path) -> None:
    found = audit(scenario(tmp_path))
    (demand,) = found.scene.demands
    assert "node:" not in str(demand.formula)
    assert {atom.name for atom in demand.atoms} <= {"a", "b", "a-b"}
    text = "\n".join(found.lines())
    assert "none of the repeaters between" in text
    assert "a-b: x, y can stop the link and learn nothing of its keys" in text
    assert "node:x, node:y" in text
    assert "Losing repeater x leaves 1 pair without key" in text
    (known,) = found.what_if(["repeater:x compromised, repeater:y compromised"])
    assert not known.leaking
    lost = found.what_if(["repeater:* down"])
    assert [one.supposition.text for one in lost] == ["repeater:x down", "repeater:y down"]
    assert all(one.isolated and not one.leaking for one in lost)
    data = found.to_json()
    assert data["links"][0]["repeaters"] == ["x", "y"]
    assert data["availability"][0]["repeaters"] == ["x", "y"]


def test_links_that_share_a_repeater_are_lost_together(tmp_path: Path) -> None:
    """Two paths that share no node still share a place: nobody need trust it, and both need it."""
    text = CHAIN.replace('{ name = "b" }', '{ name = "b" }, { name = "m" }')
    shared = text[text.index("[[link]]") :]
    shared = shared.replace('name = "a-b"', 'name = "{0}"').replace('bob = "b"', 'bob = "{2}"')
    shared = shared.replace('alice = "a"', 'alice = "{1}"').replace('"y", "b"', '"y", "{2}"')
    shared = shared.replace('"a", "x"', '"{1}", "x"')
    links = "".join(
        shared.replace("{0}", f"{a}-{b}").replace("{1}", a).replace("{2}", b)
        for a, b in (("a", "b"), ("a", "m"), ("m", "b"))
    )
    relayed = '[[policy]]\nbetween = ["sae-a", "sae-b"]\n'
    network = scenario(tmp_path, relayed.join([text[: text.index("[[link]]")] + links, ""]))
    found = audit(network)
    assert found.scene.isolations[0].repeaters == ("x", "y")
    assert found.what_if(["repeater:x down"])[0].isolated


def test_a_served_link_over_repeaters_gives_both_ends_key(tmp_path: Path, free_ports: Any) -> None:
    made = first_blocks(scenario(tmp_path, port=free_ports()), tmp_path, speed=math.inf)
    assert {event.data["provenance"]["protocol"] for event in made} == {"bbm92"}


@pytest.mark.parametrize(("name", "rate_hz"), [("boston", 0.098), ("delft", 10.0)])
def test_published_pairs_give_no_key_and_the_run_says_why(
    name: str, rate_hz: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["run", name, "--blocks", "1", "--seed", "1", "--output", str(tmp_path), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    (link,) = data["links"]
    assert link["reasons"] == {"no-secret-key": 1}
    (beside,) = data["beside"].values()
    assert beside["pairs_hz"] == pytest.approx(rate_hz, rel=0.1)
    assert beside["error_rate_test"] > beside["no_key_above"] == 0.11
    published = {one["what"]: one for one in beside["published"]}
    if name == "boston":
        assert published["fidelity"]["ours"] == pytest.approx(0.69, abs=0.01)
    else:
        assert published["clocked_rate_hz"]["ours"] == pytest.approx(10.0)
        assert published["clocked_fidelity"]["ours"] > published["clocked_fidelity"]["value"] == 0.5
    assert {one["origin"].split(":")[0] for one in beside["origins"].values()} >= {"published", "assumed"}
    assert read_run(next(tmp_path.iterdir())).scenario.links[0].repeaters == []  # what a run leaves is read again


def test_backbone_is_the_shipped_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One source of truth: the scenario has no numbers of the chain of its own."""
    link = load_scenario("backbone").links[0]
    assert link.repeater is not None
    assert link.repeater.chain_between("frankfurt", "munich") == load_repeaters("backbone").chain()
    assert run_command(["run", "backbone", "--blocks", "1", "--seed", "2", "--output", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "1 of 1 blocks gave key" in text
    assert "nobody has to trust aschaffenburg, wuerzburg, nuremberg, ingolstadt" in text
    assert "s of the network's time" in text
    assert "devices.emission = 0.6: assumed" in text


def test_own_numbers_win_over_shipped_ones_and_lose_their_origins(tmp_path: Path) -> None:
    text = CHAIN[: CHAIN.index("devices =")] + 'shipped = "backbone"\nmemory = { dephasing_s = 3.0 }\n'
    text = text.replace('"a"', '"frankfurt"').replace('"b"', '"munich"')
    section = scenario(tmp_path, text).links[0].repeater
    assert section is not None
    assert section.memory.dephasing_s == 3.0
    assert section.devices.emission == 0.6
    assert "memory.dephasing_s" not in section.origins
    assert "devices.emission" in section.origins
    again = type(section).model_validate(section.model_dump(mode="json"))
    assert again.chain_between("frankfurt", "munich") == section.chain_between("frankfurt", "munich")
    assert again.origins == section.origins


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"y", "b"', '"y", "c"', "no links lead from a to b"),
        ("emission = 0.6", "emision = 0.6", "did you mean 'emission'"),
        ("p_key = 0.7", 'shipped = "nowhere"', "'nowhere' is no shipped file of repeaters; there are: backbone"),
        ("p_key = 0.7", "clock = { period_s = 0.1 }", "a clock is for one link"),
        ("length_km = 20 ", "length_km = 2000 ", "no link"),
        ('protocol = "bbm92"', 'protocol = "mdi"', r"mdi has no \[link.repeater\]"),
        (
            'protocol = "bbm92"',
            'protocol = "bbm92"\nfibre = { length_km = 1 }',
            r"over repeaters has no \[link.fibre\]",
        ),
        ('"assumed: too"', '"guessed"', "begins with published, fitted or assumed"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CHAIN
    with pytest.raises(ScenarioError, match=message):
        scenario(tmp_path, CHAIN.replace(old, new))


def test_attacks_on_light_say_that_they_are_for_others(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="decoy-bb84 links only"):
        _ = plan_link(scenario(tmp_path).links[0]).devices
