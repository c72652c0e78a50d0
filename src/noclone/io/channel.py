"""The public channel: all that passes between Alice and Bob, in memory or over TCP. Everybody may read it.

In: messages (bytes) from one party.  Out: the same messages, in order, at the other, or a ChannelError.
Nothing here is secret and nothing is trusted: the block protocol authenticates what it carries. What this module
promises is liveness and bounds: every wait ends, every frame has a largest size, and a stranger's bytes cannot fill
the memory. Layout on the wire: docs/public-channel.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from noclone.errors import ChannelError
from noclone.io.attending import FRAME_BYTES_MAX, LENGTH, Attendant, Cutter, Ended, Heard

TIMEOUT_S = 60.0
HANDSHAKE_TIMEOUT_S = 10.0
MEMORY_FRAMES_MAX = 64  # how far one end of a memory channel may run ahead of the other
DRAIN_BYTES_MAX = 1 << 30
READ_BYTES = 1 << 18

MAGIC = b"noclone-public-channel\0\0"
VERSION = 2
HELLO = struct.Struct(">24sHB64s")  # magic, version, role, link
ROLES = {"alice": 1, "bob": 2}

T = TypeVar("T")


@dataclass(slots=True)
class ChannelCounters:
    """What crossed one end of a channel, without the framing.

    Args:
        rounds: How often this end turned from sending to waiting: each costs a round trip.
    """

    bytes_sent: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    rounds: int = 0


class PublicChannel(Protocol):
    """What the block protocol needs of a channel."""

    counters: ChannelCounters

    async def send(self, message: bytes) -> None:
        """Hand one message to the other end."""
        ...

    async def receive(self) -> bytes:
        """Return the next message of the other end."""
        ...

    async def close(self) -> None:
        """End the conversation; the other end's waits then fail."""
        ...


class AttendedChannel(Protocol):
    """What several blocks at a time need of a channel: to be called when something arrives, and never to wait."""

    counters: ChannelCounters

    async def attend(self, heard: Heard, ended: Ended) -> None:
        """From now on, call `heard` with what arrives, and `ended` once when nothing will any more."""
        ...

    def hold(self, *, held: bool) -> None:
        """Let the other end wait with what it has to say, or go on."""
        ...

    def post(self, *messages: bytes) -> None:
        """Hand messages over in one go, without waiting: whoever may send many waits for `flush` now and then."""
        ...

    @property
    def backlog_bytes(self) -> int:
        """What was handed over, and the system has not taken yet."""
        ...

    async def flush(self) -> None:
        """Wait until the other end's buffers have room."""
        ...

    async def close(self) -> None:
        """End the conversation."""
        ...


class _Channel:
    """Counting and the simulated delay, the same for every kind of channel.

    The block protocol talks in turns, so a delay of one turn is what a length of fibre costs it: the first message
    after a turn waits for `delay_s`, those behind it are in flight at the same time.
    """

    def __init__(self, delay_s: float, timeout_s: float) -> None:
        self.counters = ChannelCounters()
        self._delay_s = delay_s
        self._timeout_s = timeout_s
        self._listening = False

    def _count_sent(self, message: bytes) -> None:
        if len(message) > FRAME_BYTES_MAX:
            raise ValueError(f"a message of {len(message)} bytes does not fit a frame of {FRAME_BYTES_MAX}")
        self._listening = False
        self.counters.messages_sent += 1
        self.counters.bytes_sent += len(message)

    async def _count_received(self, message: bytes) -> None:
        if not self._listening:
            self._listening = True
            self.counters.rounds += 1
            if self._delay_s > 0:
                await asyncio.sleep(self._delay_s)
        self.counters.messages_received += 1
        self.counters.bytes_received += len(message)

    async def _in_time(self, wait: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await wait
        except TimeoutError:
            raise ChannelError(
                f"the peer on the public channel {what} for {self._timeout_s:g} s",
                hint="look whether the other end is alive and the network between the two is up",
            ) from None


class MemoryChannel(_Channel):
    """One end of a pair in the same process; see `memory_pair`."""

    def __init__(
        self,
        inbox: asyncio.Queue[bytes | None],
        outbox: asyncio.Queue[bytes | None],
        *,
        delay_s: float = 0.0,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        super().__init__(delay_s, timeout_s)
        self._inbox = inbox
        self._outbox = outbox
        self._closed = False

    async def send(self, message: bytes) -> None:
        """Hand one message to the other end."""
        if self._closed:
            raise ChannelError("the public channel is closed")
        self._count_sent(message)
        await self._in_time(self._outbox.put(message), "took no message")

    async def receive(self) -> bytes:
        """Return the next message of the other end."""
        if self._closed:
            raise ChannelError("the public channel is closed")
        message = await self._in_time(self._inbox.get(), "sent nothing")
        if message is None:
            self._closed = True
            raise ChannelError("the peer closed the public channel")
        await self._count_received(message)
        return message

    async def close(self) -> None:
        """End the conversation."""
        if self._closed:
            return
        self._closed = True
        while self._outbox.full():
            self._outbox.get_nowait()
        self._outbox.put_nowait(None)


def memory_pair(*, delay_s: float = 0.0, timeout_s: float = TIMEOUT_S) -> tuple[MemoryChannel, MemoryChannel]:
    """Return the two ends of a channel inside one event loop."""
    there: asyncio.Queue[bytes | None] = asyncio.Queue(MEMORY_FRAMES_MAX)
    back: asyncio.Queue[bytes | None] = asyncio.Queue(MEMORY_FRAMES_MAX)
    return (
        MemoryChannel(back, there, delay_s=delay_s, timeout_s=timeout_s),
        MemoryChannel(there, back, delay_s=delay_s, timeout_s=timeout_s),
    )


class TcpChannel(_Channel):
    """One end of a TCP connection: frames of a 4-byte length and as many bytes."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        delay_s: float = 0.0,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        super().__init__(delay_s, timeout_s)
        self._reader = reader
        self._writer = writer
        self._cutter = Cutter()
        self._messages: deque[bytes] = deque()  # read, and not asked for yet

    @classmethod
    async def connect(
        cls, host: str, port: int, *, role: str, link: str, delay_s: float = 0.0, timeout_s: float = TIMEOUT_S
    ) -> TcpChannel:
        """Call the other party, and return the channel once both have said who they are.

        Raises:
            ChannelError: Nobody answers there, or what answers is not the other end of this link.
        """
        try:
            async with asyncio.timeout(min(timeout_s, HANDSHAKE_TIMEOUT_S)):
                reader, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError) as error:
            raise ChannelError(
                f"nobody answers on the public channel at {host}:{port} ({type(error).__name__})",
                hint="start the other node first, and check host and port in the scenario",
            ) from error
        channel = cls(reader, writer, delay_s=delay_s, timeout_s=timeout_s)
        try:
            await channel.introduce(role, link)
        except BaseException:
            await channel.close()
            raise
        return channel

    async def introduce(self, role: str, link: str) -> None:
        """Say who we are, and check that the peer is the other party of the same link and speaks this version."""
        name = link.encode()[:64]
        self._writer.write(HELLO.pack(MAGIC, VERSION, ROLES[role], name))
        try:
            async with asyncio.timeout(min(self._timeout_s, HANDSHAKE_TIMEOUT_S)):
                await self._writer.drain()
                hello = await self._reader.readexactly(HELLO.size)
        except TimeoutError:
            raise ChannelError("the peer on the public channel did not say who it is in time") from None
        except (asyncio.IncompleteReadError, OSError):
            raise ChannelError(
                "the peer closed the public channel before it said who it is",
                hint="each end serves one peer at a time; another may be connected already",
            ) from None
        magic, version, peer_role, peer_link = HELLO.unpack(hello)
        if magic != MAGIC:
            raise ChannelError("what answers on the public channel does not speak noclone")
        if version != VERSION:
            raise ChannelError(
                f"the peer speaks version {version} of the public channel, we speak {VERSION}",
                hint="run the same release of noclone at both ends",
            )
        if peer_role not in ROLES.values() or peer_role == ROLES[role]:
            raise ChannelError(f"both ends of the public channel claim to be {role}")
        if peer_link.rstrip(b"\0") != name:
            raise ChannelError(f"the peer on the public channel serves another link than {link}")

    async def send(self, message: bytes) -> None:
        """Hand one message to the other end; wait while its buffers are full."""
        self.post(message)
        if self.backlog_bytes:
            await self.flush()

    @property
    def backlog_bytes(self) -> int:
        """What was handed over, and the system has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    def post(self, *messages: bytes) -> None:
        """Hand messages over in one go, without waiting: whoever may send many waits for `flush` now and then."""
        if self._writer.is_closing():
            raise ChannelError("the public channel is closed")
        pieces: list[bytes] = []
        for message in messages:
            self._count_sent(message)
            pieces += (LENGTH.pack(len(message)), message)
        self._writer.writelines(pieces)

    async def flush(self) -> None:
        """Wait until the other end's buffers have room."""
        try:
            await self._in_time(self._writer.drain(), "took no message")
        except OSError as error:
            raise ChannelError(f"the public channel broke while sending ({type(error).__name__})") from error

    async def receive(self) -> bytes:
        """Return the next message of the other end."""
        if not self._messages:
            await self._in_time(self._read(), "sent nothing")
        message = self._messages.popleft()
        await self._count_received(message)
        return message

    async def _read(self) -> None:
        """Read until there is a message."""
        while not self._messages:
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError as error:
                raise ChannelError(f"the public channel broke while receiving ({type(error).__name__})") from error
            if not data:
                raise self._cutter.end()
            try:
                self._messages += self._cutter.cut(data)
            except ChannelError:
                await self.close()
                raise

    async def attend(self, heard: Heard, ended: Ended) -> None:
        """From now on, call `heard` with what arrives, and `ended` once when nothing will any more.

        No delay is simulated, and nobody may `receive` any more. There is no task between the socket and `heard`: for
        the many small messages of a block that would be most of the work.
        """
        transport = self._writer.transport
        attendant = Attendant(cast(asyncio.Protocol, transport.get_protocol()), self, heard, ended)
        transport.set_protocol(attendant)
        early, over = b"", False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):  # what the reader has got; it would wait for more
                while data := await self._reader.read(READ_BYTES):
                    early += data
                over = True
        attendant.begin(early, over=over)

    def hear(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole with this data."""
        messages = [*self._messages, *self._cutter.cut(data)]
        self._messages.clear()
        self.counters.messages_received += len(messages)
        self.counters.bytes_received += sum(map(len, messages))
        return messages

    def hold(self, *, held: bool) -> None:
        """Let the other end wait with what it has to say, or go on."""
        transport = cast(asyncio.ReadTransport, self._writer.transport)
        with contextlib.suppress(RuntimeError):  # it is closing
            (transport.pause_reading if held else transport.resume_reading)()

    def end(self) -> ChannelError:
        """Return what there is to say when the other end has hung up."""
        return self._cutter.end()

    async def close(self) -> None:
        """End the conversation."""
        self._writer.close()
        try:
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()  # the peer does not read what is left


async def drain(channel: PublicChannel, *, timeout_s: float = 2.0) -> None:
    """Read and forget what the peer still sends, until it hangs up: so a last word of ours is not lost to a reset."""
    count = 0
    with contextlib.suppress(ChannelError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            while count < DRAIN_BYTES_MAX:
                count += len(await channel.receive())
