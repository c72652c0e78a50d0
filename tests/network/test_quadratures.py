"""Continuous variables in a scenario: runs and served links give key, the audit says whom one trusts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from noclone import rng
from noclone.audit.audit import audit
from noclone.audit.verdict import judge
from noclone.distill.session import distill_block
from noclone.errors import NocloneError, ScenarioError
from noclone.events import EventLog
from noclone.network.blocks import plan_link
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.simulate import run
from noclone.proofs.capacity import repeaterless_bound
from tests.network.serving import first_blocks

LINK = """
name = "net"
base_port = {port}
node = [{{ name = "a" }}, {{ name = "b" }}]
sae = [{{ id = "sae-a", node = "a" }}, {{ id = "sae-b", node = "b" }}]
[[link]]
name = "a-b"
alice = "a"
bob = "b"
protocol = "cv"
modulation = {{ clock_hz = 1e6, variance = 15.0, excess = 0.004 }}
coherent = {{ efficiency = 0.9, electronic = 0.02, detection = "{detection}", p_test = 0.25 }}
fibre = {{ length_km = {length_km} }}
distillation = {{ block_key_bits = 250_000, eps_secrecy = 1e-4, eps_correctness = 1e-9 }}
"""


def text(port: int = 9440, detection: str = "homodyne", length_km: float = 1.0) -> str:
    return LINK.format(port=port, detection=detection, length_km=length_km)


def scenario(folder: Path, link: str) -> Scenario:
    path = folder / "net.toml"
    path.write_text(link, encoding="utf-8")
    return load_scenario(path)


@pytest.fixture
def same_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell the same values in every run: an honest block is refused once in some thousand choices, by design."""
    assert distill_block.__kwdefaults__ is not None
    fixed = lambda n: hashlib.shake_256(b"test").digest(n)  # noqa: E731
    monkeypatch.setitem(distill_block.__kwdefaults__, "entropy", fixed)


def unresolved(*_: Any) -> Any:
    raise NocloneError("nobody attacks here")


def test_a_line_that_is_too_long_is_refused_for_its_noise(tmp_path: Path) -> None:
    link = scenario(tmp_path, text(length_km=40.0)).links[0]
    agreement = plan_link(link).agreement
    assert agreement.length_bits == 0
    assert link.modulation is not None
    assert f"excess noise is {link.modulation.excess:.4f} shot noises at the line's input" in agreement.reason
    assert agreement.reason.endswith("signal to noise 2.1")  # 15 T / (1.02 + 0.004 T), where T is 0.9 after 8 dB
    assert "basis" not in agreement.reason


@pytest.mark.usefixtures("same_choices")
@pytest.mark.parametrize("detection", ["homodyne", "heterodyne"])
def test_a_run_gives_key_and_says_what_it_stands_on(tmp_path: Path, detection: str) -> None:
    more = "700_000" if detection == "heterodyne" else "250_000"  # half the light for each value
    network, log = scenario(tmp_path, text(detection=detection).replace("250_000", more)), EventLog()
    plan = plan_link(network.links[0])
    assert plan.agreement.length_bits > 10_000, plan.agreement.reason
    assert plan.agreement.length_bits / plan.n_slots < repeaterless_bound(10**-0.02)
    found = run(network, log, seed=rng.seed_from_int(4), seeded=True, blocks=2, resolve=unresolved)
    made = [event for event in log if event.kind == "block.distilled"]
    assert (len(made), found.links[0].aborted) == (2, 0)
    assert not [event for event in log if event.kind == "alarm.raised"]
    data = made[-1].data
    assert data["provenance"]["protocol"] == "cv"
    assert data["proof"] == "pirandola2023"
    assert data["qber"] is None
    values = data["quadratures"]
    assert 0.8 < values["efficiency"] < 1
    assert values["stated"] == "stated, not performed: no key was made by it"
    assert data["secret_bits"] < data["n_key"] * values["efficiency"] * values["information"]
    told = judge(log)
    assert any("shot" in sentence or "excess noise" in sentence for sentence in told.happened)
    assert any("collective Gaussian attacks" in sentence for sentence in told.in_transit)
    assert any("coherent:a-b" in str(line) for line in told.lines())


def test_far_away_slices_give_nothing_and_the_stated_efficiency_makes_no_key(tmp_path: Path) -> None:
    far = text(length_km=25.0).replace("250_000", "3_000_000").replace("1e-9", "1e-6")
    network, log = scenario(tmp_path, far), EventLog()
    found = run(network, log, seed=rng.seed_from_int(4), seeded=True, blocks=1, resolve=unresolved)
    assert found.links[0].secret_bits == 0
    (event,) = [event for event in log if event.kind == "block.aborted"]
    assert event.data["reason"] == "no-secret-key"
    assert event.data["quadratures"]["efficiency"] is None
    assert event.data["quadratures"]["stated_bits"] > 0
    assert any("stated, not performed" in sentence for sentence in judge(log).happened)


def test_a_served_link_gives_both_ends_key(tmp_path: Path, free_ports: Any) -> None:
    made = first_blocks(scenario(tmp_path, text(free_ports())), tmp_path, speed=100.0)
    assert {event.data["provenance"]["protocol"] for event in made} == {"cv"}
    assert len({event.data["secret_bits"] for event in made if event.data["block"] == made[0].data["block"]}) == 1


def test_the_audit_names_the_local_oscillator_and_the_proofs_limits(tmp_path: Path) -> None:
    found = audit(scenario(tmp_path, text()))
    status = {finding.threat.name: finding.status for finding in found.findings}
    for name in ("shot-noise-calibration", "detector-saturation", "coherent-attacks", "laser-seeding", "trojan-horse"):
        assert status[name] == "assumed", name
    for name in ("blinding", "efficiency-mismatch", "dead-time", "photon-number-splitting", "intercept-resend"):
        assert status[name] == "countered", name
    told = "\n".join(found.lines())
    assert "local oscillator" in told
    assert "collective Gaussian attacks only" in told


def test_other_links_are_spared_what_concerns_quadratures_only(tmp_path: Path) -> None:
    status = {finding.threat.name: finding.status for finding in audit(load_scenario("metro")).findings}
    assert status["shot-noise-calibration"] == status["coherent-attacks"] == "countered"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("modulation =", "modulated =", "modulated"),
        ("coherent = {", "receiver = {", "receiver"),
        ("250_000", "20_000", "block_key_bits"),
        ("eps_secrecy", "reconciliation = 'cascade', eps_secrecy", "both ways"),
        ("variance = 15.0", "variance = 9e3", "saturated"),
        ("efficiency = 0.9", "efficiency = 1.1", "efficiency"),
        ("electronic = 0.02", "electronic = -1", "electronic"),
        ("excess = 0.004", "excess = -0.1", "excess"),
        ("length_km = 1.0 }", "length_km = 1.0, classical = [{ power_dbm = 0.0 }] }", "not modelled"),
        ('"homodyne"', '"photodiode"', "detection"),
        ("modulation =", "pairs = { clock_hz = 1e6, mean_pairs = 0.1 }\nmodulation =", r"no \[link.pairs\]"),
        ("distillation = {", "flaws = { mismatch = 0.5 }\ndistillation = {", "decoy-bb84 only"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    changed = text().replace(old, new, 1)
    assert changed != text()
    with pytest.raises(ScenarioError, match=message):
        scenario(tmp_path, changed)


def test_an_untrusted_detector_gives_less_and_never_more(tmp_path: Path) -> None:
    trusted = plan_link(scenario(tmp_path, text()).links[0]).agreement.length_bits
    mine = text().replace("p_test = 0.25", "p_test = 0.25, trusted = false")
    assert 0 <= plan_link(scenario(tmp_path, mine).links[0]).agreement.length_bits < trusted


def test_the_shipped_scenario_promises_key() -> None:
    plan = plan_link(load_scenario("quadratures").links[0])
    assert 300_000 < plan.agreement.length_bits < 2_000_000
    assert 20 < plan.seconds_per_block < 40
