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
from typing import Any, cast

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
from noclone.network.filling import Filling
from noclone.network.pqc_section import PqcSection

AT_ONCE = 2  # exchanges that one node begins at the same time


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
        self._tasks: list[asyncio.Task[None]] = []
        self._filling = Filling(
            self.goals,
            section,
            reach=service.reach,
            level=self._level,
            fill=self._fill,
            say=self._say,
            at_once=AT_ONCE,
        )
        service.kme.policies.suites.listen(self._suites_changed)

    def wants(self, peer: str, profile: str) -> bool:
        """Say whether key of a profile is wanted with another KME."""
        generic = generic_profile(profile)
        return CombinedGoal(peer, generic) in self.goals or (generic == WITHOUT_QKD and peer in self._signed)

    def start(self) -> None:
        """Begin to fill, until `stop`."""
        self._filling.start()
        self._suites_changed()

    async def stop(self) -> None:
        """Begin no more exchanges."""
        await self._filling.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fill(self, goal: CombinedGoal) -> None:
        await self._service.exchange.exchange(goal.peer, goal.mode, self._section.block_bytes, goal.inner)

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

    def _say(self, word: str, goal: CombinedGoal, more: dict[str, Any]) -> None:
        kme = self._service.kme
        kme.events.add(f"exchange.{word}", f"kme:{kme.name}", peer=goal.peer, profile=goal.profile, **more)
