"""Pools of key between their marks, filled ahead of demand: what relayed and combined key have in common.

In: which pools a node keeps, how full each is, what fills one.  Out: fillings, one after another, until each pool is
full again; fewer while they fail. Both ends of a pool keep it. Why a pool gets nothing is an event when it begins, and
another when it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from noclone.errors import NocloneError

IDLE_S = 0.25
BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 4.0)


class Pool(Protocol):
    """A pool to keep: with whom, and of what profile."""

    @property
    def peer(self) -> str: ...

    @property
    def profile(self) -> str: ...


class Marks(Protocol):
    """Between what a pool is kept: below the one it is filled, until it holds the other."""

    @property
    def low_bits(self) -> int: ...

    @property
    def high_bits(self) -> int: ...


Goal = TypeVar("Goal", bound=Pool)


class Filling(Generic[Goal]):
    """Fills the pools of one node.

    Args:
        goals: The pools.
        marks: Between what.
        reach: Begins to call a KME, so that promises can be made with it.
        level: Returns how many bits a pool holds.
        fill: Puts one block into a pool, or raises why not.
        say: Hears a word, "stalled" or "recovered", about which pool, and why.
        at_once: Blocks that are made at the same time.
        on_demand: Pools that are kept while applications ask for them.
        on_demand_max: How many of these at a time: the one that nobody asked for the longest gives way.
    """

    def __init__(
        self,
        goals: Iterable[Goal],
        marks: Marks,
        *,
        reach: Callable[[str], Awaitable[object]],
        level: Callable[[Goal], Awaitable[int]],
        fill: Callable[[Goal], Awaitable[object]],
        say: Callable[[str, Goal, dict[str, Any]], None],
        at_once: int,
        on_demand: Iterable[Goal] = (),
        on_demand_max: int = 0,
    ) -> None:
        self.paused = False  # begin no more for now: the operator drains this node
        self._goals = tuple(goals)
        self._marks, self._reach, self._level, self._fill, self._say = marks, reach, level, fill, say
        self._room = asyncio.Semaphore(at_once)
        self._stalled: set[Goal] = set()
        self._on_demand = {goal.peer: goal for goal in on_demand}
        self._on_demand_max = on_demand_max
        self.wanted: dict[Goal, asyncio.Task[None] | None] = {}  # the one that was asked for last is the last one
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False

    def start(self) -> None:
        """Begin to fill, until `stop`."""
        self._started = True
        for goal in self._goals:
            self._begin(goal)
        self.wanted = {goal: self._begin(goal) for goal in self.wanted}

    def asked(self, peer: str) -> None:
        """Hear that an application wants key with a peer: a pool that is kept for those who ask begins, or stays."""
        goal = self._on_demand.get(peer)
        if goal is None:
            return
        task = self.wanted.pop(goal, None)
        while len(self.wanted) >= self._on_demand_max:
            oldest = next(iter(self.wanted))
            gone = self.wanted.pop(oldest)
            self._stalled.discard(oldest)
            if gone is not None:
                gone.cancel()
        self.wanted[goal] = self._begin(goal) if task is None and self._started else task

    def _begin(self, goal: Goal) -> asyncio.Task[None]:
        task = asyncio.create_task(self._keep(goal))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Begin no more."""
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
                filling = level < (self._marks.high_bits if filling else self._marks.low_bits)
                if not filling or self.paused:
                    await asyncio.sleep(IDLE_S)
                    continue
                async with self._room:
                    await self._fill(goal)
                failures = 0
                self._note(goal, "")
            except NocloneError as error:
                self._note(goal, error.message)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    def _note(self, goal: Goal, problem: str) -> None:
        if problem and goal not in self._stalled:
            self._stalled.add(goal)
            self._say("stalled", goal, {"reason": problem})
        elif not problem and goal in self._stalled:
            self._stalled.discard(goal)
            self._say("recovered", goal, {})
