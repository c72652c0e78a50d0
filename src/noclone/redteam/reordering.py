"""Reordering: Alice's tag arrives before the message that it closes with.

In: AMPLIFY and TAG, sent one behind the other.  Out: the other way round. Frames are numbered, and the number is in
what the tag covers.
"""

from __future__ import annotations

from noclone.distill.messages import Kind
from noclone.redteam.messages import Message, MessageAttack, Touch


def tag_first() -> Touch:
    """Return what holds the seed back until the tag has passed."""
    held: list[bytes] = []

    def touch(message: Message) -> list[bytes]:
        if message.kind is Kind.AMPLIFY:
            held.append(message.frame)
            return []
        if message.kind is Kind.TAG and held:
            return [message.frame, held.pop()]
        return [message.frame]

    return touch


ATTACK = MessageAttack("reordering", tag_first)
