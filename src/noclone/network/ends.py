"""The two ends of a simulated link, each inside its node: block after block, from light to the key store.

In: the light (over TLS), the public channel (TCP), the node's key store.  Out: deposited blocks, and events.
Before each block Bob says where he is, and Alice says which block comes next: this talk is not authenticated, but both
ends then put the block's number into their jobs, which the block protocol authenticates.

    Bob  {"next": 7}      Alice  {"wait": true} ... {"block": 8} ... {"sent": true}      then the block protocol

Who changes this talk may cost a block, never the link. A number is spent for good once a block was tried under it, so
Alice moves at most `AHEAD_MAX` numbers on a stranger's word, and Bob tries no block but one whose light came under its
number: the light's number is Alice's, over TLS.

A block that aborts, or a channel that breaks, ends the session; a new one is opened after a pause that grows with each
failure in a row, because every aborted block costs both ends authentication key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from OpenSSL import SSL

from noclone import rng
from noclone.clock import Clock
from noclone.distill.authentication import AuthenticationPool
from noclone.distill.job import BLOCK_MAX, BlockAborted, BlockJob, BlockResult, BlockStatistics
from noclone.distill.parties import Party, alice, bob
from noclone.distill.session import run_party
from noclone.errors import AuthenticationError, ChannelError, NocloneError
from noclone.events import EventLog
from noclone.io.channel import PublicChannel, TcpChannel
from noclone.io.channel_server import TcpServer
from noclone.io.tls import connect_streams, identity
from noclone.link.lights import alices_record
from noclone.network.blocks import LinkPlan, record_aborted, record_distilled
from noclone.network.frames import read_json, receive_frame, receive_json, send_json, whole
from noclone.network.light_server import events_from_frame, receive_events
from noclone.records import Detections, Origin, SecretKey
from noclone.trust.provenance import PRE_SHARED_KEY

KEEPALIVE_S = 5.0
LIGHT_TIMEOUT_S = 86_400.0 * 30  # a block of a very long link takes days of light
CALL_TIMEOUT_S = 30.0
LIGHT_GRACE_S = 60.0  # for what is still on its way when Alice says that all has been sent
PAUSE_FIRST_S = 0.2
PAUSE_MOST_S = 10.0
PAUSE_STEPS_MAX = 20  # by then a pause is as long as any: 1.5^20 is above 3000, and 1.5^2000 is no float
BLOCKS_PER_CPU = 8  # most of them wait for their light
AHEAD_MAX = 1_000_000  # honest ends are a few blocks apart

# What a node does with a block's key: it returns when the key is durable.
Deposit = Callable[[SecretKey], Awaitable[None]]
WantsKey = Callable[[], Awaitable[bool]]
# What monitors say of a finished block, by link and number: raises `BlockAborted` where it is to give no key.
Vet = Callable[[str, int, BlockStatistics], None]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where an end finds the light and the public channel."""

    light: tuple[str, int]
    channel: tuple[str, int]


@dataclass(frozen=True, slots=True)
class EndServices:
    """What an end needs of its node.

    Args:
        context: TLS settings with the node's certificate, for the light.
        wants_key: Whether the store has room for another block.
        room: Blocks that are made at a time by the ends that share it; the others wait, for each takes memory.
        seed: Makes Alice's settings repeatable, for seeded runs alone.
        bootstrap: What authenticated the link's first block.
    """

    context: SSL.Context
    pool: AuthenticationPool
    deposit: Deposit
    wants_key: WantsKey
    log: EventLog
    clock: Clock
    origin: Origin
    seed: bytes | None = None
    vet: Vet | None = None
    bootstrap: str = PRE_SHARED_KEY
    room: asyncio.Semaphore = field(default_factory=lambda: block_room())


def block_room() -> asyncio.Semaphore:
    """Return room for as many blocks as this machine makes at a time without one waiting for the others."""
    return asyncio.Semaphore(BLOCKS_PER_CPU * (os.cpu_count() or 1))


class _End:
    """What both ends do alike: sessions one after the other, until cancelled."""

    role = ""

    def __init__(self, plan: LinkPlan, addresses: Addresses, services: EndServices) -> None:
        self.plan = plan
        self.paused = False
        self.making = False
        self._addresses = addresses
        self._services = services
        self._qber: float | None = None
        self._failures = 0
        self._reported = ""

    async def run(self) -> None:
        """Make key for ever: no error ends this, for what goes wrong may be a stranger's doing."""
        while True:
            try:
                await self._session()
            except BlockAborted:
                pass  # recorded where it happened
            except NocloneError as error:
                self._report(error.message)
            except Exception as error:  # its text may hold anything, so only its type is told
                self._report(f"a session failed in a way that was not foreseen ({type(error).__name__})")
            steps = min(self._failures, PAUSE_STEPS_MAX)
            self._failures += 1
            await asyncio.sleep(min(PAUSE_FIRST_S * 1.5**steps, PAUSE_MOST_S))

    def _report(self, message: str) -> None:
        """Say that the link is down and why: once, not at every attempt."""
        if message != self._reported:
            self._reported = message
            with contextlib.suppress(OSError):  # a full disk may be the very reason
                self._services.log.add("link.down", f"link:{self.plan.link.name}", end=self.role, message=message)

    async def _session(self) -> None:
        raise NotImplementedError

    async def _call_light(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the light of this link, and to nobody else: it learns our seed."""
        host, port = self._addresses.light
        reader, writer, transport = await connect_streams(self._services.context, host, port, timeout_s=CALL_TIMEOUT_S)
        if identity(transport.peer_certificate, "light") != self.plan.link.name:
            writer.close()
            raise AuthenticationError(
                f"what answers at {host}:{port} is not the light of {self.plan.link.name}",
                hint="check the ports of the scenario, and what else runs on this machine",
            )
        return reader, writer

    def _job(self, block: int) -> BlockJob:
        return self.plan.job(block, self._services.origin, self._services.bootstrap)

    def _next_block(self) -> int:
        return self._services.pool.last_block + 1

    async def _distil(self, party: Party, channel: PublicChannel, block: int) -> None:
        """Run our side of a block; keep its key, and say what happened."""
        log, link = self._services.log, self.plan.link.name
        try:
            result = await run_party(party, channel)
            if self._services.vet is not None:
                await asyncio.to_thread(self._services.vet, link, block, result.statistics)
        except BlockAborted as abort:
            record_aborted(log, link, block, abort, end=self.role)
            raise
        await self._services.deposit(result.key)
        self._learn(result)
        record_distilled(log, result, end=self.role)

    def _learn(self, result: BlockResult) -> None:
        counts = result.statistics.counts
        self._qber = counts.qber_key if counts else None
        self._failures = 0
        if self._reported:
            self._reported = ""
            self._services.log.add("link.up", f"link:{self.plan.link.name}", end=self.role)


class AliceEnd(_End):
    """Alice's end: she listens on the public channel and sends the light."""

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
        channel = await self._server.accept()
        try:
            reader, writer = await self._call_light()
            try:
                while True:
                    await self._block(channel, reader, writer)
            finally:
                writer.close()
        finally:
            await channel.close()

    async def _block(self, channel: PublicChannel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = whole(read_json(await channel.receive()), "next", BLOCK_MAX)
        self._keep_near(theirs)
        while self.paused or not await self._services.wants_key():
            await channel.send(b'{"wait":true}')
            await asyncio.sleep(KEEPALIVE_S)
        await self._enter(channel)
        self.making = True
        try:
            await self._make(channel, reader, writer, max(theirs, self._next_block()))
        finally:
            self.making = False
            self._services.room.release()

    async def _make(
        self, channel: PublicChannel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, block: int
    ) -> None:
        """Make one block, from light to key."""
        self._services.pool.begin(block)  # before anybody hears of it, so Bob is never ahead of what this end knows
        seed = self._alice_seed(block)
        await channel.send(json.dumps({"block": block}).encode())
        await send_json(writer, {"block": block, "seed": seed.hex()}, timeout_s=CALL_TIMEOUT_S)
        sent = asyncio.create_task(receive_json(reader, timeout_s=LIGHT_TIMEOUT_S))
        try:
            while not (await asyncio.wait({sent}, timeout=KEEPALIVE_S))[0]:
                await channel.send(b'{"wait":true}')
            if sent.result().get("block") != block:
                raise ChannelError(f"the light does not confirm block {block}")
        finally:
            await _drop(sent)
        plan = self.plan.of(block)
        hers = await receive_events(reader, whole(sent.result(), "events", plan.n_slots), LIGHT_TIMEOUT_S)
        settings = alices_record(
            plan.light,
            alice_seed=seed,
            events=hers,
            n_slots=plan.n_slots,
            link=self.plan.link.name,
            block=block,
            origin=self._services.origin,
        )
        await channel.send(b'{"sent":true}')
        party = alice(
            settings,
            self._job(block),
            self._services.pool,
            time_s=self._services.clock.now_s(),
            qber_expected=self.plan.qber_expected if self._qber is None else self._qber,
            begun=True,
        )
        await self._distil(party, channel, block)

    async def _enter(self, channel: PublicChannel) -> None:
        """Wait until there is room for a block, and say now and then that we are there."""
        room = asyncio.create_task(self._services.room.acquire())
        try:
            while not (await asyncio.wait({room}, timeout=KEEPALIVE_S))[0]:
                await channel.send(b'{"wait":true}')
        except BaseException:
            if room.done() and not room.cancelled():
                self._services.room.release()
            await _drop(room)
            raise

    def _keep_near(self, theirs: int) -> None:
        """Refuse a number far ahead of ours. Should Bob truly be there, some refusals later we are, too.

        Raises:
            ChannelError: It is too far ahead.
        """
        ours = self._next_block()
        if theirs <= ours + AHEAD_MAX:
            return
        self._services.pool.begin(ours + AHEAD_MAX)
        raise ChannelError(
            f"the other end asks for a block more than {AHEAD_MAX:,} ahead of this end's next: somebody changed the "
            "number on the public channel, or this node's data is older than the other's"
        )

    def _alice_seed(self, block: int) -> bytes:
        """Return the seed of her settings: from the system, unless the run is to be repeatable."""
        if self._services.seed is None:
            return os.urandom(rng.SEED_BYTES)
        return rng.derive(self._services.seed, f"{self.plan.link.name}/block-{block}/alice")


class BobEnd(_End):
    """Bob's end: he calls Alice, and reads what his devices saw."""

    role = "bob"

    async def _session(self) -> None:
        reader, writer = await self._call_light()
        try:
            channel_host, channel_port = self._addresses.channel
            channel = await TcpChannel.connect(channel_host, channel_port, role="bob", link=self.plan.link.name)
            try:
                while True:
                    await self._block(channel, reader)
            finally:
                await channel.close()
        finally:
            writer.close()

    async def _block(self, channel: PublicChannel, reader: asyncio.StreamReader) -> None:
        ours = self._next_block()
        await channel.send(json.dumps({"next": ours}).encode())
        block = whole(await _patiently(channel), "block", BLOCK_MAX)
        if block < ours:
            raise ChannelError(
                f"the other end announces a block from before this end's next, {ours}: somebody changed the number on "
                "the public channel, or the other node's data is older than this one's"
            )
        detections = await self._light(channel, reader, block)
        await self._distil(bob(detections, self._job(block), self._services.pool), channel, block)

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
            await _drop(*tasks)

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


async def _drop(*tasks: asyncio.Task[Any]) -> None:
    """Stop tasks whose result is of no use any more, and wait until they have stopped."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen; nobody else will ask
