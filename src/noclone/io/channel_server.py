"""Whoever waits for the other party on the public channel: one peer at a time, and no stranger keeps it busy.

In: calls.  Out: a `TcpChannel` for each peer that says that it is the other party.
"""

from __future__ import annotations

import asyncio

from noclone.errors import ChannelError
from noclone.io.channel import TIMEOUT_S, TcpChannel

HANDSHAKES_MAX = 8  # callers who have not said who they are yet


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
                hint="another process may hold that port: end it, or give the scenario another base_port",
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
            await channel.introduce(self._role, self._link)
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
