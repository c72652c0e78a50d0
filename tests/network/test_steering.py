"""The operator's work on a running network: links stop and start, nodes drain, get another KEK and certificates."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from noclone.client import Etsi014Client
from noclone.errors import InputError, PkiError
from noclone.events import Event, EventLog
from noclone.kms.keys import Refused
from noclone.kms.requests import KeyRequest
from noclone.kms.sealing import load_kek
from noclone.network.identities import load_sae
from noclone.network.news import tell
from noclone.network.node import RunOptions
from noclone.network.operator import ask
from noclone.network.scenario import load_scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for
from noclone.redteam.attacks import resolve
from tests.conftest import free_base_port
from tests.network.relay_net import scenario_text

BLOCKS = "[link.distillation]\nblock_key_bits = 200_000\n"


class Line:
    """Three nodes in a line, served in a thread; applications at both ends."""

    def __init__(self, folder: Path, base_port: int) -> None:
        path = folder / "line.toml"
        text = scenario_text("ab bz").replace("misalignment = 0.01\n", "misalignment = 0.01\n" + BLOCKS)
        path.write_text(text.replace('name = "web"', f'name = "line"\nbase_port = {base_port}', 1))
        self.scenario_path = path
        self.scenario = load_scenario(path)
        self.pki = folder / "pki"
        create_pki_for(self.scenario, self.pki)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.served = self.run(self._open(folder))

    async def _open(self, folder: Path) -> ServedNetwork:
        served = ServedNetwork(
            self.scenario,
            pki=self.pki,
            data=folder / "data",
            log=EventLog(),
            options=RunOptions(speed=0.25),
            resolve=resolve,
        )
        return await served.__aenter__()

    def run(self, work: Coroutine[Any, Any, Any], timeout_s: float = 120.0) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def operate(self, node: str, deed: str) -> Any:
        return self.run(self.served.steering.operate(node, deed))

    def newest(self) -> int:
        return self.served.log.since()[-1].number

    def heard(self, kind: str, *, after: int = 0, timeout_s: float = 90.0) -> Event:
        """Return the first event of a kind after a number."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for event in self.served.log.since(after):
                if event.kind == kind:
                    return event
            time.sleep(0.05)
        raise AssertionError(f"no {kind} within {timeout_s} s")

    def key(self) -> str:
        """Return the id of a relayed key, as soon as there is one."""

        async def ask() -> str:
            while True:
                try:
                    container = await self.served.nodes["a"].service.kme.enc_keys("sae-a", "sae-z", KeyRequest())
                    return container.keys[0].key_id
                except Refused:
                    await asyncio.sleep(0.1)

        return str(self.run(ask()))

    def audited(self, node: str) -> list[dict[str, Any]]:
        store = self.served.nodes[node].service.kme.store
        assert not store.verify_audit().problems
        return [line.entry for line in store.audit_lines()]

    def close(self) -> None:
        self.run(self.served.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(30)
        self.loop.close()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    running = Line(tmp_path_factory.mktemp("line"), free_base_port())
    yield running
    running.close()


def test_a_drained_node_makes_and_carries_nothing_until_it_goes_on(line: Line) -> None:
    steering, begun = line.served.steering, line.newest()
    line.key()  # relayed over b
    assert line.operate("b", "drain") == {"draining": "b"}
    assert steering.held == {"a-b", "b-z"}
    with pytest.raises(InputError, match="drained already"):
        line.operate("b", "drain")
    with pytest.raises(InputError, match="is drained"):
        line.run(steering.steer("a-b", running=True))
    drained = line.heard("node.drained", after=begun)
    assert drained.subject == "node:b"
    a = line.served.nodes["a"]
    assert not [hop for hop in a.relaying.states.links(a.service.kme.store.clock.now_s()) if "b" in hop]
    assert not [event for event in line.served.log.since(drained.number) if event.kind == "block.distilled"]
    resumed = line.newest()
    assert line.operate("b", "resume") == {"resumed": "b"}
    line.heard("block.distilled", after=resumed)
    with pytest.raises(InputError, match="is not drained"):
        line.operate("b", "resume")
    entries = [entry["what"] for entry in line.audited("b")]
    assert entries.index("node draining") < entries.index("node resumed")
    assert "can be taken down" in tell(drained)


def test_a_link_stops_and_starts_and_both_audit_logs_say_by_whom(line: Line) -> None:
    steering, begun = line.served.steering, line.newest()
    with pytest.raises(InputError, match="no link 'nowhere'"):
        line.run(steering.steer("nowhere", running=False))
    line.run(steering.steer("a-b", running=False))
    assert steering.stopped == {"a-b"}
    assert tell(line.heard("link.stopped", after=begun)) == "stopped by the operator"
    line.run(steering.steer("a-b", running=True))
    assert not steering.held
    for node in "ab":
        found = [entry for entry in line.audited(node) if entry["what"].startswith("link st")]
        assert [entry["what"] for entry in found] == ["link stopped", "link started"]
        assert all(entry["by"] == "operator" and entry["link"] == "a-b" for entry in found)
    assert not [entry for entry in line.audited("z") if entry["what"].startswith("link st")]


def test_a_key_encryption_key_is_changed_while_the_node_serves(line: Line) -> None:
    line.key()
    path, begun = line.pki / "kmes" / "a" / "kek", line.newest()
    before = load_kek(path)
    assert line.operate("a", "rotate-kek") == {"generation": 2}
    assert load_kek(path) != before
    assert not path.with_name("kek.next").exists()
    event = line.heard("kek.rotated", after=begun)
    assert (event.subject, event.data) == ("kme:a", {"generation": 2, "by": "operator"})
    line.key()  # what the old KEK sealed is delivered all the same
    assert "kek rotated" in [entry["what"] for entry in line.audited("a")]
    with pytest.raises(InputError, match="no node 'nobody'"):
        line.operate("nobody", "rotate-kek")
    with pytest.raises(InputError, match="cannot be done"):
        line.operate("a", "explode")


def test_new_certificates_are_taken_up_by_a_running_node(line: Line) -> None:
    begun, own = line.newest(), load_sae(line.pki, "sae-a")
    assert "kmes/a/kme.crt" in line.operate("a", "renew")["written"]
    assert line.heard("identity.issued", after=begun).data["by"] == "operator"
    assert line.heard("identity.renewed", after=begun).subject == "kme:a"
    url = line.served.nodes["a"].service.url
    with Etsi014Client(url, certificate=own.certificate, key=own.key, ca=own.kme_ca) as client:
        assert client.status("sae-z").source_kme == "a"
    assert "certificates renewed" in [entry["what"] for entry in line.audited("a")]
    key = line.pki / "authority" / "kme-ca.key"
    key.rename(line.pki / "elsewhere")
    try:
        with pytest.raises(PkiError, match="holds no authority"):
            line.operate("a", "renew")
    finally:
        (line.pki / "elsewhere").rename(key)


def test_the_operators_door_and_its_commands_steer_nodes(line: Line) -> None:
    answer = ask(line.scenario, line.pki, "POST", "/api/nodes/z", {"do": "drain"})
    assert answer["result"] == {"draining": "z"}
    assert answer["drained"] == ["z"]
    assert answer["links"]["b-z"]["stopped"]
    for body in ({}, {"do": 7}, {"do": "drain"}, {"do": "dance"}):
        with pytest.raises(InputError):
            ask(line.scenario, line.pki, "POST", "/api/nodes/z", body)
    command = [sys.executable, "-m", "noclone", "site", "resume", "z", str(line.scenario_path), "--pki", str(line.pki)]
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    assert json.loads(told)["drained"] == []
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "the node z is not drained" in refused.stderr
