"""Tampering: one bit of the seed of privacy amplification is turned over on its way.

In: the message AMPLIFY.  Out: the same with one bit changed. Nothing but the tags can find it: the message has the
right length and comes when it is due. Alice and Bob would hold different keys that both look random (Wegman, Carter
1981: a changed transcript passes with a probability that the tag's length bounds; `crypto.transcript_hash`).
"""

from __future__ import annotations

from noclone.distill.messages import Kind
from noclone.redteam.messages import Message, MessageAttack, Touch


def turn_one_bit() -> Touch:
    """Return what turns over the last bit of the seed."""

    def touch(message: Message) -> list[bytes]:
        if message.kind is not Kind.AMPLIFY:
            return [message.frame]
        return [message.frame[:-1] + bytes([message.frame[-1] ^ 1])]

    return touch


ATTACK = MessageAttack("tampering", turn_one_bit)
