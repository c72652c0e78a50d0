"""A small network of KMEs to attack: real stores, certificates, relays; the wire between them is a function call.

In: which nodes a fibre joins.  Out: a `Stage` in a folder of its own that is gone afterwards. What crosses the wire
is kept, as somebody on it would, and so is the truth that attacks are held against: what fibres gave, which pads nodes
opened, which ephemeral keys were drawn. `doors` opens the real doors, over TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noclone.bits import words_from_bytes
from noclone.clock import ManualClock
from noclone.combined import CombinedProvenance
from noclone.crypto.kems import PrivateKeys
from noclone.errors import KmeError, NocloneError
from noclone.events import EventLog
from noclone.kms import files as kme_files
from noclone.kms.exchange import Exchange
from noclone.kms.keys import Assignment
from noclone.kms.kme import Kme, PeerRefused
from noclone.kms.policies import Policies
from noclone.kms.pools import BlockName
from noclone.kms.relay import Relay
from noclone.kms.relay_calls import Calls, RelaySettings
from noclone.kms.relay_statements import Notary
from noclone.kms.reservations import Refusal
from noclone.kms.service import KmeFiles, KmeService
from noclone.kms.store import Store
from noclone.network.identities import load_kme
from noclone.network.pki import create_pki
from noclone.records import BlockProvenance, Origin, SecretKey

RELAYS = RelaySettings(timeout_s=15.0, grace_s=0.3)
HARDWARE = Origin("hardware")


@dataclass(frozen=True, slots=True)
class Heard:
    """One call between two KMEs, as whoever sits on the wire has it; one that was refused has no answer."""

    sender: str
    receiver: str
    operation: str
    sent: dict[str, Any] = field(repr=False)
    answer: dict[str, Any] = field(repr=False)


Forward = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
Middle = Callable[[str, str, str, dict[str, Any], Forward], Awaitable[dict[str, Any]]]


class _Kept(PrivateKeys):
    """Ephemeral keys of which the stage keeps a copy: what breaking their algorithm would give."""

    def __init__(self, name: str, kept: dict[bytes, Any]) -> None:
        super().__init__(name)
        kept.update(zip(self.public, self._private, strict=True))


class StraightWire:
    """One KME's calls to another."""

    def __init__(self, stage: Stage, own: str, name: str) -> None:
        self._stage, self._own, self.name = stage, own, name
        self.connected = self.ready = True

    async def reserve(self, assignments: Sequence[Assignment]) -> dict[str, Refusal]:
        """Hand over promises."""
        self._stage.promises.update({key_id: one for one in assignments for key_id in one.key_ids})
        copies = [Assignment.from_json(json.loads(json.dumps(one.to_json()))) for one in assignments]
        return await self._stage.kmes[self.name].on_reserve(self._own, copies)

    async def void(self, key_ids: Sequence[str]) -> None:
        """Take promises back."""
        await self._stage.kmes[self.name].on_void(self._own, key_ids)

    async def blocks(self, blocks: Sequence[BlockName]) -> list[BlockName]:
        """Say which blocks are held."""
        return await self._stage.kmes[self.name].on_blocks(self._own, blocks)

    async def ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        """Call any other operation; Eve hears it, and may sit in the middle."""
        sent = json.loads(json.dumps(fields))
        middle = self._stage.middle

        async def forward(fields: dict[str, Any]) -> dict[str, Any]:
            return await self._hand_over(operation, fields)

        answer: dict[str, Any] = {}
        try:
            answer = await (middle(self._own, self.name, operation, sent, forward) if middle else forward(sent))
        finally:
            self._stage.heard.append(Heard(self._own, self.name, operation, sent, answer))
        return answer

    async def _hand_over(self, operation: str, fields: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self._stage.kmes[self.name].handlers[operation](self._own, fields)
        except KmeError:
            raise
        except (NocloneError, ValueError, KeyError, TypeError) as error:
            raise PeerRefused(getattr(error, "message", str(error))) from None
        found: dict[str, Any] = json.loads(json.dumps(answer))
        return found


class Stage:
    """KMEs, fibres between neighbours, an application `sae-NODE` at each node.

    `middle`, where it is set, stands for somebody who holds the wire: every call between two KMEs goes to it, and
    it may hand it on, changed or not, or answer itself.
    """

    def __init__(
        self,
        folder: Path,
        edges: Iterable[tuple[str, str]],
        policies: Policies | None = None,
        signatures: Sequence[str] | None = None,
    ) -> None:
        self.folder = folder
        self.edges = [(min(edge), max(edge)) for edge in edges]
        self.nodes = sorted({node for edge in self.edges for node in edge})
        self.saes = {f"sae-{node}": node for node in self.nodes}
        self.clock = ManualClock()
        self.log = EventLog(clock=self.clock)
        self.kmes: dict[str, Kme] = {}
        self.relays: dict[str, Relay] = {}
        self.keks = {node: os.urandom(32) for node in self.nodes}
        self.exchanges: dict[str, Exchange] = {}
        self.notaries: dict[str, Notary] = {}
        self.heard: list[Heard] = []
        self.promises: dict[str, Assignment] = {}
        self.pads: dict[str, dict[str, bytes]] = {node: {} for node in self.nodes}
        self.fibres: dict[str, bytes] = {}
        self.blocks: dict[str, dict[str, bytes]] = {node: {} for node in self.nodes}
        self.ephemeral: dict[bytes, Any] = {}
        self.middle: Middle | None = None
        self._policies = policies
        self._signatures = signatures
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
        files = load_kme(self.folder / "pki", node).files()
        notaries = kme_files.notaries(node, files)
        self.notaries[node] = notary = next(iter(notaries.values()))

        async def reach(name: str) -> StraightWire | None:
            await asyncio.sleep(0)
            return wires.get(name)

        self.kmes[node] = kme
        self.relays[node] = Relay(kme, notary, reach, RELAYS)
        calls = Calls(kme, notary, reach, RELAYS)
        self.exchanges[node] = Exchange(calls, kme_files.signers(notaries, self._signatures), kme.policies.suites)
        self.exchanges[node].draw = lambda name: _Kept(name, self.ephemeral)
        self._note_memory(node, kme)

    def _note_memory(self, node: str, kme: Kme) -> None:
        """Keep what passes through a node in the clear, and what its owner could read in its memory."""
        take, collect, deposit, pads = kme.pad, kme.store.collect, kme.deposit, self.pads[node]

        async def pad(peer: str, n_bytes: int, *more: Any) -> Any:
            key = await take(peer, n_bytes, *more)
            pads[key.key_id] = key.value
            return key

        async def collected(*arguments: Any) -> Any:
            keys = await collect(*arguments)
            pads.update({key.key_id: key.value for key in keys})
            return keys

        async def deposited(secret: SecretKey, peer: str) -> bool:
            made = secret.provenance
            name = made.exchange if isinstance(made, CombinedProvenance) else getattr(made, "transfer", made.link)
            self.blocks[node][name] = secret.to_bytes()
            return await deposit(secret, peer)

        kme.pad = pad  # type: ignore[method-assign,assignment]
        kme.deposit = deposited  # type: ignore[method-assign]
        kme.store.collect = collected  # type: ignore[method-assign,assignment]

    async def fill(self, n_bytes: int = 8192, origin: Origin = HARDWARE) -> None:
        """Deposit a block of fresh key on each fibre."""
        for a, b in self.edges:
            number = self._numbers[a, b] = self._numbers.get((a, b), -1) + 1
            record = BlockProvenance(
                f"{a}-{b}", a, b, number, "decoy-bb84", origin, "lim2014", "fixed-length", 1e-10,
                1e-10 * (number + 1), "pre-shared-key", self.clock.now_s(),
            )  # fmt: skip
            value = os.urandom(n_bytes)
            self.fibres[record.link] = self.fibres.get(record.link, b"") + value
            key = SecretKey(words_from_bytes(value), 8 * n_bytes, record)
            await self.kmes[a].deposit(key, b)
            await self.kmes[b].deposit(key, a)

    async def ready(self, node: str, peer: str, bits: int, profile: str | None = None) -> None:
        """Wait until both ends hold so much key, of a profile or of any, that the node can use.

        Raises:
            KmeError: It does not come.
        """
        for _ in range(500):
            if (await self.kmes[node].store.pool(peer, profile and (profile,))).ready_out_bits >= bits:
                return
            await asyncio.sleep(0.01)
        raise KmeError(f"no {bits} bits of key between {node} and {peer} within 5 s")

    async def close(self) -> None:
        """Close all stores."""
        for node in self.nodes:
            await self.exchanges[node].close()
            await self.relays[node].close()
            await self.kmes[node].close()
            self.kmes[node].store.close()


@contextlib.asynccontextmanager
async def stage(
    edges: Iterable[tuple[str, str]], policies: Policies | None = None, signatures: Sequence[str] | None = None
) -> AsyncIterator[Stage]:
    """Set a network up for as long as it takes.

    Args:
        edges: Which nodes a fibre joins.
        policies: What pairs of applications demand.
        signatures: Algorithms that exchanges are signed with; None: all.
    """
    with tempfile.TemporaryDirectory(prefix="noclone-lab-") as folder:
        place = Path(folder)
        place.chmod(0o700)
        one = Stage(place, edges, policies, signatures)
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
