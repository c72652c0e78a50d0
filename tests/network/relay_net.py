"""KMEs that are served over TLS and relay, with fibres that are played."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from noclone.bits import words_from_bytes
from noclone.events import EventLog
from noclone.kms.keys import Refused
from noclone.kms.requests import KeyRequest
from noclone.kms.sealing import load_kek
from noclone.kms.service import KmeService
from noclone.kms.store import Store
from noclone.network.identities import load_kme
from noclone.network.relaying import Relaying, policies_of, relay_settings
from noclone.network.scenario import Scenario, load_scenario
from noclone.records import BlockProvenance, Origin, SecretKey

RING = "ab bc cz ad de ez"
LINK = """
[[link]]
name = "{a}-{b}"
alice = "{a}"
bob = "{b}"
[link.source]
clock_hz = 1e9
intensities = [0.40, 0.13]
probabilities = [0.4, 0.6]
p_key = 0.7
[link.fibre]
length_km = 25
[link.receiver]
p_key = 0.7
efficiency = 0.5
dark_count_hz = 10
misalignment = 0.01
"""
RELAY = """
[relay]
block_bytes = 1024
low_bits = 8192
high_bits = 16384
reserve_bits = 512
timeout_s = 5
"""


def scenario_text(edges: str, saes: str = "az", more: str = "") -> str:
    nodes = sorted(set(edges.replace(" ", "")))
    text = 'name = "web"\n'
    text += "".join(f'[[node]]\nname = "{node}"\n' for node in nodes)
    text += "".join(f'[[sae]]\nid = "sae-{node}"\nnode = "{node}"\n' for node in saes)
    text += "".join(LINK.format(a=edge[0], b=edge[1]) for edge in edges.split())
    return text + RELAY + more


def scenario_of(folder: Path, edges: str, saes: str = "az", more: str = "") -> Scenario:
    path = folder / "web.toml"
    path.write_text(scenario_text(edges, saes, more))
    return load_scenario(path)


class Net:
    """KMEs that are served and relay; fibres are played by depositing the same bytes at both ends."""

    def __init__(self, folder: Path, pki: Path, scenario: Scenario) -> None:
        self.folder, self.pki, self.scenario = folder, pki, scenario
        self.services: dict[str, KmeService] = {}
        self.relaying: dict[str, Relaying] = {}
        self.stores: dict[str, Store] = {}
        self.logs: dict[str, EventLog] = {}
        self.ports: dict[str, int] = {}
        self.numbers = 0

    async def start(self, name: str) -> None:
        scenario, identity = self.scenario, load_kme(self.pki, name)
        others = [node.name for node in scenario.nodes if node.name != name]
        self.stores[name] = Store.open(self.folder / f"{name}.db", name=name, kek=load_kek(identity.kek))
        self.logs[name] = EventLog()
        self.services[name] = KmeService(
            self.stores[name],
            {sae.id: sae.node for sae in scenario.saes},
            identity.files(),
            peers=tuple(others),
            relay=relay_settings(scenario),
            policies=policies_of(scenario),
            events=self.logs[name],
        )
        await self.services[name].start(kme_port=self.ports.get(name, 0))
        self.ports[name] = self.services[name].kme_port
        self.relaying[name] = Relaying(scenario, name, self.services[name], {})

    async def __aenter__(self) -> Net:
        for node in self.scenario.nodes:
            await self.start(node.name)
        for service in self.services.values():
            service._addresses = {name: ("127.0.0.1", port) for name, port in self.ports.items()}
        for name in self.services:
            await self.join(name)
        return self

    async def join(self, name: str) -> None:
        service = self.services[name]
        service._addresses = {other: ("127.0.0.1", port) for other, port in self.ports.items()}
        for link in self.scenario.links:
            if name in (link.alice, link.bob):
                peer = link.bob if link.alice == name else link.alice
                service.connect(peer, ("127.0.0.1", self.ports[peer]))
        self.relaying[name].start()

    async def stop(self, name: str) -> None:
        await self.relaying.pop(name).stop()
        await self.services.pop(name).stop()
        self.stores.pop(name).close()

    async def __aexit__(self, *_: object) -> None:
        for name in tuple(self.services):
            await self.stop(name)

    async def fill(self, n_bytes: int = 32_768) -> None:
        self.numbers += 1
        for link in self.scenario.links:
            if link.alice not in self.services or link.bob not in self.services:
                continue
            record = BlockProvenance(
                link.name, link.alice, link.bob, self.numbers, "decoy-bb84", Origin("simulated"), "lim2014",
                "fixed-length", 1e-10, 1e-9, "pre-shared-key", 1.7e9,
            )  # fmt: skip
            key = SecretKey(words_from_bytes(os.urandom(n_bytes)), 8 * n_bytes, record)
            await self.services[link.alice].kme.deposit(key, link.bob)
            await self.services[link.bob].kme.deposit(key, link.alice)

    async def keys(self, number: int, timeout_s: float = 120.0) -> list[tuple[str, bytes, dict[str, Any]]]:
        """Get keys as two applications do; ask again, as they do, when told that there are none yet."""
        request = KeyRequest.model_validate({"number": number})
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                got = await self.services["a"].kme.enc_keys("sae-a", "sae-z", request)
                break
            except Refused as refused:
                if refused.status != 503 or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.05)
        same = await self.services["z"].kme.dec_keys("sae-z", "sae-a", [key.key_id for key in got.keys])
        assert [key.value for key in got.keys] == [key.value for key in same.keys]
        entries = got.to_json()["keys"]
        return [(key.key_id, key.value, entry["key_extension"]) for key, entry in zip(got.keys, entries, strict=True)]
