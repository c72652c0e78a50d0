"""The relay keeper: pools of relayed key, filled ahead of demand, so that no application waits for a relay.

In: which pools a node keeps, what it knows of the network.  Out: relays, one after another, until each pool is full
again; fewer while links are short of key. Some pools are kept always, some while applications ask for them: the one
that nobody asked for the longest gives way. Both ends of a pool keep it: each relays towards the other, so that both
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
from noclone.errors import NocloneError
from noclone.events import EventLog
from noclone.kms.relay import Relay
from noclone.kms.relay_calls import RelayFailed
from noclone.kms.relay_messages import CONFIRMATION_BYTES
from noclone.kms.store import Store
from noclone.network.link_state import LinkStates
from noclone.network.relay_sections import RelaySection, shape_of
from noclone.network.routing import Demand, NoRoute, costs, fit_routes
from noclone.relayed import RelayProvenance

IDLE_S = 0.25
BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 4.0)
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
        on_demand: Pools that are kept for those who ask.
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
        self._goals = tuple(goals)
        self._on_demand = {goal.peer: goal for goal in on_demand}
        self._on_demand_max = on_demand_max
        self._asked: dict[Goal, asyncio.Task[None] | None] = {}  # the one that was asked for last is the last one
        self._section = section
        self._reach = reach
        self._events = events
        self._failed: dict[tuple[str, str], float] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._problems: dict[Goal, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False

    @property
    def problems(self) -> dict[Goal, str]:
        """Why pools that want key get none now."""
        return dict(self._problems)

    def start(self) -> None:
        """Begin to fill, until `stop`."""
        self._started = True
        for goal in self._goals:
            self._begin(goal)
        self._asked = {goal: self._begin(goal) for goal in self._asked}

    def asked(self, peer: str) -> None:
        """Hear that an application wants key with a peer: a pool that is kept for those who ask begins, or stays."""
        goal = self._on_demand.get(peer)
        if goal is None:
            return
        task = self._asked.pop(goal, None)
        while len(self._asked) >= self._on_demand_max:
            oldest = next(iter(self._asked))
            gone = self._asked.pop(oldest)
            self._problems.pop(oldest, None)
            if gone is not None:
                gone.cancel()
        self._asked[goal] = self._begin(goal) if task is None and self._started else task

    def _begin(self, goal: Goal) -> asyncio.Task[None]:
        task = asyncio.create_task(self._keep(goal))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Begin no more relays."""
        self._started = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, goal: Goal) -> None:
        """Keep one pool between its marks, for ever."""
        filling, failures = False, 0
        await self._reach(goal.peer)
        while True:
            try:
                level = await self._level(goal)
                filling = level < (self._section.high_bits if filling else self._section.low_bits)
                if not filling:
                    await asyncio.sleep(IDLE_S)
                    continue
                async with self._room:
                    await self.fill(goal)
                failures = 0
                self._say(goal, "")
            except NocloneError as error:
                self._say(goal, error.message)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

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

    def _say(self, goal: Goal, problem: str) -> None:
        """Note why a pool gets no key; one event when it begins, and one when it is over."""
        before = self._problems.get(goal, "")
        if problem:
            self._problems[goal] = problem
        else:
            self._problems.pop(goal, None)
        if bool(before) != bool(problem):
            kind = "relay.stalled" if problem else "relay.recovered"
            self._events.add(
                kind,
                f"kme:{self._store.name}",
                peer=goal.peer,
                profile=goal.profile,
                **({"reason": problem} if problem else {}),
            )


def _lost_hops(made: RelayProvenance, routes: Sequence[Sequence[str]], unsent: Sequence[int]) -> list[tuple[str, str]]:
    """Return between whom shares of a block were lost that was made without them."""
    out = []
    for share, (hops, route) in enumerate(zip(made.shares, routes, strict=True)):
        if share not in unsent and (not hops or hops[-1].receiver != made.target):
            at = max(0, len(hops) - 1)  # the last hop was signed by its sender; its receiver may never have had it
            out.append((route[at], route[at + 1]))
    return out
