"""What every attack on the public channel is made of: which messages it touches, and what it makes of them.

In: messages of the block protocol, in both directions.  Out: what arrives instead. Eve reads everything that crosses
the public channel, as anybody may; her strength is the share of blocks that she touches. She holds no tag key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from noclone.distill.messages import HEADER, KINDS, Kind
from noclone.link.lights import LinkLight
from noclone.link.overheard import Overheard
from noclone.link.tap import NO_TAP, Eavesdropper, Learned
from noclone.redteam.record import EveRecord, information


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the block protocol.

    Args:
        sender: "alice" or "bob".
        frame: As it was sent.
    """

    sender: str
    kind: Kind
    block: int
    frame: bytes

    @classmethod
    def read(cls, sender: str, frame: bytes) -> Message | None:
        """Return the message in a frame; None where it is something else, such as the talk between blocks."""
        if len(frame) < HEADER.size or frame[:1] == b"{":
            return None
        code, _, block, _ = HEADER.unpack_from(frame)
        return cls(sender, KINDS[code], block, frame) if code in KINDS else None


Touch = Callable[[Message], list[bytes]]


class Touched:
    """A carriage that hands the messages of some blocks to an attack, and passes on all others.

    Args:
        touch: Made anew for each conversation, for it may remember.
        strength: Share of the blocks.
        delay_s: How long every message is held up; only a channel with time knows.
    """

    def __init__(self, touch: Touch, strength: float, delay_s: float = 0.0) -> None:
        self._touch = touch
        self._strength = strength
        self.delay_s = delay_s

    def __call__(self, sender: str, frame: bytes) -> list[bytes]:
        """Return what arrives in place of a frame."""
        message = Message.read(sender, frame)
        if message is None or not self._chosen(message.block):
            return [frame]
        return self._touch(message)

    def _chosen(self, block: int) -> bool:
        """Spread the touched blocks evenly over all."""
        return int((block + 1) * self._strength) > int(block * self._strength)


@dataclass(frozen=True, slots=True)
class MessageAttack:
    """An attack on the messages of one link.

    Args:
        touch: Makes what is done to the messages of one conversation.
        delay_s: At full strength.
    """

    name: str
    touch: Callable[[], Touch]
    delay_s: float = 0.0

    def eavesdropper(self, devices: LinkLight, strength: float) -> Eavesdropper:
        """Return who carries it out; the light is left alone."""

        def nothing(view: Overheard) -> Learned:
            return information(EveRecord.empty(len(view.codes)), view)

        def carriage() -> Touched:
            return Touched(self.touch(), strength, strength * self.delay_s)

        return Eavesdropper(NO_TAP, devices, nothing, carriage if strength else None)


def untouched() -> Touch:
    """Return what passes every message on."""
    return lambda message: [message.frame]
