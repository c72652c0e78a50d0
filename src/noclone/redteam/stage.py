"""A small network of KMEs to attack: real stores, certificates, relays; the wire between them is a function call.

In: which nodes a fibre joins.  Out: a `Stage` in a folder of its own that is gone afterwards. What crosses the wire
is kept, as somebody on it would; `doors` opens the real doors, over TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from noclone.bits import words_from_bytes
from noclone.clock import ManualClock
from noclone.errors import KmeError, NocloneError
from noclone.events import EventLog
from noclone.kms.keys import Assignment
from noclone.kms.kme import Kme, PeerRefused
from noclone.kms.policies import Policies
from noclone.kms.pools import BlockName
from noclone.kms.relay import Relay
from noclone.kms.relay_calls import RelaySettings
from noclone.kms.relay_statements import Notary
from noclone.kms.reservations import Refusal
from noclone.kms.service import KmeFiles, KmeService
from noclone.kms.store import Store
from noclone.network.identities import load_kme
from noclone.network.pki import create_pki
from noclone.records import BlockProvenance, Origin, SecretKey

RELAYS = RelaySettings(timeout_s=15.0, grace_s=0.3)


class StraightWire:
    """One KME's calls to another."""

    def __init__(self, stage: Stage, own: str, name: str) -> None:
        self._stage, self._own, self.name = stage, own, name
        self.connected = self.ready = True

    async def reserve(self, assignments: Sequence[Assignment]) -> dict[str, Refusal]:
        """Hand over promises."""
        copies = [Assignment.from_json(json.loads(json.dumps(one.to_json()))) for one in assignments]
        return await self._stage.kmes[self.name].on_reserve(self._own, copies)

    async def void(self, key_ids: Sequence[str]) -> None:
        """Take promises back."""
        await self._stage.kmes[self.name].on_void(self._own, key_ids)

    async def blocks(self, blocks: Sequence[BlockName]) -> list[BlockName]:
        """Say which blocks are held."""
        return await self._stage.kmes[self.name].on_blocks(self._own, blocks)

    async def ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        """Call any other operation; Eve hears it."""
        text = json.dumps(fields)
        self._stage.heard.append((operation, text))
        try:
            answer = await self._stage.kmes[self.name].handlers[operation](self._own, json.loads(text))
        except KmeError:
            raise
        except (NocloneError, ValueError, KeyError, TypeError) as error:
            raise PeerRefused(getattr(error, "message", str(error))) from None
        found: dict[str, Any] = json.loads(json.dumps(answer))
        return found


class Stage:
    """KMEs, fibres between neighbours, an application `sae-NODE` at each node."""

    def __init__(self, folder: Path, edges: Iterable[tuple[str, str]], policies: Policies | None = None) -> None:
        self.folder = folder
        self.edges = [(min(edge), max(edge)) for edge in edges]
        self.nodes = sorted({node for edge in self.edges for node in edge})
        self.saes = {f"sae-{node}": node for node in self.nodes}
        self.clock = ManualClock()
        self.log = EventLog(clock=self.clock)
        self.kmes: dict[str, Kme] = {}
        self.relays: dict[str, Relay] = {}
        self.keks = {node: os.urandom(32) for node in self.nodes}
        self.heard: list[tuple[str, str]] = []
        self.pads: dict[str, dict[str, bytes]] = {node: {} for node in self.nodes}
        self._policies = policies
        self._numbers: dict[tuple[str, str], int] = {}
        create_pki(folder / "pki", kmes={node: ["127.0.0.1"] for node in self.nodes}, saes=list(self.saes))
        for node in self.nodes:
            self.open(node, folder / f"{node}.db")

    def open(self, node: str, file: Path) -> None:
        """Open a KME on a store, as it was left."""
        store = Store.open(file, name=node, kek=self.keks[node], clock=self.clock)
        kme = Kme(store, self.saes, events=self.log, policies=self._policies)
        wires = {other: StraightWire(self, node, other) for other in self.nodes if other != node}
        for wire in wires.values():
            kme.add_peer(wire)
        identity = load_kme(self.folder / "pki", node)
        notary = Notary.load(node, identity.certificate, identity.key, identity.kme_ca)

        async def reach(name: str) -> StraightWire | None:
            await asyncio.sleep(0)
            return wires.get(name)

        self.kmes[node] = kme
        self.relays[node] = Relay(kme, notary, reach, RELAYS)
        self._note_pads(node, kme)

    def _note_pads(self, node: str, kme: Kme) -> None:
        """Keep the pads that pass through a node: what its owner could read in its memory."""
        take, collect, pads = kme.pad, kme.store.collect, self.pads[node]

        async def pad(peer: str, n_bytes: int, *more: Any) -> Any:
            key = await take(peer, n_bytes, *more)
            pads[key.key_id] = key.value
            return key

        async def collected(*arguments: Any) -> Any:
            keys = await collect(*arguments)
            pads.update({key.key_id: key.value for key in keys})
            return keys

        kme.pad = pad  # type: ignore[method-assign,assignment]
        kme.store.collect = collected  # type: ignore[method-assign,assignment]

    async def fill(self, n_bytes: int = 8192) -> None:
        """Deposit a block of fresh key on each fibre."""
        for a, b in self.edges:
            number = self._numbers[a, b] = self._numbers.get((a, b), -1) + 1
            record = BlockProvenance(
                f"{a}-{b}", a, b, number, "decoy-bb84", Origin("hardware"), "lim2014", "fixed-length", 1e-10,
                1e-10 * (number + 1), "pre-shared-key", self.clock.now_s(),
            )  # fmt: skip
            key = SecretKey(words_from_bytes(os.urandom(n_bytes)), 8 * n_bytes, record)
            await self.kmes[a].deposit(key, b)
            await self.kmes[b].deposit(key, a)

    async def ready(self, node: str, peer: str, bits: int) -> None:
        """Wait until both ends hold so much key that the node can use.

        Raises:
            KmeError: It does not come.
        """
        for _ in range(500):
            if (await self.kmes[node].store.pool(peer)).ready_out_bits >= bits:
                return
            await asyncio.sleep(0.01)
        raise KmeError(f"no {bits} bits of key between {node} and {peer} within 5 s")

    async def close(self) -> None:
        """Close all stores."""
        for node in self.nodes:
            await self.relays[node].close()
            await self.kmes[node].close()
            self.kmes[node].store.close()


@contextlib.asynccontextmanager
async def stage(edges: Iterable[tuple[str, str]], policies: Policies | None = None) -> AsyncIterator[Stage]:
    """Set a network up for as long as it takes."""
    with tempfile.TemporaryDirectory(prefix="noclone-lab-") as folder:
        place = Path(folder)
        place.chmod(0o700)
        one = Stage(place, edges, policies)
        try:
            yield one
        finally:
            await one.close()


@contextlib.asynccontextmanager
async def doors(one: Stage, nodes: Sequence[str]) -> AsyncIterator[dict[str, KmeService]]:
    """Open the real doors of some nodes, over TLS on this machine; each has a store of its own."""
    services: dict[str, KmeService] = {}
    stores: list[Store] = []
    try:
        for node in nodes:
            identity = load_kme(one.folder / "pki", node)
            store = Store.open(one.folder / f"{node}-served.db", name=node, kek=one.keks[node])
            stores.append(store)
            files = KmeFiles(identity.certificate, identity.key, identity.kme_ca, identity.sae_ca)
            peers = tuple(other for other in nodes if other != node)
            services[node] = KmeService(store, one.saes, files, peers=peers, events=one.log)
            await services[node].start()
        yield services
    finally:
        for service in services.values():
            await service.stop()
        for store in stores:
            store.close()
