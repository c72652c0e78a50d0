"""The public channel of one link, passing through Eve's hands: a relay of frames, only in a lab.

In: Bob's connection.  Out: one to Alice's end, and every frame as Eve's carriage makes it. The channel is public: who
holds it needs no secret for that, and whatever is changed has to pass the tags of both ends. Without an attack each
frame arrives as it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from noclone.io.attending import FRAME_BYTES_MAX, LENGTH
from noclone.io.channel import HELLO
from noclone.link.tap import Carriage

WRITE_TIMEOUT_S = 60.0

MakeCarriage = Callable[[], Carriage | None]


class Wire:
    """Stand between Bob and Alice.

    Args:
        alice: Where Alice's end listens.
        carriage: Makes, for each new conversation, what becomes of its messages; None: nothing does.
    """

    def __init__(self, alice: tuple[str, int], carriage: MakeCarriage) -> None:
        self._alice = alice
        self._carriage = carriage
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def start(self) -> tuple[str, int]:
        """Listen on this machine; return where."""
        self._server = await asyncio.start_server(self._met, "127.0.0.1", 0, backlog=8)
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def stop(self) -> None:
        """Hang up."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._calls):
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def hang_up(self) -> None:
        """Break the conversations that go on: an attack begins, or ends, with the next one."""
        for task in tuple(self._calls):
            task.cancel()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_alice = await asyncio.open_connection(*self._alice)
        except OSError:
            writer.close()
            return
        carriage = self._carriage()
        ways = [
            asyncio.create_task(_carry("bob", reader, to_alice[1], carriage)),
            asyncio.create_task(_carry("alice", to_alice[0], writer, carriage)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, to_alice[1]):
                end.close()


async def _carry(
    sender: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, carriage: Carriage | None
) -> None:
    """Pass on what one end says until it hangs up."""
    with contextlib.suppress(asyncio.IncompleteReadError, OSError, TimeoutError):
        writer.write(await reader.readexactly(HELLO.size))
        while True:
            length = LENGTH.unpack(await reader.readexactly(LENGTH.size))[0]
            if length > FRAME_BYTES_MAX:
                return
            frame = await reader.readexactly(length)
            delay_s = getattr(carriage, "delay_s", 0.0)
            if delay_s:
                await asyncio.sleep(delay_s)
            for arriving in [frame] if carriage is None else carriage(sender, frame):
                writer.write(LENGTH.pack(len(arriving)) + arriving)
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await writer.drain()
