"""An end of a simulated link, inside its node: block after block, from light to the key store.

In: the light (over TLS), the public channel (TCP), the node's key store.  Out: deposited blocks, and events.
What the two ends do each in its own way is in `alice_end` and `bob_end`. Before each block Bob says where he is, and
Alice says which block comes next: this talk is not authenticated, but both ends then put the block's number into their
jobs, which the block protocol authenticates.

    Bob  {"next": 7}      Alice  {"wait": true} ... {"block": 8} ... {"sent": true}      then the block protocol

When Alice says that all was sent she has begun the block; Bob begins it, and asks for the next one at once. So the
light of a block is made while those before it are distilled, several at a time (`distill.flight`).

A block that aborts, a channel that breaks, or talk that is none, ends the session: no block is begun any more, those in
flight still land, and a new session is opened after a pause that grows with each failure in a row, because every
aborted block costs both ends authentication key. For the same reason a session begins with one block in flight, and
takes one more for each that gave key: whoever spoils blocks spends no more key than they brought.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from OpenSSL import SSL

from noclone.clock import Clock
from noclone.distill.authentication import PAIR_BITS, AuthenticationPool
from noclone.distill.flight import BLOCKS_MAX, Flight
from noclone.distill.flight_lane import Landed
from noclone.distill.job import BlockAborted, BlockJob, BlockResult, BlockStatistics
from noclone.errors import AuthenticationError, NocloneError
from noclone.events import EventLog
from noclone.io.channel import AttendedChannel
from noclone.io.tls import connect_streams, identity
from noclone.network.blocks import LinkPlan, record_aborted, record_distilled
from noclone.records import Origin, SecretKey
from noclone.trust.provenance import PRE_SHARED_KEY

KEEPALIVE_S = 5.0
LIGHT_TIMEOUT_S = 86_400.0 * 30  # a block of a very long link takes days of light
CALL_TIMEOUT_S = 30.0
PAUSE_FIRST_S = 0.2
PAUSE_MOST_S = 10.0
PAUSE_STEPS_MAX = 20  # by then a pause is as long as any: 1.5^20 is above 3000, and 1.5^2000 is no float
BLOCKS_PER_CPU = 8  # most of them wait for their light
DETECTION_BYTES = 8
DETECTIONS_BYTES_MAX = 512 << 20  # of one link's blocks under way, as many as are expected

# What a node does with a block's key: it returns when the key is durable.
Deposit = Callable[[SecretKey], Awaitable[None]]
# Whether the store has room for a block more, where so many bits are on their way to it.
WantsKey = Callable[[int], Awaitable[bool]]
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


def blocks_at_a_time(plan: LinkPlan) -> int:
    """Return how many blocks of a link may be under way, one of them as light: fewer where each fills much memory."""
    detections = max(one.expected.click_rate_hz * one.seconds_per_block for one in plan.all)
    return max(1, min(BLOCKS_MAX + 1, int(DETECTIONS_BYTES_MAX / (DETECTION_BYTES * max(detections, 1.0)))))


class End:
    """What both ends do alike: sessions one after the other, until cancelled."""

    role = ""

    def __init__(self, plan: LinkPlan, addresses: Addresses, services: EndServices) -> None:
        self.plan = plan
        self.paused = False
        self._addresses = addresses
        self._services = services
        self._qber: float | None = None
        self._failures = 0
        self._reported = ""
        self._under_way = 0
        self._most = blocks_at_a_time(plan)
        self._in_flight_max = 1  # one more for each block of this session that gave key
        self._landed = asyncio.Event()

    @property
    def making(self) -> bool:
        """Whether a block is under way."""
        return self._under_way > 0

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

    # Blocks in flight

    def _flight(self, channel: AttendedChannel) -> Flight:
        self._in_flight_max = 1
        return Flight(channel, blocks_max=1)

    async def _fly(self, flight: Flight, following: Callable[[], Awaitable[None]]) -> None:
        """Begin blocks until one gives no key or something else goes wrong; what is in flight then still lands.

        Args:
            following: Begins the next block.

        Raises:
            NocloneError: What ended it.
        """
        opening = asyncio.create_task(_again_and_again(following))
        landing = asyncio.create_task(self._land_all(flight, opening))
        try:
            await asyncio.wait({opening})
            flight.no_more()
            await asyncio.wait({landing})
        finally:
            opening.cancel()
            await flight.close()  # where this end is stopped, steps that were begun may still release a key
            await asyncio.wait({opening, landing})
            while self._under_way:
                self._leave()
            talk = None if opening.cancelled() else opening.exception()
        failures = landing.result()
        aborts = [error for error in failures if isinstance(error, BlockAborted)]
        raise next(error for error in (*aborts, talk, *failures) if error is not None)

    async def _land_all(self, flight: Flight, opening: asyncio.Task[None]) -> list[Exception]:
        """See every block land, in order; return what went wrong. After the first failure none is begun."""
        failures: list[Exception] = []
        async for landed in flight.landings():
            try:
                await self._land(landed)
            except Exception as error:
                opening.cancel()
                self._failures += bool(failures)  # `run` counts the first one
                failures.append(error)
            else:
                if self._in_flight_max < min(BLOCKS_MAX, self._most):
                    self._in_flight_max += 1
                    flight.room.release()
            finally:
                self._leave()
        return failures

    def _enter(self) -> None:
        """Count a block as under way."""
        self._under_way += 1

    def _leave(self) -> None:
        """Count it no more."""
        self._under_way -= 1
        self._landed.set()

    async def _one_leaves(self) -> None:
        """Wait until a block is under way no more."""
        self._landed.clear()
        await self._landed.wait()

    async def _clear_for_launch(self, flight: Flight) -> None:
        """Wait until one more block may be in flight, and there is key for its tags and for those of the others.

        Where nothing in flight can bring any, the block is begun, and says so.
        """
        await flight.room.acquire()
        while flight.in_flight and await self._pairs() <= flight.ungreeted:
            await flight.one_lands()

    async def _pairs(self) -> int:
        """Return how many pairs of tag keys nobody has taken; a thread asks, for others may be writing them down."""
        pool = self._services.pool
        return await asyncio.to_thread(lambda: pool.available_bits // PAIR_BITS)

    async def _land(self, landed: Landed) -> None:
        """Keep a block's key, if it has one, and say what happened."""
        log, link, block = self._services.log, self.plan.link.name, landed.block
        try:
            if landed.result is None:
                assert landed.error is not None
                raise landed.error
            if self._services.vet is not None:
                await asyncio.to_thread(self._services.vet, link, block, landed.result.statistics)
        except BlockAborted as abort:
            record_aborted(log, link, block, abort, end=self.role)
            raise
        await self._services.deposit(landed.result.key)
        self._learn(landed.result)
        record_distilled(log, landed.result, end=self.role)

    def _learn(self, result: BlockResult) -> None:
        counts = result.statistics.counts
        self._qber = counts.qber_key if counts else None
        self._failures = 0
        if self._reported:
            self._reported = ""
            self._services.log.add("link.up", f"link:{self.plan.link.name}", end=self.role)


async def _again_and_again(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await work()


async def drop(*tasks: asyncio.Task[Any]) -> None:
    """Stop tasks whose result is of no use any more, and wait until they have stopped."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen; nobody else will ask
