"""Suppression: Bob's tag, the last message of a block, never arrives.

In: Bob's TAG.  Out: nothing. No order of messages can prevent that one end releases its key and the other does not
(the two generals' problem); what must hold is that such a key is never delivered: docs/public-channel.md, "The last
message".
"""

from __future__ import annotations

from noclone.distill.messages import Kind
from noclone.redteam.messages import Message, MessageAttack, Touch


def no_last_word() -> Touch:
    """Return what loses Bob's tag."""

    def touch(message: Message) -> list[bytes]:
        return [] if message.kind is Kind.TAG and message.sender == "bob" else [message.frame]

    return touch


ATTACK = MessageAttack("suppression", no_last_word)
