"""A network of KMEs in one process: stores, signatures and the relay protocol are real, the wire is a function call.

Every message passes as JSON text, is kept, and can be lost, altered or held up by a test.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from noclone.bits import words_from_bytes
from noclone.clock import ManualClock
from noclone.errors import KmeError, NocloneError
from noclone.events import EventLog
from noclone.kms.keys import Assignment
from noclone.kms.kme import Kme, PeerRefused
from noclone.kms.pools import BlockName
from noclone.kms.relay import Relay
from noclone.kms.relay_calls import RelaySettings
from noclone.kms.relay_shares import warm_up as warm_up
from noclone.kms.relay_statements import Notary
from noclone.kms.reservations import Refusal
from noclone.kms.store import Store
from noclone.network.identities import load_kme
from noclone.network.pki import create_pki
from noclone.records import BlockProvenance, Origin, SecretKey

T = TypeVar("T")
QUICK = RelaySettings(timeout_s=15.0, grace_s=0.3)
Fault = Callable[[str, str, str, dict[str, Any]], Any]


def make_pki(folder: Path, nodes: Iterable[str]) -> Path:
    create_pki(folder, kmes={node: ["127.0.0.1"] for node in nodes}, saes=["sae-1"], links={})
    return folder


def fibre_block(a: str, b: str, number: int, **fields: Any) -> BlockProvenance:
    link = "-".join(sorted((a, b)))
    values = {
        "link": link, "alice": a, "bob": b, "block": number, "protocol": "decoy-bb84", "origin": Origin("hardware"),
        "proof": "lim2014", "statement": "fixed-length", "epsilon": 1e-10, "cumulative_epsilon": 1e-10 * (number + 1),
        "bootstrap": "pre-shared-key", "time_s": 1.7e9,
    }  # fmt: skip
    return BlockProvenance(**{**values, **fields})


class BrokenConnectionError(KmeError):
    """Who was asked died before he answered."""


class Wire:
    """Calls of one KME to another."""

    def __init__(self, web: Web, own: str, name: str) -> None:
        self.web, self.own, self.name = web, own, name

    @property
    def connected(self) -> bool:
        return self.name not in self.web.dead and self.own not in self.web.dead

    ready = connected

    async def reserve(self, assignments: Sequence[Assignment]) -> dict[str, Refusal]:
        self._up()
        copies = [Assignment.from_json(json.loads(json.dumps(one.to_json()))) for one in assignments]
        return await self._answer(self.web.kmes[self.name].on_reserve(self.own, copies))

    async def void(self, key_ids: Sequence[str]) -> None:
        self._up()
        await self._answer(self.web.kmes[self.name].on_void(self.own, key_ids))

    async def blocks(self, blocks: Sequence[BlockName]) -> list[BlockName]:
        self._up()
        return await self._answer(self.web.kmes[self.name].on_blocks(self.own, blocks))

    async def ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        self._up()
        text = json.dumps(fields)
        self.web.said.append((self.own, self.name, operation, text))
        fault = self.web.faults.get(operation)
        message = json.loads(text)
        after = fault(self.own, self.name, operation, message) if fault else None
        if after == "lost":
            raise KmeError("lost on its way")
        try:
            answer = await self._answer(self.web.kmes[self.name].handlers[operation](self.own, message))
        except BrokenConnectionError:
            raise
        except (NocloneError, ValueError, KeyError, TypeError) as error:
            raise PeerRefused(getattr(error, "message", str(error))) from None
        if after == "answer lost":
            raise KmeError("the answer was lost")
        return json.loads(json.dumps(answer))

    def _up(self) -> None:
        if not self.connected:
            raise KmeError("out of reach")

    async def _answer(self, call: Coroutine[Any, Any, T]) -> T:
        """Wait for an answer; when who was asked dies, or came back as another, the connection is broken."""
        asked = self.web.kmes[self.name]
        task = asyncio.create_task(call)
        try:
            while not (await asyncio.wait([task], timeout=0.02))[0]:
                if not self.connected or self.web.kmes[self.name] is not asked:
                    raise BrokenConnectionError("the connection broke")
        except BaseException:
            task.cancel()
            raise
        return task.result()


class Web:
    """KMEs, the fibres between neighbours, and the wire between all."""

    def __init__(
        self,
        folder: Path,
        pki: Path,
        edges: Iterable[Sequence[str]],
        saes: dict[str, str] | None = None,
        settings: RelaySettings = QUICK,
        clock: ManualClock | None = None,
    ) -> None:
        self.edges = [tuple(sorted(edge)) for edge in edges]
        self.nodes = sorted({node for edge in self.edges for node in edge})
        self.clock = clock or ManualClock()
        self.saes = saes or {f"sae-{node}": node for node in self.nodes}
        self.folder, self.pki, self.settings = folder, pki, settings
        self.kmes: dict[str, Kme] = {}
        self.relays: dict[str, Relay] = {}
        self.said: list[tuple[str, str, str, str]] = []
        self.faults: dict[str, Fault] = {}
        self.dead: set[str] = set()
        self.numbers: dict[tuple[str, ...], int] = {}
        self.fibre_key: dict[tuple[str, int], bytes] = {}
        for node in self.nodes:
            self.start(node)

    def start(self, node: str, file: str = "") -> None:
        """Open a KME's store, as it was left."""
        store = Store.open(
            self.folder / (file or f"{node}.db"), name=node, kek=node.encode().ljust(32, b"k"), clock=self.clock
        )
        kme = Kme(store, self.saes, events=EventLog())
        wires = {other: Wire(self, node, other) for other in self.nodes if other != node}
        for wire in wires.values():
            kme.add_peer(wire)
        identity = load_kme(self.pki, node)
        notary = Notary.load(node, identity.certificate, identity.key, identity.kme_ca)

        async def reach(name: str) -> Wire | None:
            await asyncio.sleep(0)
            return wires.get(name)

        self.kmes[node] = kme
        self.relays[node] = Relay(kme, notary, reach, self.settings)

    async def close(self) -> None:
        for node in self.nodes:
            await self.relays[node].close()
            await self.kmes[node].close()
            self.kmes[node].store.close()

    async def fill(self, *edges: Sequence[str], n_bytes: int = 1 << 14, **fields: Any) -> None:
        """Deposit a block of fibre key on each of these edges (on all, if none is named)."""
        for a, b in map(sorted, edges or self.edges):
            number = self.numbers[a, b] = self.numbers.get((a, b), -1) + 1
            record, value = fibre_block(a, b, number, **fields), os.urandom(n_bytes)
            self.fibre_key[record.link, number] = value
            key = SecretKey(words_from_bytes(value), 8 * n_bytes, record)
            await self.kmes[a].deposit(key, b)
            assert await self.kmes[b].deposit(key, a)

    def events(self, node: str, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in self.kmes[node].events.since(0) if event.kind == kind]

    def ready_bits(self, node: str, peer: str, profile: str) -> int:
        state = self.kmes[node].store.pool(peer, (profile,)).result()
        return state.ready_out_bits + state.ready_in_bits

    async def settled(self) -> None:
        """Let what is under way come to rest."""
        for _ in range(2000):
            await asyncio.sleep(0.01)
            if not any(self._busy(relay) for relay in self.relays.values()):
                break

    def _busy(self, relay: Relay) -> bool:
        finishing = [one.finishing for one in relay._target._open.values()]
        return bool(relay._tasks or relay._hops._tasks or any(task and not task.done() for task in finishing))
