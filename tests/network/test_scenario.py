"""Scenario files: what is shipped holds, and what is wrong is said with file, place and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from noclone.errors import ScenarioError
from noclone.network.blocks import plan_link
from noclone.network.distillation_section import DistillationSection
from noclone.network.scenario import SHIPPED, load_scenario, schema
from noclone.records import Origin

WITHOUT_KEY = {"boston", "delft", "micius-pairs"}  # as they were published; tests of their own say so


@pytest.mark.parametrize("name", sorted(set(SHIPPED.names()) - WITHOUT_KEY))
def test_shipped_scenarios_give_key(name: str) -> None:
    scenario = load_scenario(name)
    for link in scenario.links:
        plan = plan_link(link)
        assert plan.agreement.length_bits > 0, plan.agreement.reason


@pytest.mark.parametrize("name", SHIPPED.names())
def test_shipped_scenarios_cite_their_sources_and_hold_no_secret(name: str) -> None:
    text = SHIPPED.text(name)
    assert "et al." in text
    assert "secret" not in text
    assert "token" not in text


def test_metro_is_the_published_link() -> None:
    link = load_scenario("metro").links[0]
    assert link.devices().fibre.loss_db == pytest.approx(14.5, abs=0.01)  # Toshiba: 45 km, 14.5 dB
    assert link.fibre.length_km == 45
    assert link.source.clock_hz == 1e9


def test_tokyo_is_the_published_network() -> None:
    scenario = load_scenario("tokyo")
    lengths = {link.name: link.fibre.length_km for link in scenario.links}
    # Sasaki 2011: 45 km twice, 90 km and 24 km there and back, 13 km, 1 km; six nodes
    assert sorted(lengths.values()) == [1.0, 13.0, 24.0, 45.0, 45.0, 90.0]
    assert len(scenario.nodes) == 6
    assert scenario.link("koganei-1-koganei-2").devices().fibre.loss_db == pytest.approx(30, abs=0.01)
    assert scenario.link("koganei-2-otemachi-2").devices().fibre.loss_db == pytest.approx(14.5, abs=0.01)


def test_longhaul_is_the_published_link() -> None:
    link = load_scenario("longhaul").links[0]
    assert link.devices().fibre.loss_db == pytest.approx(71.9, abs=0.01)  # Boaron 2018, Table I
    assert link.fibre.length_km == 421.1
    assert tuple(link.source.intensities) == (0.30, 0.13)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("length_km = 25", "lenght_km = 25", "link 1 (ada-ben), fibre: unknown field 'lenght_km'; did you mean"),
        ("length_km = 25", "length_km = -1", "'length_km': input should be greater than or equal to 0 (given: -1)"),
        ("misalignment = 0.01", "misalignment = 1.5", "'misalignment'"),
        ("efficiency = 0.5", "efficiency = [0.5, 0.5, 0.5]", "efficiency needs 2 numbers"),
        ("efficiency = 0.5", "efficiency = 1.2", "efficiency"),
        ("probabilities = [0.4, 0.6]", "probabilities = [0.4, 0.7]", "add up to 1"),
        ("intensities = [0.40, 0.13]", "intensities = [0.13, 0.40]", "intensities must fall"),
        ("block_key_bits = 200_000", "block_key_bits = 10", "block_key_bits"),
        ('bob = "ben"', 'bob = "bob"', "link 'ada-ben': bob = 'bob' is not one of: ada, ben"),
        ('bob = "ben"', 'bob = "ada"', "has the same node, 'ada', at both ends"),
        ('id = "sae-bea"', 'id = "sae-ben"', "sae 'sae-ben' appears twice"),
        ('name = "small"', 'name = "Small!"', "'name'"),
        ("lab = true", 'lab = false\nattack = [{name = "intercept-resend", on = "ada-ben"}]', "only in a lab"),
    ],
)
def test_mistakes_are_said_where_they_are(
    small_scenario: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = small_scenario.read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert message in caught.value.message
    assert "mine.toml" in caught.value.message
    assert caught.value.exit_code == 2


def test_a_name_that_is_nothing_is_refused_with_what_there_is() -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario("metropolis")
    assert "metro" in caught.value.hint


def test_a_link_that_never_sees_enough_is_refused(small_scenario: Path, tmp_path: Path) -> None:
    path = tmp_path / "far.toml"
    path.write_text(small_scenario.read_text().replace("length_km = 25", "length_km = 2500"))
    plan = plan_link(load_scenario(path).links[0])
    assert plan.agreement.length_bits == 0
    assert plan.agreement.reason


def test_the_schema_describes_the_file() -> None:
    text = json.dumps(schema())
    assert '"length_km"' in text
    assert '"additionalProperties": false' in text
    assert schema()["required"] == ["name", "node"]


def test_addresses_do_not_collide() -> None:
    scenario = load_scenario("metro")
    addresses = [scenario.control_address()]
    addresses += [f(node.name) for node in scenario.nodes for f in (scenario.etsi014_address, scenario.kme_address)]
    addresses += [f(link.name) for link in scenario.links for f in (scenario.light_address, scenario.channel_address)]
    assert len(set(addresses)) == len(addresses)


def test_defaults_fill_in_what_a_link_does_not_say(tmp_path: Path) -> None:
    metro = SHIPPED.text("metro")
    head, fibre, rest = metro.partition("[link.fibre]")
    link, source, settings = head.partition("[link.source]")
    text = (
        link.replace(
            "lab = true",
            f"lab = true\n[defaults.source]{settings}\n[defaults.fibre]\nlength_km = 7.0\nextra_loss_db = 0.5",
        )
        + fibre
        + rest.replace("length_km = 45.0", "length_km = 45.0 # its own")
    )
    path = tmp_path / "metro.toml"
    path.write_text(text)
    filled, plain = load_scenario(path).links[0], load_scenario("metro").links[0]
    assert source
    assert filled.source == plain.source
    assert (filled.fibre.length_km, filled.fibre.extra_loss_db) == (45.0, 0.5)
    path.write_text(text.replace("extra_loss_db", "extra_los_db"))
    with pytest.raises(ScenarioError, match="unknown field 'extra_los_db'; did you mean 'extra_loss_db'"):
        load_scenario(path)


def test_the_method_of_reconciliation_is_the_links_and_brings_its_efficiency() -> None:
    link = load_scenario("metro").links[0]
    assert link.distillation.reconciliation == "cascade"
    cascade = plan_link(link)
    changed = link.distillation.model_copy(update={"reconciliation": "ldpc"})
    ldpc = plan_link(link.model_copy(update={"distillation": changed}))
    assert cascade.job(0, Origin("simulated")).reconciliation == "cascade"
    assert ldpc.job(0, Origin("simulated")).reconciliation == "ldpc"
    leaks = ldpc.agreement.leak_bits_max, cascade.agreement.leak_bits_max
    assert leaks[0] / leaks[1] == pytest.approx(1.3 / 1.12, rel=1e-4)
    stated = plan_link(link.model_copy(update={"distillation": changed.model_copy(update={"efficiency": 1.5})}))
    assert stated.agreement.leak_bits_max / leaks[1] == pytest.approx(1.5 / 1.12, rel=1e-4)


def test_the_family_of_hashes_is_the_links_and_bounds_its_blocks() -> None:
    link = load_scenario("metro").links[0]
    assert plan_link(link).job(0, Origin("simulated")).amplification == "reed-solomon-1"
    toeplitz = DistillationSection(amplification="binary-toeplitz", block_key_bits=1_000_000)
    plan = plan_link(link.model_copy(update={"distillation": toeplitz}))
    assert plan.job(0, Origin("simulated")).amplification == "binary-toeplitz"
    with pytest.raises(ValueError, match="binary-toeplitz takes blocks of 400000000 key bits at most"):
        DistillationSection(amplification="binary-toeplitz", block_key_bits=500_000_000)
