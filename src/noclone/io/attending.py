"""From the bytes of a connection to messages, and from a stream's protocol to one that tells what arrives.

In: bytes, as they come.  Out: whole messages, to whoever attends.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Protocol

from noclone.errors import ChannelError

FRAME_BYTES_MAX = 8 << 20
LENGTH = struct.Struct(">I")

Heard = Callable[[list[bytes]], None]
Ended = Callable[[ChannelError], None]


class Attended(Protocol):
    """A channel that somebody attends."""

    def hear(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole with this data."""
        ...

    def hold(self, *, held: bool) -> None:
        """Let the other end wait with what it has to say, or go on."""
        ...

    def end(self) -> ChannelError:
        """Return what there is to say when the other end has hung up."""
        ...


class Cutter:
    """Cut a stream of bytes into messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()  # of the message that is not whole yet

    def cut(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole with this data.

        Raises:
            ChannelError: The next one would be too long.
        """
        self._bytes += data
        messages, at, have = [], 0, len(self._bytes)
        while have >= at + LENGTH.size:
            (length,) = LENGTH.unpack_from(self._bytes, at)
            if length > FRAME_BYTES_MAX:
                what = f"the peer announced a message of {length} bytes"
                raise ChannelError(f"{what}; the public channel carries {FRAME_BYTES_MAX} at most")
            if have < at + LENGTH.size + length:
                break
            at += LENGTH.size + length
            messages.append(bytes(self._bytes[at - length : at]))
        del self._bytes[:at]
        return messages

    def end(self) -> ChannelError:
        """Return what there is to say when no more bytes come."""
        where = f"in the middle of a message (after {len(self._bytes)} of its bytes)" if self._bytes else ""
        return ChannelError(f"the peer closed the public channel {where}".strip())


class Attendant(asyncio.Protocol):
    """Stands where a stream's protocol stood: passes on what is said of writing, and tells what is read.

    Args:
        stream: The protocol that stood there; `drain` and `wait_closed` go on by it.
    """

    def __init__(self, stream: asyncio.Protocol, channel: Attended, heard: Heard, ended: Ended) -> None:
        self.pause_writing = stream.pause_writing  # type: ignore[method-assign]
        self.resume_writing = stream.resume_writing  # type: ignore[method-assign]
        self._stream = stream
        self._channel = channel
        self._heard = heard
        self._ended = ended
        self._early: bytearray | None = bytearray()
        self._over = False

    def begin(self, before: bytes, *, over: bool) -> None:
        """Tell what came until now, and go on."""
        early, self._early = before + bytes(self._early or b""), None
        self.data_received(early)
        if over or self._over:
            self._end(self._channel.end())

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            return
        try:
            messages = self._channel.hear(data)
        except ChannelError as error:
            self._end(error)
            self._channel.hold(held=True)
            return
        if messages:
            self._heard(messages)

    def eof_received(self) -> bool:
        self._end(self._channel.end())
        return True  # there may be something left to be sent

    def connection_lost(self, exc: Exception | None) -> None:
        self._stream.connection_lost(exc)
        self._end(self._channel.end() if exc is None else ChannelError("the public channel broke while receiving"))

    def _end(self, error: ChannelError) -> None:
        """Say that it is over: once, and not before `begin`."""
        if self._early is not None:
            self._over = True
        elif self._ended is not _nobody:
            ended, self._ended = self._ended, _nobody
            ended(error)


def _nobody(_: ChannelError) -> None:
    """Whom nothing is told."""
