"""One block in flight: its party, what has arrived for it, and when its turn is.

In: a party and the turn of the block before.  Out: how it ended. `flight` runs it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from noclone.distill.job import BlockResult
from noclone.distill.messages import Kind
from noclone.distill.parties import Party
from noclone.distill.session import Step


@dataclass(frozen=True, slots=True)
class Landed:
    """How this end's side of a block ended: exactly one of the last two is set."""

    block: int
    result: BlockResult | None = None
    error: Exception | None = None


class Turn:
    """How far a block is, for the one behind it."""

    def __init__(self) -> None:
        self.greeted = asyncio.Event()
        self.ended = asyncio.Event()

    def end(self) -> None:
        self.greeted.set()
        self.ended.set()


class Lane:
    """One block in flight."""

    def __init__(self, party: Party, block: int, before: Turn) -> None:
        self.party = party
        self.block = block
        self.inbox: deque[bytes] = deque()
        self.heard = 0  # messages that the party was given
        self.idle: asyncio.Future[Step | None] | None = None  # set while it waits with an empty inbox
        self.brisk = False  # whether what it waits for costs next to nothing
        self.begun = asyncio.Event()
        self.turn, self.before = Turn(), before
        self.landed = Landed(block)

    async def await_turn(self, message: bytes) -> None:
        """Wait until it is this block's turn to read a message."""
        if message[0] == Kind.HELLO:
            await self.before.greeted.wait()
        elif message[0] == Kind.TAG:
            await self.before.ended.wait()

    @property
    def waits(self) -> bool:
        """Whether it waits for a message, and there is none."""
        return self.idle is not None and not self.idle.done()

    def wake(self, step: Step | None = None) -> None:
        """Go on: with a step that was taken for it, or to look what there is."""
        if self.idle is not None and not self.idle.done():
            self.idle.set_result(step)
