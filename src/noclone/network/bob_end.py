"""Bob's end of a simulated link: he calls Alice, and reads what his devices saw.

In: Alice's word which block comes next, and the light.  Out: `{"next": n}`, and blocks that he begins.
He tries no block but one whose light came under its number: the light's number is Alice's, over TLS.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import numpy as np

from noclone.distill.flight import Flight
from noclone.distill.job import BLOCK_MAX
from noclone.distill.parties import bob
from noclone.errors import ChannelError
from noclone.io.channel import PublicChannel, TcpChannel
from noclone.network.ends import LIGHT_TIMEOUT_S, End, drop
from noclone.network.frames import read_json, receive_frame, whole
from noclone.network.light_server import events_from_frame
from noclone.records import Detections

LIGHT_GRACE_S = 60.0  # for what is still on its way when Alice says that all has been sent


class BobEnd(End):
    """Bob's end."""

    role = "bob"

    async def _session(self) -> None:
        reader, writer = await self._call_light()
        try:
            host, port = self._addresses.channel
            channel = await TcpChannel.connect(host, port, role="bob", link=self.plan.link.name)
            async with self._flight(channel) as flight:
                await self._fly(flight, partial(self._block, flight, reader))
        finally:
            writer.close()

    async def _block(self, flight: Flight, reader: asyncio.StreamReader) -> None:
        """Read the light of one block, and begin to distil it."""
        block = await self._agree(flight)
        detections = await self._light(flight, reader, block)
        await self._clear_for_launch(flight)
        self._enter()
        await flight.launch(bob(detections, self._job(block), self._services.pool), block)

    async def _agree(self, channel: PublicChannel) -> int:
        """Say where he is, and return the number that Alice announces."""
        ours = self._next_block()
        await channel.send(json.dumps({"next": ours}).encode())
        block = whole(await _patiently(channel), "block", BLOCK_MAX)
        if block < ours:
            raise ChannelError(
                f"the other end announces a block from before this end's next, {ours}: somebody changed the number on "
                "the public channel, or the other node's data is older than this one's"
            )
        return block

    async def _light(self, channel: PublicChannel, reader: asyncio.StreamReader, block: int) -> Detections:
        """Return what the light brings: no longer than Alice is there, and soon after she says that all was sent.

        Raises:
            ChannelError: Alice is gone, the light broke off, or it is that of another block.
        """
        light = asyncio.create_task(self._detections(reader, block))
        word = asyncio.create_task(_patiently(channel))
        tasks: list[asyncio.Task[Any]] = [light, word]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if light.done():
                light.result()
            if (await word).get("sent") is not True:
                raise ChannelError("the other end did not say that the light was sent when that was due")
            if not light.done():
                early = asyncio.create_task(channel.receive())  # she is silent now until our hello, or she hangs up
                tasks.append(early)
                await asyncio.wait({light, early}, timeout=LIGHT_GRACE_S, return_when=asyncio.FIRST_COMPLETED)
                if not light.done() and early.done():
                    early.result()
                    raise ChannelError("the other end spoke before its turn")
            if not light.done():
                raise ChannelError(
                    f"the light of block {block} did not come within {LIGHT_GRACE_S:g} s after all was said to be sent"
                )
            return light.result()
        finally:
            await drop(*tasks)

    async def _detections(self, reader: asyncio.StreamReader, block: int) -> Detections:
        """Read a block from the light, passing over what is left of earlier ones that broke off."""
        while True:
            header = read_json(await receive_frame(reader, timeout_s=LIGHT_TIMEOUT_S))
            found = whole(header, "block", BLOCK_MAX)
            if found > block:
                raise ChannelError(f"the light is that of block {found}, but the other end announced block {block}")
            parts = []
            while data := await receive_frame(reader, timeout_s=LIGHT_TIMEOUT_S):
                if found == block:
                    parts.append(events_from_frame(data))
            if found == block:
                break
        plan = self.plan.of(block)
        if header.get("n_slots") != plan.n_slots:
            raise ChannelError(
                "the light sends blocks of another size than this node's scenario says",
                hint="give the same scenario file to all processes",
            )
        events = np.concatenate(parts) if parts else np.empty(0, np.uint64)
        return Detections(plan.link.name, block, plan.n_slots, plan.light.clock_hz, events, self._services.origin)


async def _patiently(channel: PublicChannel) -> dict[str, Any]:
    """Return Alice's next message that is not a request to wait."""
    while (message := read_json(await channel.receive())).get("wait"):
        pass
    return message
