"""Other protocols in a scenario: what is wrong is said, what is right runs to a key, by memory and by sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noclone import rng
from noclone.audit.audit import audit
from noclone.audit.verdict import judge
from noclone.errors import ScenarioError
from noclone.events import EventLog
from noclone.network.blocks import plan_link
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.simulate import run
from noclone.proofs.capacity import one_node_bound, repeaterless_bound
from tests.network.serving import first_blocks

HEAD = """
name = "net"
base_port = {port}
node = [{{ name = "a" }}, {{ name = "b" }}]
sae = [{{ id = "sae-a", node = "a" }}, {{ id = "sae-b", node = "b" }}]
[[link]]
name = "a-b"
alice = "a"
bob = "b"
"""
PAIRS = """
protocol = "bbm92"
pairs = { clock_hz = 1e8, mean_pairs = 0.05, p_chsh = 0.2 }
fibre = { length_km = 5 }
fibre_alice = { length_km = 10 }
receiver = { p_key = 0.6, efficiency = 0.8, dark_count_hz = 50.0, misalignment = 0.005 }
distillation = { block_key_bits = 60_000, eps_secrecy = 1e-6, eps_correctness = 1e-9 }
"""
MDI = """
protocol = "mdi"
source = { clock_hz = 1e9, intensities = [0.5, 0.16, 0.0], probabilities = [0.35, 0.5, 0.15], p_key = 0.56 }
fibre = { length_km = 0, extra_loss_db = 0.5 }
fibre_alice = { length_km = 0, extra_loss_db = 0.7 }
station = { efficiency = 0.9, dark_count_hz = 100.0, misalignment = 0.005, visibility = 0.99 }
distillation = { block_key_bits = 1_500_000, eps_secrecy = 1e-4, eps_correctness = 1e-6 }
"""
TWIN = """
protocol = "twin-field"
fibre = { length_km = 40, extra_loss_db = 1.0 }
fibre_alice = { length_km = 50 }
station = { efficiency = 0.9, dark_count_hz = 5.0, misalignment = 0.002, phase_noise_rad = 0.1 }
distillation = { block_key_bits = 1_000_000, eps_secrecy = 1e-6, eps_correctness = 1e-9 }
[link.source]
clock_hz = 1e9
intensities = [0.9, 0.1, 0.0]
probabilities = [0.1, 0.4, 0.5]
p_key = 0.6
key_intensity = 0.025
[link.source_bob]
clock_hz = 1e9
intensities = [0.72, 0.08, 0.0]
probabilities = [0.1, 0.4, 0.5]
p_key = 0.6
key_intensity = 0.02
"""
SNS = (
    TWIN.replace('"twin-field"', '"sns"')
    .replace("[0.9, 0.1, 0.0]", "[0.45, 0.1, 0.0]")
    .replace("[0.72, 0.08, 0.0]", "[0.36, 0.08, 0.0]")
    .replace("[0.1, 0.4, 0.5]", "[0.25, 0.55, 0.2]")
    .replace("= 0.025", "= 0.45")
    .replace("= 0.02\n", "= 0.31\n")
    .replace("1_000_000", "200_000")
)
BB84 = """
[[link]]
name = "b-c"
alice = "b"
bob = "c"
source = { clock_hz = 1e8, intensities = [0.43, 0.15], probabilities = [0.55, 0.45], p_key = 0.8 }
fibre = { length_km = 20 }
receiver = { p_key = 0.8, efficiency = 0.5, dark_count_hz = 10.0, misalignment = 0.01 }
"""


def scenario(folder: Path, link: str, port: int = 9440) -> Scenario:
    path = folder / "net.toml"
    path.write_text(HEAD.format(port=port) + link, encoding="utf-8")
    return load_scenario(path)


def unresolved(*_: Any) -> Any:
    raise AssertionError("nobody attacks here")


@pytest.mark.parametrize(
    ("link", "key_bits"),
    [(PAIRS, 20_000), (MDI, 10_000), (TWIN, 10_000), (SNS, 10_000)],
    ids=["bbm92", "mdi", "twin-field", "sns"],
)
def test_a_run_gives_key(tmp_path: Path, link: str, key_bits: int) -> None:
    network, log = scenario(tmp_path, link), EventLog()
    plan = plan_link(network.links[0])
    assert plan.agreement.length_bits > key_bits, plan.agreement.reason
    found = run(network, log, seed=rng.seed_from_int(4), seeded=True, blocks=1, resolve=unresolved)
    (event,) = [event for event in log if event.kind == "block.distilled"]
    assert found.links[0].aborted == 0
    assert 0 < found.links[0].secret_bits <= plan.agreement.length_bits
    assert event.data["provenance"]["protocol"] == network.links[0].protocol
    counts = event.data["counts"]
    assert sum(counts["n_key"]) == pytest.approx(sum(plan.expected.n_key), rel=0.02)
    assert sum(counts["m_test"]) == pytest.approx(sum(plan.expected.m_test), rel=0.2)
    chsh = event.data["chsh"]
    if network.links[0].protocol == "bbm92":
        assert abs(chsh["value"] - 2.7) < 0.1 + 6 * chsh["standard_error"]
        assert "fair sampling" in chsh["means"]
        assert any(
            "CHSH value 2." in sentence and "no device independence" in sentence for sentence in judge(log).happened
        )
    else:
        assert chsh is None
        assert len(counts["n_key"]) == (12 if network.links[0].protocol == "sns" else 9)
        assert (counts["paired"] is not None) == (network.links[0].protocol == "sns")
    assert not [event for event in log if event.kind == "alarm.raised"]


def test_no_agreed_rate_exceeds_what_a_channel_can_carry(tmp_path: Path) -> None:
    """PLOB per mode, of which a polarisation has two; twin fields keep to that of one node between, as they must."""
    bounds = (repeaterless_bound, repeaterless_bound, one_node_bound, one_node_bound)
    for text, bound in zip((PAIRS, MDI, TWIN, SNS), bounds, strict=True):
        plan = plan_link(scenario(tmp_path, text).links[0])
        eta = 10 ** (-plan.light.loss_db / 10)
        assert 0 < plan.agreement.length_bits / plan.n_slots < 2 * bound(eta)


@pytest.mark.parametrize(
    "link",
    [
        MDI.replace("visibility = 0.99", "visibility = 0.0"),
        TWIN.replace("phase_noise_rad = 0.1", "phase_noise_rad = 1.5"),
        PAIRS.replace("misalignment = 0.005", "misalignment = 0.07"),
        SNS.replace("phase_noise_rad = 0.1", "phase_noise_rad = 1.5"),
    ],
    ids=["mdi", "twin-field", "bbm92", "sns"],
)
def test_without_interference_or_correlation_no_key_is_agreed_on(tmp_path: Path, link: str) -> None:
    """A station that measures each pulse for itself, lasers that drift, a source whose pairs Eve half looked at."""
    plan = plan_link(scenario(tmp_path, link).links[0])
    assert plan.agreement.length_bits == 0
    assert plan.agreement.reason


@pytest.mark.parametrize(("protocol", "link"), [("bbm92", PAIRS), ("sns", SNS)], ids=["bbm92", "sns"])
def test_a_served_link_gives_both_ends_key(tmp_path: Path, free_ports: Any, protocol: str, link: str) -> None:
    """The light process sends each end what it measured, or what it sent: over the same sockets as BB84's."""
    made = first_blocks(scenario(tmp_path, link, free_ports()), tmp_path, speed=1.0)
    assert {event.data["provenance"]["protocol"] for event in made} == {protocol}


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (PAIRS.replace("pairs = ", "pairz = "), "pairz"),
        (PAIRS.replace('"bbm92"', '"mdi"'), r"mdi has no \[link.pairs\]"),
        (PAIRS.replace("pairs = ", "# pairs = "), r"needs \[link.pairs\]"),
        (PAIRS + "station = { visibility = 0.9 }\n", r"bbm92 has no \[link.station\]"),
        (PAIRS.replace('"bbm92"', '"bb84"'), "protocol"),
        (
            PAIRS + "station = { efficiency = 0.9, dark_count_hz = 1.0, misalignment = 0.0 }\n",
            r"has no \[link.station\]",
        ),
        (MDI.replace("[0.5, 0.16, 0.0]", "[0.5, 0.1]").replace("[0.35, 0.5, 0.15]", "[0.5, 0.5]"), None),
        (PAIRS.replace("0.005 }", "0.005, scheme = 'passive' }"), "p_chsh needs"),
        (TWIN.replace("key_intensity = 0.025", ""), "key_intensity"),
        (TWIN.replace("clock_hz = 1e9", "clock_hz = 5e8", 1), "one clock_hz"),
        (MDI.replace("p_key = 0.56", "p_key = 0.56, key_intensity = 0.02"), "key_intensity"),
        (SNS.replace("[0.45, 0.1, 0.0]", "[0.45, 0.1, 0.01]"), "the last of them 0"),
        (SNS.replace('"sns"', '"sns"\npairing = "some"'), "pairing"),
        (TWIN.replace('"twin-field"', '"twin-field"\npairing = "none"'), "pairing is for sns"),
        (PAIRS + "flaws = { mismatch = 0.5 }\n", "decoy-bb84 only"),
        (MDI.replace("eps_secrecy", "proof = 'lim2014', eps_secrecy"), None),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, link: str, message: str | None) -> None:
    if message is not None:
        with pytest.raises(ScenarioError, match=message):
            scenario(tmp_path, link)
        return
    with pytest.raises(Exception, match="is a proof for"):
        plan_link(scenario(tmp_path, link).links[0])


def test_what_works_with_bb84_only_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="decoy-bb84 links only"):
        _ = plan_link(scenario(tmp_path, PAIRS).links[0]).devices


@pytest.mark.parametrize(
    ("link", "spared", "assumed", "words"),
    [
        (PAIRS, ("laser-seeding", "photon-number-splitting"), ("blinding", "trojan-horse"), "no source"),
        (MDI, ("blinding", "dead-time", "efficiency-mismatch", "after-gate"), ("laser-seeding",), "no detector"),
        (TWIN, ("blinding", "dead-time"), ("laser-seeding", "trojan-horse"), "no detector"),
        (SNS, ("blinding", "dead-time"), ("laser-seeding", "trojan-horse"), "no detector"),
    ],
    ids=["bbm92", "mdi", "twin-field", "sns"],
)
def test_the_audit_says_whom_a_protocol_spares_one_to_trust(
    tmp_path: Path, link: str, spared: tuple[str, ...], assumed: tuple[str, ...], words: str
) -> None:
    found = audit(scenario(tmp_path, link))
    status = {finding.threat.name: finding.status for finding in found.findings}
    assert all(status[name] == "countered" for name in spared)
    assert all(status[name] == "assumed" for name in assumed)
    assert words in "\n".join(found.lines())


def test_beside_a_bb84_link_threats_name_the_links_that_they_concern(tmp_path: Path) -> None:
    path = tmp_path / "both.toml"
    path.write_text(HEAD.format(port=9440).replace('{ name = "b" }', '{ name = "b" }, { name = "c" }') + MDI + BB84)
    found = audit(load_scenario(path))
    blinding = next(f for f in found.findings if f.threat.name == "blinding")
    assert (blinding.status, blinding.judgement.where) == ("assumed", ("b-c",))
