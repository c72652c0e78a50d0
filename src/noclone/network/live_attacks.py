"""Attacks on nodes and applications of a network that runs: begun, stopped and listed by the operator, in labs alone.

In: which attacks there are (`redteam.live`), a served network.  Out: tasks that attack until they are stopped. Attacks
on links are the light's (`light_server`). What she gets is said in `eve.got-key` events, as she gets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from noclone.errors import InputError, NocloneError
from noclone.events import EventLog
from noclone.network.node import Node
from noclone.network.scenario import Scenario
from noclone.spelling import choices

Target = Literal["node", "application"]
KINDS: dict[Target, str] = {"node": "node", "application": "sae"}  # as events' subjects have it


@dataclass(frozen=True, slots=True)
class Ground:
    """What there is to attack."""

    scenario: Scenario
    pki: Path
    nodes: Mapping[str, Node]
    log: EventLog

    def names(self, target: Target) -> list[str]:
        """Return everything of a kind."""
        scenario = self.scenario
        return [node.name for node in scenario.nodes] if target == "node" else [sae.id for sae in scenario.saes]


@dataclass(frozen=True, slots=True)
class LiveAttack:
    """An attack on a running network.

    Args:
        target: What it is carried out on.
        run: Attacks one of these, with a strength above 0 and up to 1, until it is cancelled.
    """

    name: str
    target: Target
    run: Callable[[Ground, str, float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Running:
    attack: LiveAttack
    strength: float
    task: asyncio.Task[None]


class LiveAttacks:
    """Those that go on now: one on each target at most."""

    def __init__(self, attacks: Mapping[str, LiveAttack], ground: Ground) -> None:
        self._attacks = attacks
        self._ground = ground
        self._running: dict[str, _Running] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._attacks

    def start(self, name: str, on: str, strength: float) -> None:
        """Begin an attack; one that went on there ends.

        Raises:
            InputError: There is no such target, or the strength is impossible.
        """
        attack = self._attacks[name]
        there = self._ground.names(attack.target)
        if on not in there:
            hint = choices(on, there, f"'{name}' is carried out on one of")
            raise InputError(f"there is no {attack.target} '{on[:64]}' here", hint=hint)
        if not 0 < strength <= 1:
            raise InputError(f"an attack's strength lies above 0 and up to 1, not {strength}")
        self.stop(on)
        self._running[on] = _Running(attack, strength, asyncio.create_task(self._run(attack, on, strength)))
        self._ground.log.add("attack.started", _subject(attack, on), name=name, strength=strength)

    async def _run(self, attack: LiveAttack, on: str, strength: float) -> None:
        try:
            await attack.run(self._ground, on, strength)
        except (NocloneError, OSError) as error:
            message = getattr(error, "message", str(error))
            self._ground.log.add("attack.failed", _subject(attack, on), name=attack.name, message=message)

    def stop(self, on: str) -> bool:
        """End the attack on a node or application; return whether there was one."""
        running = self._running.pop(on, None)
        if running is None:
            return False
        running.task.cancel()
        self._ground.log.add("attack.stopped", _subject(running.attack, on), name=running.attack.name)
        return True

    def state(self) -> list[dict[str, Any]]:
        """Return who attacks what."""
        return [
            {"name": one.attack.name, "on": on, "target": one.attack.target, "strength": one.strength}
            for on, one in self._running.items()
        ]

    async def close(self) -> None:
        """End all."""
        tasks = [one.task for one in self._running.values()]
        for on in tuple(self._running):
            self.stop(on)
        await asyncio.gather(*tasks, return_exceptions=True)


def _subject(attack: LiveAttack, on: str) -> str:
    return f"{KINDS[attack.target]}:{on}"
