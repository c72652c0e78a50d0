"""The relay keeper: pools of relayed key, filled ahead of demand, so that no application waits for a relay.

In: which pools a node keeps, what it knows of the network.  Out: relays, one after another, until each pool is full
again; fewer while links are short of key. Both ends of a pool keep it: each relays towards the other, so that both
directions of the links' key are used. Where a hop fails, the next relay of a fresh block goes around it for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from noclone.clock import Clock
from noclone.crypto.one_time_pad import pad_bytes
from noclone.events import EventLog
from noclone.kms.relay import Relay
from noclone.kms.relay_calls import RelayFailed
from noclone.kms.relay_messages import CONFIRMATION_BYTES
from noclone.kms.store import Store
from noclone.network.filling import Filling
from noclone.network.link_state import LinkStates
from noclone.network.relay_sections import RelaySection, shape_of
from noclone.network.routing import Demand, NoRoute, costs, fit_routes
from noclone.relayed import RelayProvenance

DEAD_COST = 1_000_000  # of a hop that is down: more than any way around it
FAILED_S = 30.0  # a hop where a relay failed is avoided for so long
AT_ONCE = 4  # relays that one node begins at the same time


@dataclass(frozen=True, slots=True)
class Goal:
    """A pool to keep.

    Args:
        peer: The KME at the other end.
        profile: How its blocks are relayed.
        nodes_max: How many nodes may know a block of it, each by itself; None: any number.
    """

    peer: str
    profile: str
    nodes_max: int | None = None


class Keeper:
    """Fills the pools of one node.

    Args:
        relay: Relays a block.
        store: Says how full a pool is.
        states: What is known of all links.
        goals: The pools.
        section: Watermarks and sizes.
        reach: Begins to call a KME, so that promises can be made with it.
        edges: Which KMEs a link joins, whether it is up or not.
        on_demand: Pools that are kept while applications ask for them.
        on_demand_max: How many of these at a time.
    """

    def __init__(
        self,
        relay: Relay,
        store: Store,
        states: LinkStates,
        goals: Iterable[Goal],
        section: RelaySection,
        reach: Callable[[str], Awaitable[object]],
        events: EventLog,
        edges: Iterable[tuple[str, str]] = (),
        on_demand: Iterable[Goal] = (),
        on_demand_max: int = 0,
    ) -> None:
        self._edges = tuple(edges)
        self._relay = relay
        self._store = store
        self._states = states
        self._section = section
        self._events = events
        self._failed: dict[tuple[str, str], float] = {}
        self._filling = Filling(
            goals,
            section,
            reach=reach,
            level=self._level,
            fill=self.fill,
            say=self._say,
            at_once=AT_ONCE,
            on_demand=on_demand,
            on_demand_max=on_demand_max,
        )
        self.asked = self._filling.asked

    def start(self) -> None:
        """Begin to fill, until `stop`."""
        self._filling.start()

    def pause(self, paused: bool) -> None:
        """Begin no more for now, or go on."""
        self._filling.paused = paused

    async def stop(self) -> None:
        """Begin no more relays."""
        await self._filling.stop()

    async def fill(self, goal: Goal) -> None:
        """Relay one block into a pool, by the best routes now.

        Raises:
            NocloneError: There are none, or the relay failed.
        """
        shape = shape_of(goal.profile)
        assert shape is not None
        needed, total = shape
        now_s = self._clock.now_s()
        self._failed = {hop: until_s for hop, until_s in self._failed.items() if until_s > now_s}
        need_bits = 8 * pad_bytes(self._section.block_bytes + CONFIRMATION_BYTES)
        hops_max = goal.nodes_max + 1 if goal.nodes_max is not None and needed == 1 else None
        demand = Demand(need_bits, self._section.reserve_bits, hops_max)
        prices = costs(self._states.links(now_s), demand, self._failed)
        routes, unsent = await asyncio.to_thread(self._routes, prices, goal.peer, needed, total, demand)
        try:
            made = await self._relay.relay(routes, needed, self._section.block_bytes, unsent)
            for hop in _lost_hops(made, routes, unsent):
                self._failed[hop] = self._clock.now_s() + FAILED_S
        except RelayFailed as failed:
            if failed.hop is not None:
                self._failed[failed.hop] = self._clock.now_s() + FAILED_S
            elif failed.reason == "timeout":  # some node on the way died with it, and nobody knows which
                for route in routes:
                    for hop in pairwise(route):
                        self._failed[hop] = self._clock.now_s() + FAILED_S
            raise

    def _routes(
        self, prices: dict[tuple[str, str], int], peer: str, needed: int, total: int, demand: Demand
    ) -> tuple[list[Any], list[int]]:
        """Return a route for each share, and which shares are not worth sending.

        Where fewer shares are needed than there are, some may lead through what is down, or failed a moment ago: a
        block needs a path for each, but only enough of them that work.

        Raises:
            NoRoute: Too few work.
        """
        name = self._store.name
        if needed == total:
            return fit_routes(prices, name, peer, total, demand), []
        alive = {hop: price for hop, price in prices.items() if hop not in self._failed}
        try:
            return fit_routes(alive, name, peer, total, demand), []
        except NoRoute as none:
            if none.found < needed:
                return fit_routes(prices, name, peer, total, demand), []
            hops = {hop: DEAD_COST for a, b in self._edges for hop in ((a, b), (b, a))}
            routes = fit_routes({**hops, **alive}, name, peer, total, demand)
            unsent = [i for i, route in enumerate(routes) if not set(pairwise(route)) <= set(alive)]
            if total - len(unsent) < needed:
                raise
            return routes, unsent

    @property
    def _clock(self) -> Clock:
        return self._store.clock

    async def _level(self, goal: Goal) -> int:
        """Return how full a pool is, by the half that masters here use: a full other half does not help them."""
        state = await self._store.pool(goal.peer, (goal.profile,))
        return 2 * state.ready_out_bits + state.held_bits

    def _say(self, word: str, goal: Goal, more: dict[str, Any]) -> None:
        subject = f"kme:{self._store.name}"
        self._events.add(f"relay.{word}", subject, peer=goal.peer, profile=goal.profile, **more)


def _lost_hops(made: RelayProvenance, routes: Sequence[Sequence[str]], unsent: Sequence[int]) -> list[tuple[str, str]]:
    """Return between whom shares of a block were lost that was made without them."""
    out = []
    for share, (hops, route) in enumerate(zip(made.shares, routes, strict=True)):
        if share not in unsent and (not hops or hops[-1].receiver != made.target):
            at = max(0, len(hops) - 1)  # the last hop was signed by its sender; its receiver may never have had it
            out.append((route[at], route[at + 1]))
    return out
