"""Alice's end of a simulated link: she listens on the public channel, has the light sent, and keeps her settings.

In: Bob's word where he is.  Out: `{"block": n}`, the light of that block, `{"sent": true}` once she has begun it.
A number is spent for good once a block was tried under it, so she moves at most `AHEAD_MAX` numbers on a stranger's
word. She leads: how many blocks are under way is hers to say (`ends.blocks_at_a_time`, the node's room, what the key
store wants, what is left of authentication key).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from noclone import rng
from noclone.distill.flight import Flight
from noclone.distill.job import BLOCK_MAX
from noclone.distill.parties import alice
from noclone.errors import ChannelError
from noclone.io.channel import PublicChannel
from noclone.io.channel_server import TcpServer
from noclone.link.lights import alices_record
from noclone.network.ends import CALL_TIMEOUT_S, KEEPALIVE_S, LIGHT_TIMEOUT_S, End, drop
from noclone.network.frames import read_json, receive_json, send_json, whole
from noclone.network.light_server import receive_events
from noclone.records import AliceRecord

AHEAD_MAX = 1_000_000  # honest ends are a few blocks apart
WAIT, SENT = b'{"wait":true}', b'{"sent":true}'

T = TypeVar("T")


class AliceEnd(End):
    """Alice's end."""

    role = "alice"

    async def run(self) -> None:
        """Listen, and make key for ever."""
        host, port = self._addresses.channel
        self._server = await TcpServer.listen(host, port, role="alice", link=self.plan.link.name)
        try:
            await super().run()
        finally:
            await self._server.close()

    async def _session(self) -> None:
        async with self._flight(await self._server.accept()) as flight:
            reader, writer = await self._call_light()
            try:
                await self._fly(flight, partial(self._block, flight, reader, writer))
            finally:
                writer.close()

    async def _block(self, flight: Flight, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Make the light of one block, and begin to distil it."""
        block = await self._announce(flight)
        settings = await self._light(flight, reader, writer, block)
        party = alice(
            settings,
            self._job(block),
            self._services.pool,
            time_s=self._services.clock.now_s(),
            qber_expected=self.plan.qber_expected if self._qber is None else self._qber,
            begun=True,
        )
        await _meanwhile(flight, self._clear_for_launch(flight))
        await flight.launch(party, block)  # before Bob, who says hello, hears that he may
        await flight.send(SENT)

    async def _announce(self, channel: PublicChannel) -> int:
        """Agree with Bob on the next block's number, once there is room for it."""
        theirs = whole(read_json(await channel.receive()), "next", BLOCK_MAX)
        await self._keep_near(theirs)
        await _meanwhile(channel, self._find_room())
        block = max(theirs, self._next_block())
        await self._begin(block)  # before anybody hears of it, so Bob is never ahead of what this end knows
        await channel.send(json.dumps({"block": block}).encode())
        return block

    async def _find_room(self) -> None:
        """Wait until this end is to make a block, and there is room for it; take that."""
        await self._until_wanted()
        await self._take_room()
        while self.paused:  # somebody stopped the link while this waited
            self._leave()
            await self._until_wanted()
            await self._take_room()

    async def _until_wanted(self) -> None:
        while self.paused or not await self._services.wants_key(self._coming_bits):
            await asyncio.sleep(KEEPALIVE_S)

    async def _take_room(self) -> None:
        while self._under_way >= self._most:
            await self._one_leaves()
        await self._services.room.acquire()
        self._enter()

    @property
    def _coming_bits(self) -> int:
        """How much key the blocks under way may bring."""
        return self._under_way * max(one.agreement.length_bits for one in self.plan.all)

    def _leave(self) -> None:
        super()._leave()
        self._services.room.release()

    async def _begin(self, block: int) -> None:
        """Use up a number; in a thread, for others may be writing down what they spend."""
        await asyncio.to_thread(self._services.pool.begin, block)

    async def _light(
        self, channel: PublicChannel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, block: int
    ) -> AliceRecord:
        """Have the light of a block sent, and return what she prepared."""
        seed, plan = self._alice_seed(block), self.plan.of(block)
        await send_json(writer, {"block": block, "seed": seed.hex()}, timeout_s=CALL_TIMEOUT_S)
        sent = await _meanwhile(channel, receive_json(reader, timeout_s=LIGHT_TIMEOUT_S))
        if sent.get("block") != block:
            raise ChannelError(f"the light does not confirm block {block}")
        hers = await receive_events(reader, whole(sent, "events", plan.n_slots), LIGHT_TIMEOUT_S)
        return alices_record(
            plan.light,
            alice_seed=seed,
            events=hers,
            n_slots=plan.n_slots,
            link=self.plan.link.name,
            block=block,
            origin=self._services.origin,
        )

    async def _keep_near(self, theirs: int) -> None:
        """Refuse a number far ahead of ours. Should Bob truly be there, some refusals later we are, too.

        Raises:
            ChannelError: It is too far ahead.
        """
        ours = self._next_block()
        if theirs <= ours + AHEAD_MAX:
            return
        await self._begin(ours + AHEAD_MAX)
        raise ChannelError(
            f"the other end asks for a block more than {AHEAD_MAX:,} ahead of this end's next: somebody changed the "
            "number on the public channel, or this node's data is older than the other's"
        )

    def _alice_seed(self, block: int) -> bytes:
        """Return the seed of her settings: from the system, unless the run is to be repeatable."""
        if self._services.seed is None:
            return os.urandom(rng.SEED_BYTES)
        return rng.derive(self._services.seed, f"{self.plan.link.name}/block-{block}/alice")


async def _meanwhile(channel: PublicChannel, work: Coroutine[Any, Any, T]) -> T:
    """Do something that may take long, and say now and then that we are there."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=KEEPALIVE_S))[0]:
            await channel.send(WAIT)
        return task.result()
    finally:
        await drop(task)
