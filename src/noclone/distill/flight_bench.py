"""One link whose two ends are two processes, a core each, with many blocks in flight over a channel of any length.

In: round trips, and how many blocks are in flight.  Out: megabits a second, of Cascade alone and of the whole chain.
A message carries when it was sent, and is read half a round trip later: a system's processes have one clock. So the
delay is exact, costs nothing, and holds up no message behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import selectors
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, cast

import numpy as np

from noclone import rng
from noclone.distill.authentication import Role
from noclone.distill.cascade import cascade_bytes_max
from noclone.distill.cascade_bench import Case
from noclone.distill.chain_bench import EFFICIENCY, model_block, pools
from noclone.distill.flight import Flight
from noclone.distill.job import BlockResult, BlockStatistics
from noclone.distill.messages import Conversation, Kind
from noclone.distill.parties import Party, alice, bob
from noclone.errors import ChannelError
from noclone.io.attending import Ended, Heard
from noclone.io.channel import TcpChannel
from noclone.io.channel_server import TcpServer
from noclone.process import prepare_to_compute

BENCH_SEED = rng.seed_from_int(1)
LINK = "alder-birch"
SENT_AT = struct.Struct(">d")
PATIENCE_S = 120.0  # for the other end to compile
CASES = 4  # different blocks; more are these once more


@dataclass(frozen=True, slots=True)
class Course:
    """What is measured: so many blocks of such a round trip, so many of them in flight.

    Args:
        whole: From detections to secret key, and not only Cascade.
        size: Bits of a block of Cascade; detections of a whole one.
    """

    round_trip_s: float
    in_flight: int
    blocks: int
    size: int
    qber: float = 0.02
    whole: bool = False


class _Delayed:
    """A channel of a length: what is sent arrives `delay_s` later."""

    def __init__(self, channel: TcpChannel, delay_s: float) -> None:
        self.counters = channel.counters
        self.hold = channel.hold
        self.flush = channel.flush
        self.close = channel.close
        self._channel = channel
        self._delay_s = delay_s
        self._under_way: deque[tuple[float, bytes]] = deque()

    @property
    def backlog_bytes(self) -> int:
        return self._channel.backlog_bytes

    def post(self, *messages: bytes) -> None:
        now = SENT_AT.pack(time.monotonic())
        self._channel.post(*(now + message for message in messages))

    async def attend(self, heard: Heard, ended: Ended) -> None:
        loop = asyncio.get_running_loop()

        def arrive(messages: list[bytes]) -> None:
            was_empty = not self._under_way
            for message in messages:
                due = SENT_AT.unpack_from(message)[0] + self._delay_s
                self._under_way.append((due, message[SENT_AT.size :]))
            if was_empty:
                pass_on()

        def pass_on() -> None:
            now, here = time.monotonic(), []
            while self._under_way and self._under_way[0][0] <= now:
                here.append(self._under_way.popleft()[1])
            if self._under_way:
                loop.call_at(self._under_way[0][0], pass_on)  # the loop's clock is the same
            if here:
                heard(here)

        def end(error: ChannelError) -> None:
            loop.call_later(self._delay_s, ended, error)

        await self._channel.attend(arrive, end)


def measure_delayed(n_bits: int, qber: float, flights: Sequence[tuple[float, int, int]]) -> list[dict[str, Any]]:
    """Measure Cascade of blocks of `n_bits`.

    Args:
        flights: Round trip, in seconds; how many blocks are in flight; how many are reconciled in all.

    Returns:
        For each its throughput, from the first block's beginning to the last one's end, and the rounds of a block.
    """
    warm = Course(0.0, 1, 1, n_bits, qber)
    courses = [Course(round_trip_s, in_flight, blocks, n_bits, qber) for round_trip_s, in_flight, blocks in flights]
    return [_row(course, found) for course, found in zip(courses, measure_flights([warm, *courses])[1:], strict=True)]


def bench_in_flight(
    n_detections: int = 6_200_000,
    qber: float = 0.02,
    *,
    flights: Sequence[tuple[float, int, int]] = ((0.0, 1, 6), (0.0, 4, 16), (0.001, 1, 3), (0.001, 8, 24)),
) -> dict[str, Any]:
    """Measure the whole chain of one link whose ends are two processes: from detections to secret key.

    Args:
        flights: As in `measure_delayed`.
    """
    warm = Course(0.0, 1, 1, n_detections, qber, whole=True)
    courses = [replace(warm, round_trip_s=trip, in_flight=many, blocks=blocks) for trip, many, blocks in flights]
    rows = [_row(course, found) for course, found in zip(courses, measure_flights([warm, *courses])[1:], strict=True)]
    return {"detections": n_detections, "qber": qber, "in_flight": rows}


def _row(course: Course, found: dict[str, Any]) -> dict[str, Any]:
    size = {} if course.whole else {"block_bits": course.size, "qber": course.qber}
    flown = {"round_trip_ms": 1e3 * course.round_trip_s, "blocks_in_flight": course.in_flight}
    return {"course": f"{1e3 * course.round_trip_s:g}, {course.in_flight}", **flown, **size, **found}


def measure_flights(courses: Sequence[Course]) -> list[dict[str, Any]]:
    """Measure each course between two processes, a core each where there are two."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = zip(*(context.Pipe() for _ in range(2)), strict=True)
    ends = [
        context.Process(target=_end, args=(role, end, courses))
        for role, end in zip(("alice", "bob"), theirs, strict=True)
    ]
    for process in ends:
        process.start()
    for end in theirs:
        end.close()
    try:
        ours[1].send(ours[0].recv())
        found: list[dict[str, Any]] = ours[1].recv()
        ours[0].recv()
    except EOFError:
        raise RuntimeError("an end of the benchmark's link failed") from None
    finally:
        for process in ends:
            process.join(5.0)
            if process.is_alive():
                process.terminate()
                process.join()
    return found


def _end(role: Role, parent: Connection, courses: Sequence[Course]) -> None:
    """Be one end, in a process of its own."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[(role == "bob") % len(cores)]})
    prepare_to_compute()
    with (
        contextlib.suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner,
    ):
        runner.run((_alice if role == "alice" else _bob)(parent, courses))  # this selector wakes within microseconds


async def _alice(parent: Connection, courses: Sequence[Course]) -> None:
    server = await TcpServer.listen("127.0.0.1", 0, role="alice", link=LINK, timeout_s=PATIENCE_S)
    parent.send(server.port)
    for course in courses:
        await _fly("alice", await server.accept(PATIENCE_S), course)
    await server.close()
    parent.send(None)


async def _bob(parent: Connection, courses: Sequence[Course]) -> None:
    port, found = parent.recv(), []
    for course in courses:
        channel = await TcpChannel.connect("127.0.0.1", port, role="bob", link=LINK, timeout_s=PATIENCE_S)
        found.append(await _fly("bob", channel, course))
    parent.send(found)


async def _fly(role: Role, channel: TcpChannel, course: Course) -> dict[str, Any]:
    """Bring the blocks of a course to their end, and return how fast that was."""
    parties = _parties(role, course)
    delayed = _Delayed(channel, course.round_trip_s / 2)
    async with Flight(delayed, blocks_max=course.in_flight, silence_s=PATIENCE_S) as flight:
        await flight.send(b'{"ready":true}')
        await flight.receive()
        start = time.perf_counter()
        (bits, rounds), _ = await asyncio.gather(_land(flight, course), _launch(flight, parties, tells=role == "alice"))
        seconds = time.perf_counter() - start
        await flight.send(b'{"done":true}')
        await flight.receive()
    return {"rounds": rounds, "mbps": bits / seconds / 1e6}


async def _launch(flight: Flight, parties: Iterator[Party], *, tells: bool) -> None:
    """Begin each block as soon as there is room, at Bob's end once Alice has begun it."""
    for block, party in enumerate(parties):
        await flight.room.acquire()
        if not tells:
            await flight.receive()
        await flight.launch(party, block)
        if tells:
            await flight.send(b'{"begun":true}')
    flight.no_more()


async def _land(flight: Flight, course: Course) -> tuple[int, int]:
    """Return how many sifted bits came through, and in how many rounds at most a block of them."""
    bits = rounds = 0
    async for landed in flight.landings():
        if landed.result is None:
            raise landed.error or AssertionError
        if course.whole:
            statistics = landed.result.statistics
            bits += statistics.counts.key_total if statistics.counts else 0
            rounds = max(rounds, statistics.rounds)
        else:
            bits += course.size
            rounds = max(rounds, cast(int, landed.result))
    return bits, rounds


def _parties(role: Role, course: Course) -> Iterator[Party]:
    """Return this end's side of each block; what it needs is made before the clock starts."""
    if course.whole:
        return _whole_parties(role, course)
    generator = rng.stream(BENCH_SEED, "bench/flight")
    cases = [Case(generator, course.size, course.qber) for _ in range(min(CASES, course.blocks))]
    side: Callable[[Case, int], Party] = _answering if role == "alice" else _asking
    return (side(cases[block % len(cases)], block) for block in range(course.blocks))


def _answering(case: Case, block: int) -> Party:
    """Alice's side of Cascade, and of nothing else."""
    talk, answerer = Conversation("alice", BlockStatistics(LINK, block, "alice")), case.parties()[0]
    while True:
        kind, data = yield from talk.receive(
            Kind.QUERY, Kind.RECONCILED, bytes_max=cascade_bytes_max(case.n_bits), brisk=answerer.brisk
        )
        if kind is Kind.RECONCILED:
            return cast(BlockResult, answerer.rounds)
        yield from talk.send(Kind.ANSWER, answerer.answer(data))


def _asking(case: Case, block: int) -> Party:
    """Bob's side of Cascade."""
    talk, questioner = Conversation("bob", BlockStatistics(LINK, block, "bob")), case.parties()[1]
    query = questioner.next(None)
    while query is not None:
        yield from talk.send(Kind.QUERY, query)
        _, reply = yield from talk.receive(
            Kind.ANSWER, bytes_max=cascade_bytes_max(case.n_bits), brisk=questioner.brisk
        )
        query = questioner.next(reply)
    yield from talk.send(Kind.RECONCILED)
    if not np.array_equal(questioner.words, case.alice):
        raise RuntimeError("Cascade left errors in a benchmark's block")
    return cast(BlockResult, questioner.rounds)


def _whole_parties(role: Role, course: Course) -> Iterator[Party]:
    cases = [
        model_block(course.size, qber=course.qber, seed=seed, efficiency=EFFICIENCY)
        for seed in range(min(CASES, course.blocks))
    ]
    pool = pools(bytes(range(256)) * 16)[role == "bob"]

    def one(block: int) -> Party:
        case = cases[block % len(cases)]
        job = replace(case.job, block=block)
        if role == "alice":
            return alice(case.settings, job, pool)
        return bob(replace(case.detections, block=block), job, pool)

    return (one(block) for block in range(course.blocks))
