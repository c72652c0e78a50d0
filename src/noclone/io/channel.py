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
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from noclone.errors import ChannelError

FRAME_BYTES_MAX = 8 << 20
TIMEOUT_S = 60.0
HANDSHAKE_TIMEOUT_S = 10.0
MEMORY_FRAMES_MAX = 64  # how far one end of a memory channel may run ahead of the other
DRAIN_BYTES_MAX = 1 << 30
HANDSHAKES_MAX = 8  # callers who have not said who they are yet

MAGIC = b"noclone-public-channel\0\0"
VERSION = 1
HELLO = struct.Struct(">24sHB64s")  # magic, version, role, link
LENGTH = struct.Struct(">I")
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
            await channel._introduce(role, link)
        except BaseException:
            await channel.close()
            raise
        return channel

    async def _introduce(self, role: str, link: str) -> None:
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
        if self._writer.is_closing():
            raise ChannelError("the public channel is closed")
        self._count_sent(message)
        try:
            self._writer.writelines((LENGTH.pack(len(message)), message))
            if self._writer.transport.get_write_buffer_size():
                await self._in_time(self._writer.drain(), "took no message")
        except OSError as error:
            raise ChannelError(f"the public channel broke while sending ({type(error).__name__})") from error

    async def receive(self) -> bytes:
        """Return the next message of the other end."""
        message = await self._in_time(self._read(), "sent nothing")
        await self._count_received(message)
        return message

    async def _read(self) -> bytes:
        count = LENGTH.size
        try:
            length = LENGTH.unpack(await self._reader.readexactly(count))[0]
            if length > FRAME_BYTES_MAX:
                await self.close()
                what = f"the peer announced a message of {length} bytes"
                raise ChannelError(f"{what}; the public channel carries {FRAME_BYTES_MAX} at most")
            count = length
            return await self._reader.readexactly(count)
        except asyncio.IncompleteReadError as error:
            inside = error.partial or count != LENGTH.size
            where = f"in the middle of a message ({len(error.partial)} of {count} bytes)" if inside else ""
            raise ChannelError(f"the peer closed the public channel {where}".strip()) from None
        except OSError as error:
            raise ChannelError(f"the public channel broke while receiving ({type(error).__name__})") from error

    async def close(self) -> None:
        """End the conversation."""
        self._writer.close()
        try:
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()  # the peer does not read what is left


class TcpServer:
    """Wait for the other party: one peer at a time; whoever else calls is sent away."""

    def __init__(self, role: str, link: str, delay_s: float, timeout_s: float) -> None:
        self._role = role
        self._link = link
        self._delay_s = delay_s
        self._timeout_s = timeout_s
        self._busy = False
        self._peers: asyncio.Queue[TcpChannel | ChannelError] = asyncio.Queue(1)
        self._server: asyncio.Server | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self.refused = 0

    @classmethod
    async def listen(
        cls, host: str, port: int, *, role: str, link: str, delay_s: float = 0.0, timeout_s: float = TIMEOUT_S
    ) -> TcpServer:
        """Open the port (0: any free one).

        Raises:
            ChannelError: The address cannot be used.
        """
        server = cls(role, link, delay_s, timeout_s)
        try:
            server._server = await asyncio.start_server(server._on_call, host, port, backlog=8)
        except OSError as error:
            raise ChannelError(
                f"the public channel cannot listen on {host}:{port} ({error.strerror})",
                hint="another process may hold that port",
            ) from error
        return server

    @property
    def port(self) -> int:
        """The port that is open."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def _on_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._busy or len(self._handshakes) >= HANDSHAKES_MAX:
            self.refused += 1
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._handshakes.add(task)
        channel = _ServedChannel(reader, writer, self, delay_s=self._delay_s, timeout_s=self._timeout_s)
        try:
            await channel._introduce(self._role, self._link)
            if self._busy:
                raise ChannelError("another peer was faster")
            self._busy = True
            self._peers.put_nowait(channel)
        except ChannelError:
            self.refused += 1
            await TcpChannel.close(channel)
        finally:
            self._handshakes.discard(task)

    async def accept(self, timeout_s: float | None = None) -> TcpChannel:
        """Return the channel to the next peer that says that it is the other party.

        Raises:
            ChannelError: Nobody called within `timeout_s` (None: wait for ever).
        """
        try:
            async with asyncio.timeout(timeout_s):
                peer = await self._peers.get()
        except TimeoutError:
            raise ChannelError(f"nobody called on the public channel within {timeout_s:g} s") from None
        if isinstance(peer, ChannelError):
            raise peer
        return peer

    def release(self) -> None:
        """Let the next peer in; the channel to the last one calls this when it is closed."""
        self._busy = False

    async def close(self) -> None:
        """Close the port and hang up on whoever is still saying hello."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._handshakes):
            task.cancel()
        while not self._peers.empty():
            waiting = self._peers.get_nowait()
            if isinstance(waiting, TcpChannel):
                await waiting.close()
        self._peers.put_nowait(ChannelError("the public channel stopped listening"))


class _ServedChannel(TcpChannel):
    """A channel that tells its server when the peer is gone."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: TcpServer,
        *,
        delay_s: float,
        timeout_s: float,
    ) -> None:
        super().__init__(reader, writer, delay_s=delay_s, timeout_s=timeout_s)
        self._server = server

    async def close(self) -> None:
        """End the conversation and let the next peer in."""
        await super().close()
        self._server.release()


async def drain(channel: PublicChannel, *, timeout_s: float = 2.0) -> None:
    """Read and forget what the peer still sends, until it hangs up: so a last word of ours is not lost to a reset."""
    count = 0
    with contextlib.suppress(ChannelError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            while count < DRAIN_BYTES_MAX:
                count += len(await channel.receive())
