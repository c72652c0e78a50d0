"""What lies in deploy/ fits the program: numbers exist, commands parse, units verify."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from noclone.events import EventLog
from noclone.network.metrics import Metrics
from noclone.network.scenario import load_scenario

DEPLOY = Path(__file__).parents[1] / "deploy"
NUMBER = re.compile(r"\b(?:noclone|process)_[a-z_]+\b")


def exposed() -> set[str]:
    """Return the names of all series that a process with one busy node exposes."""
    log = EventLog()
    metrics = Metrics(log, {"sae-a": "a"})
    distilled = {"secret_bits": 1, "qber": 0.01, "end": "alice", "block": 0}
    log.add("block.distilled", "link:a-b", **distilled)
    log.add("key.delivered", "sae:sae-a", key_id="x", bits=256)
    log.add("request.refused", "kme:a", status=503, reason="keys-exhausted", path="/")
    log.add("alarm.raised", "link:a-b", monitor="error-rate")
    log.add("relay.made", "link:a~b", at="a", block=0, profile="paths-1", bits=8, nodes=[])
    log.add("relay.stalled", "kme:a", peer="b", profile="paths-1", reason="no path")
    metrics.timer("a")("enc_keys", 200, 0.01)
    text = metrics.exposition().decode()
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
    return names | set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["prometheus/alerts.yml", "prometheus/grafana-noclone.json"])
def test_dashboard_and_alerts_name_only_numbers_that_exist(name: str) -> None:
    asked = set(NUMBER.findall((DEPLOY / name).read_text()))
    assert len(asked) >= 5
    assert asked - exposed() == set()


def test_the_runbook_has_a_section_for_each_alert() -> None:
    runbook = (DEPLOY.parent / "docs" / "operations.md").read_text()
    sections = {re.sub(r"[^a-z]+", "-", title.lower()) for title in re.findall(r"^### (.+)$", runbook, re.MULTILINE)}
    wanted = set(re.findall(r"operations\.md#([a-z-]+)", (DEPLOY / "prometheus" / "alerts.yml").read_text()))
    assert len(wanted) == 7
    assert wanted <= sections
    for number in re.findall(r"`(noclone_[a-z_]+)`", runbook):
        assert number in exposed() | {"noclone_leaks"}, number


def test_the_dashboard_is_json_with_panels_that_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "prometheus" / "grafana-noclone.json").read_text())["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(panels) > 10
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_containers_scenario_is_metro_with_other_hosts() -> None:
    metro, ours = load_scenario("metro"), load_scenario(DEPLOY / "docker" / "metro-docker.toml")
    assert ours.links == metro.links
    assert [node.host for node in ours.nodes] == [node.name for node in ours.nodes]
    assert tomllib.loads((DEPLOY / "docker" / "metro-docker.toml").read_text())["name"] == "metro"


def test_commands_in_units_and_containers_are_commands() -> None:
    """Every `node` and `fibre` line must parse: it gets as far as its missing files, and no further."""
    from noclone.cli.main import application

    lines = [
        match.strip().replace("%i", "x")
        for path in (*DEPLOY.glob("systemd/*"), DEPLOY / "docker" / "docker-compose.yml")
        for match in re.findall(r"(?:ExecStart=\S+|command:) (.+)", path.read_text())
    ]
    assert len(lines) == 6
    for line in lines:
        command, bound, _ = application().parse_args(line.split(), print_error=False, exit_on_error=False)
        assert command.__name__ in ("node", "fibre", "make")  # make: noclone pki
        assert bound.arguments


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_units_verify(tmp_path: Path) -> None:
    for unit in DEPLOY.glob("systemd/*.service"):
        text = unit.read_text().replace("/opt/noclone/bin/noclone", "/bin/true")
        (tmp_path / unit.name.replace("@", "@x")).write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", str(tmp_path / unit.name.replace("@", "@x"))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert done.returncode == 0
