"""Truncation: a message ends early.

In: Alice's counts.  Out: half of them. Every message has a length that both ends know, and the tags cover all of it.
"""

from __future__ import annotations

from noclone.distill.messages import HEADER, Kind
from noclone.redteam.messages import Message, MessageAttack, Touch


def half_of_it() -> Touch:
    """Return what cuts Alice's counts in half."""

    def touch(message: Message) -> list[bytes]:
        if message.kind is not Kind.COUNTS:
            return [message.frame]
        return [message.frame[: HEADER.size + (len(message.frame) - HEADER.size) // 2]]

    return touch


ATTACK = MessageAttack("truncation", half_of_it)
