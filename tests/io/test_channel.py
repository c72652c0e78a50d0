"""The public channel: order, counting, and peers that hang, babble, flood or leave."""

import asyncio
import time

import pytest

from noclone.errors import ChannelError
from noclone.io.attending import FRAME_BYTES_MAX, LENGTH
from noclone.io.channel import HELLO, MAGIC, VERSION, TcpChannel, drain, memory_pair
from noclone.io.channel_server import TcpServer


def run(coroutine):
    return asyncio.run(coroutine)


async def tcp_pair(**options):
    server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b", **options)
    bob = await TcpChannel.connect("127.0.0.1", server.port, role="bob", link="a-b", **options)
    return server, await server.accept(1.0), bob


async def raw_peer(port, *, hello=True, role=2, link=b"a-b", magic=MAGIC, version=VERSION):
    """A peer of the test's own making, after its hello."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if hello:
        writer.write(HELLO.pack(magic, version, role, link))
    return reader, writer


@pytest.mark.parametrize("kind", ["memory", "tcp"])
def test_messages_arrive_in_order_and_are_counted(kind):
    async def talk():
        server = None
        if kind == "tcp":
            server, alice, bob = await tcp_pair()
        else:
            alice, bob = memory_pair()
        messages = [b"", b"one", bytes(FRAME_BYTES_MAX)]
        for _ in range(2):
            sending = asyncio.create_task(asyncio.wait_for(asyncio.gather(*[send_all(alice, messages)]), 10))
            assert [await bob.receive() for _ in messages] == messages
            await sending
            await bob.send(b"back")
            assert await alice.receive() == b"back"
        assert alice.counters.messages_sent == bob.counters.messages_received == 6
        assert alice.counters.bytes_sent == bob.counters.bytes_received == 2 * (3 + FRAME_BYTES_MAX)
        assert alice.counters.rounds == bob.counters.rounds == 2
        await alice.close()
        with pytest.raises(ChannelError, match="closed"):
            await bob.receive()
        await bob.close()
        if server:
            await server.close()

    run(talk())


async def send_all(channel, messages):
    for message in messages:
        await channel.send(message)


async def flood(writer):
    while True:
        writer.write(LENGTH.pack(1000) + bytes(1000))
        await writer.drain()


async def connect_and_receive(port):
    channel = await TcpChannel.connect("127.0.0.1", port, role="bob", link="a-b")
    await channel.receive()


@pytest.mark.parametrize("kind", ["memory", "tcp"])
def test_a_silent_peer_is_given_up(kind):
    async def talk():
        server = None
        if kind == "tcp":
            server, alice, bob = await tcp_pair(timeout_s=0.1)
        else:
            alice, bob = memory_pair(timeout_s=0.1)
        start = time.monotonic()
        with pytest.raises(ChannelError, match="sent nothing"):
            await alice.receive()
        assert time.monotonic() - start < 5
        for end in (alice, bob, server):
            if end:
                await end.close()

    run(talk())


@pytest.mark.parametrize("kind", ["memory", "tcp"])
def test_a_peer_that_does_not_read_blocks_nobody_for_ever(kind):
    async def talk():
        server = None
        if kind == "tcp":
            server, alice, bob = await tcp_pair(timeout_s=0.2)
        else:
            alice, bob = memory_pair(timeout_s=0.2)
        with pytest.raises(ChannelError, match="took no message"):
            await send_all(alice, [bytes(1 << 20)] * 1000)
        for end in (alice, bob, server):
            if end:
                await end.close()

    run(talk())


def test_the_delay_costs_one_trip_for_each_turn():
    async def talk():
        alice, bob = memory_pair(delay_s=0.05)
        start = time.monotonic()
        for _ in range(10):
            await alice.send(b"burst")
        for _ in range(10):
            await bob.receive()
        once = time.monotonic() - start
        await bob.send(b"x")
        await alice.receive()
        return once, time.monotonic() - start

    once, twice = run(talk())
    assert 0.05 <= once < 0.3
    assert twice >= 0.1


@pytest.mark.parametrize(
    ("bytes_sent", "message"),
    [
        (LENGTH.pack(FRAME_BYTES_MAX + 1), "carries"),
        (b"\xff" * 64, "carries"),
        (LENGTH.pack(10) + b"half", "middle of a message"),
        (LENGTH.pack(10)[:2], "middle of a message"),
        (b"", "closed"),
    ],
)
def test_oversize_half_and_missing_frames(bytes_sent, message):
    async def talk():
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b", timeout_s=2.0)
        _, writer = await raw_peer(server.port)
        channel = await server.accept(2.0)
        writer.write(bytes_sent)
        await writer.drain()
        writer.close()
        with pytest.raises(ChannelError, match=message):
            await channel.receive()
        await channel.close()
        await server.close()

    run(talk())


def test_a_flood_does_not_fill_the_memory():
    """A peer that sends for ever, to an end that does not read, is held back by TCP."""

    async def talk():
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b", timeout_s=0.5)
        _, writer = await raw_peer(server.port)
        channel = await server.accept(2.0)
        writer.transport.set_write_buffer_limits(high=1 << 16)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(writer), 0.5)
        held = len(channel._reader._buffer)
        writer.close()
        await channel.close()
        await server.close()
        return held

    assert 0 < run(talk()) < 1 << 20


@pytest.mark.parametrize(
    ("hello", "message"),
    [
        ({"magic": b"GET / HTTP/1.1\r\n\r\n".ljust(24)}, "does not speak"),
        ({"version": VERSION - 1}, f"speaks version {VERSION - 1} of the public channel, we speak {VERSION}"),
        ({"version": VERSION + 1}, f"version {VERSION + 1}"),
        ({"role": 1}, "claim to be"),
        ({"role": 9}, "claim to be"),
        ({"link": b"a-c"}, "another link"),
    ],
)
def test_strangers_are_refused_by_both_ends(hello, message):
    async def called():
        """Somebody else answers where Alice should be."""

        async def on_call(reader, writer):
            fields = {"magic": MAGIC, "version": VERSION, "role": 1, "link": b"a-b", **hello}
            role = {1: 2, 9: 9}.get(hello.get("role"), 1)
            writer.write(HELLO.pack(fields["magic"], fields["version"], role, fields["link"]))
            await reader.read(200)
            writer.close()

        server = await asyncio.start_server(on_call, "127.0.0.1", 0)
        with pytest.raises(ChannelError, match=message):
            await TcpChannel.connect("127.0.0.1", server.sockets[0].getsockname()[1], role="bob", link="a-b")
        server.close()

    async def calls():
        """Somebody else calls Alice; then Bob does, and is served."""
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b")
        reader, writer = await raw_peer(server.port, **hello)
        assert await reader.read(1000) == HELLO.pack(MAGIC, VERSION, 1, b"a-b")
        assert await reader.read(1) == b""
        bob = await TcpChannel.connect("127.0.0.1", server.port, role="bob", link="a-b")
        alice = await server.accept(2.0)
        writer.close()
        for end in (bob, alice, server):
            await end.close()
        assert server.refused == 1

    run(called())
    run(calls())


def test_callers_that_say_nothing_do_not_keep_bob_out(monkeypatch):
    monkeypatch.setattr("noclone.io.channel.HANDSHAKE_TIMEOUT_S", 0.5)

    async def talk():
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b")
        silent = [await raw_peer(server.port, hello=False) for _ in range(4)]
        bob = await TcpChannel.connect("127.0.0.1", server.port, role="bob", link="a-b")
        alice = await server.accept(2.0)
        await asyncio.sleep(0.7)
        for reader, writer in silent:
            assert len(await reader.read(1000)) == HELLO.size
            assert await reader.read(1) == b""
            writer.close()
        await bob.send(b"still here")
        assert await alice.receive() == b"still here"
        for end in (bob, alice, server):
            await end.close()
        return server.refused

    assert run(talk()) == 4


def test_one_peer_at_a_time():
    async def talk():
        server, alice, bob = await tcp_pair()
        with pytest.raises(ChannelError):
            await connect_and_receive(server.port)
        await bob.close()
        await alice.close()
        again = await TcpChannel.connect("127.0.0.1", server.port, role="bob", link="a-b")
        await again.close()
        await (await server.accept(1.0)).close()
        await server.close()

    run(talk())


def test_nobody_there_and_nobody_calls():
    async def talk():
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b")
        with pytest.raises(ChannelError, match="nobody called"):
            await server.accept(0.05)
        with pytest.raises(ChannelError, match="cannot listen"):
            await TcpServer.listen("127.0.0.1", server.port, role="alice", link="a-b")
        port = server.port
        await server.close()
        with pytest.raises(ChannelError, match="nobody answers"):
            await TcpChannel.connect("127.0.0.1", port, role="bob", link="a-b")

    run(talk())


def test_drain_ends_when_the_peer_does():
    async def talk():
        alice, bob = memory_pair(timeout_s=120)
        await send_all(bob, [b"x"] * 3)
        await bob.close()
        await drain(alice)
        await drain(memory_pair(timeout_s=5)[0], timeout_s=0.05)

    run(talk())
