"""Two operators' domains that meet in one site: their applications share keys, over ETSI GS QKD 020 between KMEs."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from noclone.client import Etsi014Client, Refusal
from noclone.errors import KmeError, NocloneError, ScenarioError
from noclone.events import EventLog
from noclone.io import tls
from noclone.io.https_client import Address, call
from noclone.kms import border_out
from noclone.network.identities import load_border, load_kme, load_sae
from noclone.network.metrics import Metrics
from noclone.network.node import RunOptions
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for
from noclone.redteam.attacks import resolve

LINK = """
[[link]]
name = "{a}-{b}"
alice = "{a}"
bob = "{b}"
"""
DEFAULTS = """
[defaults.source]
clock_hz = 1e9
intensities = [0.40, 0.13]
probabilities = [0.4, 0.6]
p_key = 0.7
[defaults.fibre]
length_km = 25
[defaults.receiver]
p_key = 0.7
efficiency = 0.5
dark_count_hz = 10
misalignment = 0.01
[defaults.distillation]
block_key_bits = 200_000
[relay]
block_bytes = 4096
low_bits = 65536
high_bits = 98304
reserve_bits = 512
"""
BORDER = """
[[border]]
domain = "{domain}"
node = "{node}"
port = {port}
peer = "{peer}"
url = "https://127.0.0.1:{their_port}"
peer_ca = "{ca}"
saes = [{saes}]
timeout_s = 8
"""


class Operator:
    """One operator: a scenario, certificates, a place for keys."""

    def __init__(self, folder: Path, name: str, edges: str, saes: dict[str, str], base_port: int) -> None:
        self.folder, self.name, self.base_port = folder / name, name, base_port
        self.folder.mkdir()
        nodes = sorted(set(edges.replace("-", " ").split()))
        self.text = f'name = "{name}"\nbase_port = {base_port}\n'
        self.text += "".join(f'[[node]]\nname = "{node}"\n' for node in nodes)
        self.text += "".join(f'[[sae]]\nid = "{sae}"\nnode = "{node}"\n' for sae, node in saes.items())
        self.text += "".join(LINK.format(a=edge.split("-")[0], b=edge.split("-")[1]) for edge in edges.split())
        self.text += DEFAULTS
        self.log = EventLog()

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.toml"

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    def meets(self, other: Operator, node: str, peer: str, saes: str) -> None:
        ca = other.pki / "authority" / "border-ca.crt"
        self.text += BORDER.format(
            domain=other.name, node=node, port=self.base_port + 90, peer=peer, their_port=other.base_port + 90, ca=ca,
            saes=saes,
        )  # fmt: skip

    def load(self) -> Scenario:
        self.path.write_text(self.text)
        scenario = load_scenario(self.path)
        create_pki_for(scenario, self.pki)
        return scenario

    def client(self, scenario: Scenario, sae: str) -> Etsi014Client:
        identity = load_sae(self.pki, sae)
        host, port = scenario.etsi014_address(scenario.sae(sae).node)
        return Etsi014Client(
            f"https://{host}:{port}", certificate=identity.certificate, key=identity.key, ca=identity.kme_ca,
            timeout_s=120,
        )  # fmt: skip


def two_operators(folder: Path, ports: Callable[[], int]) -> tuple[Operator, Operator]:
    """West: x1 - x2 | y2 - ym - y1: east. The gates x2 and y2 stand in one site."""
    base = ports()
    west = Operator(folder, "west", "x1-x2", {"sae-x": "x1", "sae-gate": "x2"}, base)
    east = Operator(folder, "east", "y2-ym ym-y1", {"sae-y": "y1", "sae-y2": "y1"}, base + 120)
    west.meets(east, "x2", "y2", '"sae-y", "sae-y2"')
    east.meets(west, "y2", "x2", '"sae-x", "sae-gate"')
    return west, east


@asynccontextmanager
async def served(operator: Operator, scenario: Scenario) -> AsyncIterator[ServedNetwork]:
    metrics = Metrics(operator.log, {sae.id: sae.node for sae in scenario.saes})
    network = ServedNetwork(
        scenario,
        pki=operator.pki,
        data=operator.folder / "data",
        log=operator.log,
        options=RunOptions(speed=math.inf),
        resolve=resolve,
        metrics=metrics,
    )
    async with network:
        network.exposition = metrics.exposition  # type: ignore[attr-defined]
        yield network


def fetch(master: Etsi014Client, slave: Etsi014Client, who: tuple[str, str], **wanted: Any) -> list[Any]:
    """Get keys as two applications do; ask again while there is none yet."""
    for attempt in range(60):
        try:
            got = master.enc_keys(who[1], **wanted)
            break
        except Refusal as refusal:
            if refusal.status != 503 or attempt == 59:
                raise
            time.sleep(0.5)
    same = slave.dec_keys(who[0], [key.key_id for key in got.keys])
    assert [key.value for key in got.keys] == [key.value for key in same.keys]
    return [got, same]


def test_applications_of_two_operators_share_keys(tmp_path: Path, free_ports: Callable[[], int]) -> None:
    west, east = two_operators(tmp_path, free_ports)

    async def story() -> None:
        scenarios = west.load(), east.load()
        async with served(west, scenarios[0]) as left, served(east, scenarios[1]):
            with west.client(scenarios[0], "sae-x") as x, east.client(scenarios[1], "sae-y") as y:
                got, same = await asyncio.to_thread(fetch, x, y, ("sae-x", "sae-y"), number=3, size=512)
                assert len({key.value for key in got.keys}) == 3
                assert all(len(key.value) == 64 for key in got.keys)
                here, there = got.keys[0].extension, same.keys[0].extension
                assert (here["noclone_domains"], there["noclone_domains"]) == (["east"], ["west"])
                assert here["noclone_origin"] == there["noclone_origin"] == "simulated"
                assert here["noclone_epsilon"] == 1.0  # the other domain's is not told
                # Both KMEs at the border know the key, and so may anybody in the other domain.
                for atom in ("node:x2", "node:east/y2", "domain:east", "border:x2+east/y2", "site:x1", "link:x1-x2"):
                    assert atom in here["noclone_leaks"].split(" OR ")
                for atom in ("node:y2", "node:west/x2", "domain:west", "border:y2+west/x2", "site:y1", "node:ym"):
                    assert atom in there["noclone_leaks"].split(" OR ")
                with pytest.raises(Refusal) as refused:
                    await asyncio.to_thread(y.dec_keys, "sae-x", [got.keys[0].key_id])
                assert refused.value.status == 400  # once
                status = await asyncio.to_thread(x.status, "sae-y")
                assert (status.source_kme, status.target_kme) == ("x1", "y2")
                # and the other way round, and from an application at the border itself
                await asyncio.to_thread(fetch, y, x, ("sae-y", "sae-x"))
                with west.client(scenarios[0], "sae-gate") as gate:
                    back, _ = await asyncio.to_thread(fetch, gate, y, ("sae-gate", "sae-y"))
                assert "site:x2" in back.keys[0].extension["noclone_leaks"].split(" OR ")
                assert "link:x1-x2" not in back.keys[0].extension["noclone_leaks"]
                explained = await asyncio.to_thread(explain, west.path, west.pki, got.keys[0].key_id)
                assert explained["sites"] == ["x1", "domain:east"]
                assert "on the word of another operator's domain (east)" in explained["claim"]
                assert any("both KMEs at the border, x2 and y2, know it" in words for words in explained["words"])
                assert 'noclone_border_keys_total{domain="east",outcome="out"} 4.0' in left.exposition().decode()  # type: ignore[attr-defined]
                text = "\n".join(event.to_json() for log in (west.log, east.log) for event in log.since(0))
                assert not any(key.value.hex() in text for key in got.keys)
                with pytest.raises(Refusal) as refused:
                    await asyncio.to_thread(x.enc_keys, "sae-z")
                assert refused.value.status == 400

    asyncio.run(story())


def explain(scenario: Path, pki: Path, key_id: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "noclone", "key", "explain", key_id, str(scenario), "--pki", str(pki), "--json"]
    out: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return out


def test_when_the_other_operator_is_away_nobody_gets_a_key(
    tmp_path: Path, free_ports: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(border_out, "VOID_AGAIN_S", 1.0)
    west, east = two_operators(tmp_path, free_ports)

    async def story() -> None:
        scenarios = west.load(), east.load()
        async with served(west, scenarios[0]) as left:
            with west.client(scenarios[0], "sae-gate") as gate:
                with pytest.raises(Refusal) as refused:
                    await asyncio.to_thread(gate.enc_keys, "sae-y")
                assert (refused.value.status, refused.value.reason) == (503, "border-timeout")
            assert left.nodes["x2"].service.kme.store.undelivered("x2").result() == []
            async with served(east, scenarios[1]):  # it comes back: the keys in doubt are voided there
                async with asyncio.timeout(120):
                    while True:
                        rows = left.nodes["x2"].service.kme.store.commits.run(_states)
                        if rows and set(rows) == {"void"}:
                            break
                        await asyncio.sleep(0.1)

    asyncio.run(story())


def _states(connection: Any) -> list[str]:
    from sqlalchemy import select

    from noclone.kms.tables import border_key

    return list(connection.execute(select(border_key.c.state)).scalars())


def test_nobody_but_the_other_kme_speaks_at_the_border(tmp_path: Path, free_ports: Callable[[], int]) -> None:
    west, east = two_operators(tmp_path, free_ports)

    async def story() -> None:
        scenarios = west.load(), east.load()
        address = Address("127.0.0.1", east.base_port + 90)
        border = load_border(west.pki, "x2")
        theirs = east.pki / "authority" / "border-ca.crt"
        good = tls.client_context(border.certificate, border.key, theirs)
        kme, sae = load_kme(west.pki, "x2"), load_sae(west.pki, "sae-x")
        own_kme = load_border(east.pki, "y2")
        async with served(east, scenarios[1]):
            answer = await call(good, address, "GET", "/kmapi/versions", None, kme="y2")
            assert (answer.status, json.loads(answer.body)) == (200, {"versions": ["v1"]})
            for context in (
                tls.client_context(kme.certificate, kme.key, theirs),  # of the node plane
                tls.client_context(sae.certificate, sae.key, theirs),  # of an application
                tls.client_context(own_kme.certificate, own_kme.key, theirs),  # of our own authority for borders
            ):
                with pytest.raises((KmeError, NocloneError)):
                    await call(context, address, "GET", "/kmapi/versions", None, kme="y2")
            with pytest.raises(NocloneError, match="is not the KME"):
                await call(good, address, "GET", "/kmapi/versions", None, kme="somebody")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (('node = "x2"\nport', 'node = "x9"\nport'), "node = 'x9' is not one of: x1, x2"),
        (('"sae-y"', '"sae-x"'), "application 'sae-x' is in this scenario as well"),
        (('url = "https', 'url = "http'), "url"),
        (("timeout_s = 8", "timeout_s = 0"), "timeout_s"),
    ],
)
def test_borders_that_cannot_be_are_told(tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    west, _ = two_operators(tmp_path, lambda: 12_000)
    assert change[0] in west.text
    west.text = west.text.replace(*change)
    with pytest.raises(ScenarioError) as refused:
        west.load()
    assert reason in f"{refused.value.message} {refused.value.hint}"
