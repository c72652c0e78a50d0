"""Replay: a message is sent twice, and an earlier block's is sent again.

In: any message.  Out: Bob's announcements twice. Each frame carries its block and a number that rises, and both are
in the transcript that the tags cover, so the second one comes where another is due.
"""

from __future__ import annotations

from noclone.distill.messages import Kind
from noclone.redteam.messages import Message, MessageAttack, Touch


def say_it_twice() -> Touch:
    """Return what repeats Bob's test values."""

    def touch(message: Message) -> list[bytes]:
        return [message.frame] * (2 if message.kind is Kind.TEST else 1)

    return touch


ATTACK = MessageAttack("replay", say_it_twice)
