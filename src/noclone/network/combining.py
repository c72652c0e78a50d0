"""Pools of combined key, filled ahead of demand: what a node does so that no application waits for an exchange.

In: which pools a node keeps, the suites in force.  Out: exchanges, one after another, until each pool is full again.
The QKD key that they take comes out of pools that `keeper` fills, or from fibres. Both ends of a pool keep it. When
suites change, new key is made in the preferred one at once, and key in one that is refused from now on is erased.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from noclone.combined import (
    ANY_SUITE,
    POST_QUANTUM_ONLY,
    combined_profile,
    generic_profile,
    inner_profile,
    suite_of,
)
from noclone.crypto.combiners import Mode
from noclone.errors import NocloneError
from noclone.kms.relay_store import discard_profiles
from noclone.kms.service import KmeService
from noclone.network.pqc_section import PqcSection

IDLE_S = 0.25
BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class CombinedGoal:
    """A pool of combined key to keep.

    Args:
        peer: The KME at the other end.
        profile: How its blocks are made, the suite left open.
    """

    peer: str
    profile: str

    @property
    def mode(self) -> Mode:
        """Which combiner."""
        return cast(Mode, self.profile.partition(":")[0])

    @property
    def inner(self) -> str:
        """Profile of the QKD key; nothing without QKD."""
        return inner_profile(self.profile)


def is_combined(profile: str) -> bool:
    """Say whether key of a profile is combined."""
    return suite_of(profile) is not None


WITHOUT_QKD = combined_profile(POST_QUANTUM_ONLY, ANY_SUITE, "")


class CombinedKeeper:
    """Fills the pools of combined key of one node.

    Args:
        service: Its KME.
        goals: The pools.
        section: Watermarks and sizes.
        signed: KMEs with which a link is bootstrapped by signatures: key without QKD is taken from them for that.
    """

    def __init__(
        self,
        service: KmeService,
        goals: Iterable[CombinedGoal],
        section: PqcSection,
        signed: Iterable[str] = (),
    ) -> None:
        self.goals = tuple(goals)
        self._signed = frozenset(signed)
        service.exchange.wants = self.wants
        self._service = service
        self._section = section
        self._problems: dict[CombinedGoal, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.paused = False
        self._room = asyncio.Semaphore(2)
        service.kme.policies.suites.listen(self._suites_changed)

    def wants(self, peer: str, profile: str) -> bool:
        """Say whether key of a profile is wanted with another KME."""
        if self.paused:
            return False
        generic = generic_profile(profile)
        return CombinedGoal(peer, generic) in self.goals or (generic == WITHOUT_QKD and peer in self._signed)

    @property
    def problems(self) -> dict[CombinedGoal, str]:
        """Why pools that want key get none now."""
        return dict(self._problems)

    def start(self) -> None:
        """Begin to fill, until `stop`."""
        self._tasks += [asyncio.create_task(self._keep(goal)) for goal in self.goals]
        self._suites_changed()

    async def stop(self) -> None:
        """Begin no more exchanges."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, goal: CombinedGoal) -> None:
        """Keep one pool between its marks, for ever."""
        filling, failures = False, 0
        await self._service.reach(goal.peer)
        while True:
            try:
                level = await self._level(goal)
                filling = level < (self._section.high_bits if filling else self._section.low_bits)
                if not filling or self.paused:
                    await asyncio.sleep(IDLE_S)
                    continue
                async with self._room:
                    await self._service.exchange.exchange(goal.peer, goal.mode, self._section.block_bytes, goal.inner)
                failures = 0
                self._say(goal, "")
            except NocloneError as error:
                self._say(goal, error.message)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1

    async def _level(self, goal: CombinedGoal) -> int:
        """Return how full a pool is in the preferred suite, by the half that masters here use."""
        suites = self._service.kme.policies.suites
        profile = combined_profile(goal.mode, suites.preferred, goal.inner)
        state = await self._service.kme.store.pool(goal.peer, (profile,))
        return 2 * state.ready_out_bits + state.held_bits

    def _suites_changed(self) -> None:
        """Erase key that may not be used any more; say what is in force."""
        suites, kme = self._service.kme.policies.suites, self._service.kme
        kme.events.add(
            "suites.changed",
            f"kme:{kme.name}",
            accepted=list(suites.accepted),
            deprecated=list(suites.deprecated),
        )

        async def erase() -> None:
            with contextlib.suppress(NocloneError):
                count = await discard_profiles(kme.store, suites.allows)
                if count:
                    kme.events.add("key.discarded", f"kme:{kme.name}", blocks=count, reason="suite")

        self._tasks.append(asyncio.get_running_loop().create_task(erase()))

    def _say(self, goal: CombinedGoal, problem: str) -> None:
        """Note why a pool gets no key; one event when it begins, and one when it is over."""
        before = self._problems.get(goal, "")
        if problem:
            self._problems[goal] = problem
        else:
            self._problems.pop(goal, None)
        if bool(before) != bool(problem):
            kind = "exchange.stalled" if problem else "exchange.recovered"
            more = {"reason": problem} if problem else {}
            name = self._service.kme.name
            self._service.kme.events.add(kind, f"kme:{name}", peer=goal.peer, profile=goal.profile, **more)
