"""What an operator does to a running network: stop and start links, drain nodes, give them another KEK, certificates.

In: the nodes of one process, the operator's word.  Out: ends that make no blocks, nodes that nobody relays through,
key stores sealed anew; an event for each, and a line in the audit log of every store that it concerns. An alarm's
response stops links here, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from noclone.errors import InputError, NocloneError
from noclone.events import EventLog
from noclone.network.node import Node
from noclone.network.revocation import rotate
from noclone.network.scenario import Scenario
from noclone.spelling import choices

Deed = Literal["drain", "resume", "rotate-kek", "renew"]
DEEDS: tuple[Deed, ...] = ("drain", "resume", "rotate-kek", "renew")
LOOK_S = 0.2
OPERATOR = "operator"


class Steering:
    """What is held back now, and by whom.

    Args:
        nodes: Those that run here; may fill up later.
        pki: Folder that `noclone pki` made; new certificates need the authorities in it.
    """

    def __init__(self, scenario: Scenario, nodes: Mapping[str, Node], log: EventLog, pki: Path) -> None:
        self._scenario = scenario
        self._nodes = nodes
        self._log = log
        self._pki = pki
        self._ends = {link.name: (link.alice, link.bob) for link in scenario.links}
        self._ends |= {link.name: (link.alice, link.bob) for link in scenario.vendor_links}
        self._stopped: set[str] = set()
        self._avoided: set[str] = set()
        self._drained: dict[str, asyncio.Task[None]] = {}
        self._at_work = asyncio.Lock()  # a KEK, or certificates: one node at a time

    @property
    def vendors(self) -> tuple[str, ...]:
        """Links whose key comes from vendors' equipment."""
        return tuple(link.name for link in self._scenario.vendor_links)

    @property
    def stopped(self) -> frozenset[str]:
        """Links that the operator or an alarm has stopped."""
        return frozenset(self._stopped)

    @property
    def held(self) -> frozenset[str]:
        """Links that make no blocks now: those, and all that end at a drained node."""
        drained = {link for link, ends in self._ends.items() if self._drained.keys() & set(ends)}
        return frozenset(self._stopped | drained)

    @property
    def drained(self) -> frozenset[str]:
        """Nodes that are drained, or on the way."""
        return frozenset(self._drained)

    def hold(self, link: str, avoided: bool) -> None:
        """Make no more blocks of a link, nor lead relays over it if it is avoided: an alarm said so."""
        self._stopped.add(link)
        if avoided:
            self._avoided.add(link)
        self._apply()

    async def steer(self, link: str, *, running: bool) -> None:
        """Stop a link after the blocks that are under way, or let it go on.

        Raises:
            InputError: There is no such link, or a node at its end is drained.
        """
        if link not in self._ends:
            raise InputError(f"there is no link '{link[:64]}' here", hint=choices(link, self._ends))
        drained = sorted(self._drained.keys() & set(self._ends[link]))
        if running and drained:
            raise InputError(f"the node {drained[0]} is drained", hint="let the node go on: its links go on with it")
        await self._note(self._ends[link], "link started" if running else "link stopped", link=link)
        (self._stopped.discard if running else self._stopped.add)(link)
        self._avoided.discard(link)  # the operator has looked: what is stored may be used
        self._apply()
        self._log.add("link.started" if running else "link.stopped", f"link:{link}", by=OPERATOR)

    async def operate(self, node: str, deed: str) -> dict[str, Any]:
        """Do something to a node; return what came of it.

        Raises:
            InputError: There is no such node, or nothing of that name can be done.
            NocloneError: It could not be done.
        """
        if node not in self._nodes:
            raise InputError(f"there is no node '{node[:64]}' here", hint=choices(node, self._nodes))
        match deed:
            case "drain":
                return await self._drain(node)
            case "resume":
                return await self._resume(node)
            case "rotate-kek":
                return await self._rotate_kek(node)
            case "renew":
                return await self._renew(node)
        raise InputError(f"'{deed[:40]}' cannot be done to a node", hint=choices(deed, DEEDS, "these can"))

    def close(self) -> None:
        """Wait for nothing any more."""
        for task in self._drained.values():
            task.cancel()

    async def _drain(self, node: str) -> dict[str, Any]:
        """Have a node make no key and carry none for others, so that it can be taken down; its stored key is served."""
        if node in self._drained:
            raise InputError(f"the node {node} is drained already", hint="let it go on, or take it down")
        await self._note((node,), "node draining")
        self._log.add("node.draining", f"node:{node}", by=OPERATOR)
        self._drained[node] = asyncio.create_task(self._watch_out(node))
        self._apply()
        return {"draining": node}

    async def _resume(self, node: str) -> dict[str, Any]:
        if node not in self._drained:
            raise InputError(f"the node {node} is not drained")
        await self._note((node,), "node resumed")
        self._drained.pop(node).cancel()
        self._apply()
        self._log.add("node.resumed", f"node:{node}", by=OPERATOR)
        return {"resumed": node}

    async def _watch_out(self, node: str) -> None:
        """Say when nothing is under way any more.

        Blocks are seen to end. A relay that somebody began before he heard of it ends within the time that relays have.
        """
        loop = asyncio.get_running_loop()
        relays_until_s = loop.time() + (self._nodes[node].relaying.settles_s if self._passes(node) else 0.0)
        while loop.time() < relays_until_s or any(
            link in one.making for one in self._nodes.values() for link in self._at(node)
        ):
            await asyncio.sleep(LOOK_S)
        self._log.add("node.drained", f"node:{node}")

    def _at(self, node: str) -> list[str]:
        return [link for link, ends in self._ends.items() if node in ends]

    def _passes(self, node: str) -> bool:
        """Say whether a relay may pass a node, or end there."""
        return len(self._scenario.nodes) > 2 and bool(self._at(node))

    async def _rotate_kek(self, node: str) -> dict[str, Any]:
        """Seal a node's key store under a new key-encryption key, while it serves."""
        async with self._at_work:
            generation = await self._nodes[node].rotate_kek()
        self._log.add("kek.rotated", f"kme:{node}", generation=generation, by=OPERATOR)
        return {"generation": generation}

    async def _renew(self, node: str) -> dict[str, Any]:
        """Give a node new keys and certificates; it takes them up by itself within seconds, and closes nothing."""
        async with self._at_work:
            change = await asyncio.to_thread(rotate, self._pki, "kme", node)
            await self._note((node,), "certificates renewed", files=len(change.written))
        self._log.add("identity.issued", f"kme:{node}", files=len(change.written), by=OPERATOR)
        return {"written": list(change.written)}

    async def _note(self, nodes: tuple[str, ...], what: str, **fields: Any) -> None:
        """Write into the audit logs of the stores that it concerns; no entry, no deed."""
        for name in nodes:
            try:
                await self._nodes[name].note(what, by=OPERATOR, **fields)
            except KeyError:
                raise NocloneError(f"the node {name} does not run here") from None

    def _apply(self) -> None:
        held = self.held
        for name, node in self._nodes.items():
            node.hold(held, drained=name in self._drained, avoided=frozenset(self._avoided))
