"""Blocks in flight against a peer that is nobody's honest end, and when this end stops or is wrong.

What was released stays; the rest ends with one clear error.
"""

import asyncio
import time

import pytest

from noclone.distill import flight as flight_module
from noclone.distill.flight import Flight, Landed
from noclone.distill.messages import HEADER, STALE_MAX, Kind
from noclone.distill.parties import alice
from noclone.errors import ChannelError
from noclone.io.attending import FRAME_BYTES_MAX, LENGTH
from noclone.io.channel import HELLO, MAGIC, VERSION
from noclone.io.channel_server import TcpServer
from tests.distill.flying import BEGUN, WAIT_S, reasons, wired


async def end_of(flight, *, launched=()):
    """Return how the blocks of a flight end, once it is closed."""
    await flight.close()
    return [landed async for landed in flight.landings()]


def against(*messages, case=None, pool=None, **options):
    """Let one end hear messages; return the error that it ends with, and what became of its block."""

    async def run():
        ours, theirs = wired()
        async with asyncio.timeout(WAIT_S), Flight(ours, **options) as flight:
            if case is not None:
                await flight.room.acquire()
                await flight.launch(alice(case.settings, case.job, pool), case.job.block)
            theirs.post(*messages)
            with pytest.raises(ChannelError) as caught:
                await flight.receive()
            return caught.value.message, await end_of(flight)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([HEADER.pack(Kind.HELLO, 0, 7, 0)], "block 7, which was not begun"),
        ([HEADER.pack(Kind.QUERY, 0, 1 << 63, 3) + bytes(99)], "which was not begun"),
        ([b"\x01"], "no message of the block protocol"),
        ([b""], "no message of the block protocol"),
        ([HEADER.pack(Kind.QUERY, 0, 3, i) for i in range(STALE_MAX + 1)], "nothing but messages of earlier blocks"),
    ],
)
def test_a_lane_that_nobody_opened_is_refused(case, make_block, make_pools, messages, error):
    case = make_block(block=5)
    pool = make_pools()[0]
    message, landed = against(*messages, case=case, pool=pool)
    assert error in message
    assert [type(one.error) for one in landed] == [ChannelError]
    assert pool.consumed_bits == 0
    assert not pool._outstanding


def test_late_messages_of_a_block_that_ended_are_passed_over(make_block, make_pools):
    case = make_block(block=5)

    async def run():
        ours, theirs = wired()
        async with asyncio.timeout(WAIT_S), Flight(ours) as flight:
            await flight.room.acquire()
            await flight.launch(alice(case.settings, case.job, make_pools()[0]), 5)
            theirs.post(*[HEADER.pack(Kind.ANNOUNCE, 0, 5, i) for i in range(3)], *[HEADER.pack(1, 0, 4, 0)] * 50)
            theirs.post(BEGUN)
            assert await flight.receive() == BEGUN
            flight.no_more()
            landed = [one async for one in flight.landings()]
            theirs.post(*[HEADER.pack(Kind.ANNOUNCE, 0, 5, i) for i in range(50)], BEGUN)
            assert await flight.receive() == BEGUN
            theirs.closed = True
            flight._break(ChannelError("enough"))
        return landed

    assert reasons(asyncio.run(run())) == ["peer-misbehaved"]


def test_talk_without_end_is_refused():
    async def run():
        ours, theirs = wired()
        async with Flight(ours) as flight:
            theirs.post(*[BEGUN] * (flight_module.TALK_MAX + 1))
            await asyncio.sleep(0.05)
            with pytest.raises(ChannelError, match="waits for no answer"):
                await flight.launch(None, 0)

    asyncio.run(run())


def test_a_peer_that_falls_silent_in_the_middle_of_the_oldest_block(case, make_pools):
    message, landed = against(case=case, pool=make_pools()[0], step_s=0.2)
    assert "nothing about block 0 for 0.2 s" in message
    assert reasons(landed) == ["ChannelError"]


def test_a_peer_that_falls_silent_between_blocks():
    message, landed = against(silence_s=0.1)
    assert "sent nothing for 0.1 s" in message
    assert landed == []


def test_a_lane_that_may_not_go_on_yet_holds_no_more_than_the_limit(blocks, make_pools, monkeypatch):
    """The second block's tag is there before its turn, and then megabytes that nobody asked for."""
    monkeypatch.setattr(flight_module, "HELD_BYTES_MAX", 10_000)
    cases, pool = blocks(2), make_pools()[0]

    async def run():
        ours, theirs = wired()
        async with asyncio.timeout(WAIT_S), Flight(ours, step_s=2.0) as flight:
            for case in cases:
                await flight.room.acquire()
                await flight.launch(alice(case.settings, case.job, pool), case.job.block)
            tag = HEADER.pack(Kind.TAG, 0, 1, 0) + bytes(16)
            for _ in range(100):
                theirs.post(tag, *[HEADER.pack(Kind.QUERY, 0, 1, 1) + bytes(1000)] * 10)
                await asyncio.sleep(0)
            assert flight._held_bytes < 12_000
            assert len(flight._arrived) <= 11 * 100
            assert ours.held, "the peer is to wait"
            with pytest.raises(ChannelError, match="nothing about block 0"):
                await flight.receive()
            return await end_of(flight)

    assert reasons(asyncio.run(run())) == ["ChannelError", "peer-misbehaved"]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (LENGTH.pack(FRAME_BYTES_MAX + 1), "carries"),
        (LENGTH.pack(100) + b"half", "middle of a message"),
        (LENGTH.pack(len(BEGUN)) + BEGUN, "closed the public channel"),
        (b"", "closed the public channel"),
    ],
)
@pytest.mark.parametrize("before", [False, True], ids=["later", "with its hello"])
def test_what_a_stranger_may_send_over_tcp(sent, error, before):
    async def run():
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b")
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HELLO.pack(MAGIC, VERSION, 2, b"a-b") + (sent if before else b""))
        if before:
            writer.write_eof()
        channel = await server.accept(WAIT_S)
        if before:
            await asyncio.sleep(0.05)
        async with asyncio.timeout(WAIT_S), Flight(channel) as flight:
            if not before:
                writer.write(sent)
                writer.write_eof()
            if sent.endswith(BEGUN):
                assert await flight.receive() == BEGUN
            with pytest.raises(ChannelError, match=error):
                await flight.receive()
        writer.close()
        await server.close()

    asyncio.run(run())


def test_a_peer_that_asks_and_does_not_read_is_given_up():
    async def run():
        ours, theirs = wired()
        async with Flight(ours) as flight:
            ours.backlog_bytes = flight_module.BACKLOG_BYTES_MAX + 1
            theirs.post(HEADER.pack(Kind.HELLO, 0, 0, 0))
            flight._newest = 0
            with pytest.raises(ChannelError, match="does not read"):
                await flight.receive()

    asyncio.run(run())


# Stopping.


def slow(seconds, result):
    """A party that, once it is spoken to, computes for a while and then has its key."""
    yield None
    time.sleep(seconds)
    return result


def test_a_step_that_was_begun_ends_and_its_key_comes_out():
    async def run():
        ours, theirs = wired()
        async with asyncio.timeout(WAIT_S), Flight(ours) as flight:
            for block in range(3):
                await flight.room.acquire()
                await flight.launch(slow(0.3, f"key {block}"), block)
            theirs.post(HEADER.pack(Kind.TEST, 0, 0, 0))
            while not flight._open[0].heard:
                await asyncio.sleep(0.01)
            return await end_of(flight)

    landed = asyncio.run(run())
    assert landed[0] == Landed(0, result="key 0")
    assert reasons(landed[1:]) == ["ChannelError"] * 2


def test_a_mistake_of_ours_ends_its_block_and_is_told():
    def wrong():
        yield None
        raise KeyError("no such thing")

    async def run():
        ours, theirs = wired()
        async with asyncio.timeout(WAIT_S), Flight(ours) as flight:
            await flight.room.acquire()
            await flight.launch(wrong(), 0)
            await flight.room.acquire()
            await flight.launch(slow(0.0, "key"), 1)
            flight.no_more()
            theirs.post(HEADER.pack(Kind.TEST, 0, 0, 0), HEADER.pack(Kind.TEST, 0, 1, 0))
            return [one async for one in flight.landings()]

    landed = asyncio.run(run())
    assert isinstance(landed[0].error, KeyError)
    assert landed[1].result == "key"


def test_a_flight_hangs_up_once():
    """Whoever listens lets the next peer in when the channel to the last is closed: once, or there would be two."""

    async def run():
        ours, _ = wired()
        closed = []
        close = ours.close

        async def counted():
            closed.append(True)
            await close()

        ours.close = counted
        async with Flight(ours) as flight:
            await flight.close()
        return closed

    assert asyncio.run(run()) == [True]
