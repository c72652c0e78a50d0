"""Blocks in flight over one channel: the same keys and pools as one after the other, whoever sits on the channel."""

import asyncio
import time
from collections import Counter

import pytest

from noclone.distill import flight as flight_module
from noclone.distill.authentication import PAIR_BITS, MemoryLedger
from noclone.distill.flight import Flight, Landed
from noclone.distill.job import BlockAborted, RefillPolicy
from noclone.distill.messages import HEADER, STALE_MAX, Kind
from noclone.distill.parties import alice, bob
from noclone.distill.session import run_party
from noclone.errors import ChannelError
from noclone.io.attending import FRAME_BYTES_MAX, LENGTH
from noclone.io.channel import HELLO, MAGIC, VERSION, ChannelCounters, TcpChannel
from noclone.io.channel_server import TcpServer

BEGUN = b'{"begun":true}'
WAIT_S = 120.0


class End:
    """One end of a channel within one loop; what is posted passes through the hands of whoever holds the wire."""

    def __init__(self, role, wire):
        self.counters = ChannelCounters()
        self.backlog_bytes = 0
        self.role, self.wire, self.other = role, wire, None
        self.held, self.closed, self.inbox = False, False, []
        self.heard = self.ended = None

    async def attend(self, heard, ended):
        self.heard, self.ended = heard, ended
        self._tell()

    def hold(self, *, held):
        self.held = held
        self._tell()

    def post(self, *messages):
        if self.closed:
            raise ChannelError("the public channel is closed")
        for message in messages:
            self.other.arrive(*self.wire(self.role, message))

    def arrive(self, *messages):
        self.inbox += messages
        asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self):
        if self.heard and not self.held and self.inbox:
            here, self.inbox = self.inbox, []
            self.heard(here)

    async def flush(self):
        await asyncio.sleep(0)

    async def close(self):
        self.closed = True
        if self.other.ended is not None:
            asyncio.get_running_loop().call_soon(self.other.ended, ChannelError("the peer closed the public channel"))


def honest(_role, message):
    return [message]


def wired(wire=honest):
    ends = End("alice", wire), End("bob", wire)
    ends[0].other, ends[1].other = ends[::-1]
    return ends


async def fly(flight, role, parties, outcomes, *, tells):
    """Begin one block after the other at one end, as soon as there is room; collect how each ended."""

    async def launch():
        for block, party in parties:
            await flight.room.acquire()
            if not tells:
                await flight.receive()
            await flight.launch(party, block)
            if tells:
                await flight.send(BEGUN)
        flight.no_more()

    async def land():
        async for landed in flight.landings():
            outcomes[role].append(landed)

    await asyncio.gather(launch(), land())


def both(cases, pools, *, wire=honest, in_flight=3, ends=None, **options):
    """Run the blocks of both ends; return what became of each, by end, and what broke an end."""

    async def run():
        outcomes = {"alice": [], "bob": []}

        async def one(role, end):
            parties = (
                (
                    c.job.block,
                    alice(c.settings, c.job, pools[0]) if role == "alice" else bob(c.detections, c.job, pools[1]),
                )
                for c in cases
            )
            async with Flight(end, blocks_max=in_flight, **options) as flight:
                try:
                    await fly(flight, role, parties, outcomes, tells=role == "alice")
                finally:
                    await flight.close()
                    async for landed in flight.landings():
                        outcomes[role].append(landed)

        at = ends or wired(wire)
        async with asyncio.timeout(WAIT_S):
            broke = await asyncio.gather(one("alice", at[0]), one("bob", at[1]), return_exceptions=True)
        return outcomes["alice"], outcomes["bob"], broke

    return asyncio.run(run())


def keys(landed):
    return [one.result.key.to_bytes() if one.result else None for one in landed]


def reasons(landed):
    return [getattr(one.error, "reason", type(one.error).__name__) if one.error else "" for one in landed]


def renamed(message, block):
    """The same message, in the name of another block."""
    kind, flags, _, sequence = HEADER.unpack_from(message)
    return HEADER.pack(kind, flags, block, sequence) + message[HEADER.size :]


def about(message):
    """Of which block a message is; None of the talk."""
    return None if message[:1] == b"{" else HEADER.unpack_from(message)[2]


class Watched(MemoryLedger):
    def __init__(self):
        self.refilled = []

    def refill(self, segment, key, cumulative_epsilon):
        self.refilled.append(segment - 1)


@pytest.fixture
def blocks(make_block):
    return lambda n, **changes: [make_block(block=block, seed=block, **changes) for block in range(n)]


@pytest.mark.parametrize("in_flight", [1, 3, 8])
def test_blocks_in_flight_are_like_blocks_in_turn(blocks, make_pools, in_flight):
    pools = make_pools()
    pools[0].ledger, pools[1].ledger = Watched(), Watched()
    at_alice, at_bob, broke = both(blocks(5, refill=RefillPolicy(target_bits=1 << 16)), pools, in_flight=in_flight)
    assert broke == [None, None]
    assert [one.block for one in at_alice] == [one.block for one in at_bob] == list(range(5))
    assert keys(at_alice) == keys(at_bob)
    assert len(set(keys(at_bob))) == 5
    assert None not in keys(at_bob)
    total = 0.0
    for one, other in zip(at_alice, at_bob, strict=True):
        assert one.result.key.provenance == other.result.key.provenance
        total += one.result.statistics.epsilon
        assert total <= one.result.key.provenance.cumulative_epsilon <= total * (1 + 1e-9)
    assert pools[0].consumed_bits == pools[1].consumed_bits == 5 * PAIR_BITS
    assert pools[0].marks() == pools[1].marks()
    assert pools[0].ledger.refilled == pools[1].ledger.refilled == list(range(5))


def test_several_blocks_are_under_way_at_once(blocks, make_pools):
    spoken = []

    def wire(role, message):
        if about(message) is not None:
            spoken.append(about(message))
        return [message]

    at_alice, at_bob, _ = both(blocks(3), make_pools(), wire=wire)
    assert keys(at_alice) == keys(at_bob)
    assert None not in keys(at_bob)
    last_of_first = len(spoken) - 1 - spoken[::-1].index(0)
    assert 2 in spoken[:last_of_first]


def test_over_tcp_with_one_thread_of_the_loop(blocks, make_pools):
    cases, pools = blocks(4), make_pools()

    async def run():
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b")
        far = await TcpChannel.connect("127.0.0.1", server.port, role="bob", link="a-b")
        near = await server.accept(WAIT_S)
        outcomes = {"alice": [], "bob": []}
        async with asyncio.timeout(WAIT_S), Flight(near) as at_alice, Flight(far) as at_bob:
            await asyncio.gather(
                fly(
                    at_alice,
                    "alice",
                    [(c.job.block, alice(c.settings, c.job, pools[0])) for c in cases],
                    outcomes,
                    tells=True,
                ),
                fly(
                    at_bob,
                    "bob",
                    [(c.job.block, bob(c.detections, c.job, pools[1])) for c in cases],
                    outcomes,
                    tells=False,
                ),
            )
        await server.close()
        assert near.counters.messages_received == far.counters.messages_sent
        return outcomes

    outcomes = asyncio.run(run())
    assert keys(outcomes["alice"]) == keys(outcomes["bob"])
    assert None not in keys(outcomes["bob"])


def test_a_block_that_is_given_up_ends_alone(blocks, make_block, make_pools):
    cases, pools = blocks(4), make_pools()
    cases[1] = make_block(block=1, seed=1, qber=0.2, expected_qber=0.005)
    at_alice, at_bob, broke = both(cases, pools, in_flight=4)
    assert broke == [None, None]
    assert reasons(at_alice) == ["", "qber-too-high", "", ""]
    assert reasons(at_bob) == ["", "peer-aborted", "", ""]
    assert at_bob[1].error.authenticated
    assert keys(at_alice) == keys(at_bob)
    assert pools[0].consumed_bits == pools[1].consumed_bits == 4 * PAIR_BITS


def test_keys_come_out_and_pools_are_refilled_in_order_whatever_arrives_when(blocks, make_pools):
    """All that ends the first block is held back until the second has said all that it can."""
    pools, held, ends = make_pools(), [], wired()
    pools[0].ledger, pools[1].ledger = Watched(), Watched()

    def wire(role, message):
        if role == "alice" and about(message) == 0 and message[0] == Kind.TAG:
            held.append(message)
            return []
        if role == "alice" and about(message) == 1 and message[0] == Kind.TAG:
            asyncio.get_running_loop().call_later(0.2, lambda: ends[1].arrive(*held))
        return [message]

    for end in ends:
        end.wire = wire
    at_alice, at_bob, _ = both(blocks(2, refill=RefillPolicy(target_bits=1 << 16)), pools, ends=ends)
    assert held
    assert keys(at_alice) == keys(at_bob)
    assert None not in keys(at_bob)
    assert pools[0].ledger.refilled == pools[1].ledger.refilled == [0, 1]


def once(chosen, change):
    """Change the first message that is chosen; pass on all others."""
    done = []

    def wire(role, message):
        if not done and about(message) is not None and chosen(role, message):
            done.append(message)
            return change(message)
        return [message]

    return wire


@pytest.mark.parametrize("kind", [Kind.TEST, Kind.QUERY])
@pytest.mark.parametrize(
    ("change", "lost"),
    [(lambda message: [message, renamed(message, 1)], 1), (lambda message: [message, message], 0)],
    ids=["in another lane", "in its own"],
)
def test_a_message_that_is_replayed_costs_one_block(blocks, make_pools, change, lost, kind):
    wire = once(lambda role, message: message[0] == kind and about(message) == 0, change)
    at_alice, at_bob, _ = both(blocks(3), make_pools(), wire=wire)
    assert keys(at_alice) == keys(at_bob)
    assert [key is None for key in keys(at_bob)] == [block == lost for block in range(3)]
    assert reasons(at_alice)[lost] == "peer-misbehaved"
    assert reasons(at_bob)[lost] == "peer-aborted"


def test_a_message_that_is_moved_to_another_lane_stalls_its_own(blocks, make_pools):
    wire = once(
        lambda role, message: message[0] == Kind.TEST and about(message) == 0, lambda message: [renamed(message, 1)]
    )
    both(blocks(1), make_pools())  # compiles: nobody is to seem silent for that
    at_alice, at_bob, _ = both(blocks(3), make_pools(), wire=wire, step_s=3.0)
    assert keys(at_alice)[:2] == keys(at_bob)[:2] == [None] * 2
    assert keys(at_alice)[2] in (None, keys(at_bob)[2]), "it waits for the first; his last word may be lost"
    assert reasons(at_alice)[0] == reasons(at_bob)[0] == "ChannelError"


def test_two_lanes_that_are_swapped_give_no_key(blocks, make_pools):
    """What each block discloses in its test basis arrives as the other's: the numbers fit, the tags do not."""
    waiting, pools = {}, make_pools()

    def wire(role, message):
        if message[0] != Kind.TEST or about(message) not in (0, 1):
            return [message]
        waiting[about(message)] = message
        if len(waiting) < 2:
            return []
        return [renamed(waiting[0], 1), renamed(waiting[1], 0)]

    at_alice, at_bob, _ = both(blocks(3), pools, wire=wire)
    assert keys(at_alice)[:2] == keys(at_bob)[:2] == [None, None]
    assert keys(at_alice)[2] == keys(at_bob)[2]
    assert keys(at_alice)[2] is not None


def test_no_pair_of_tag_keys_serves_two_blocks(blocks, make_block, make_pools, monkeypatch):
    """Even where a block is given up, and where hellos were changed on the way."""
    pools, taken, pairs = make_pools(), Counter(), {}
    for pool in pools:
        commit = pool._commit

        def counted(place, block, pool=pool, commit=commit):
            taken[pool.role, place] += 1
            pairs[pool.role, block] = place
            commit(place, block)

        monkeypatch.setattr(pool, "_commit", counted)
    cases = blocks(4)
    cases[2] = make_block(block=2, seed=2, qber=0.2, expected_qber=0.005)
    swapped = []

    def wire(role, message):
        if message[0] == Kind.HELLO and role == "bob" and about(message) in (0, 1):
            swapped.append(message)
            return swapped[::-1] if len(swapped) == 2 else []
        return [message]

    at_alice, at_bob, _ = both(cases, pools, wire=wire, in_flight=4)
    assert keys(at_alice) == keys(at_bob)
    assert [key is None for key in keys(at_bob)] == [False, False, True, False]
    assert set(taken.values()) == {1}
    assert pairs == {(role, block): (0, block) for role in ("alice", "bob") for block in range(4)}


# A peer that is nobody's honest end. What was released stays; the rest ends with one clear error.


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


def test_room_is_given_back_and_no_more_blocks_are_in_flight_than_there_is_room_for(blocks, make_pools):
    most = Counter()

    def wire(role, message):
        if role == "bob" and about(message) is not None:
            open_blocks.add(about(message))
            if message[0] == Kind.TAG:
                open_blocks.discard(about(message))
            most["open"] = max(most["open"], len(open_blocks))
        return [message]

    open_blocks = set()
    at_alice, _, _ = both(blocks(5), make_pools(), wire=wire, in_flight=2)
    assert None not in keys(at_alice)
    assert most["open"] == 2


def test_one_end_in_flight_and_the_other_one_block_at_a_time(case, make_pools):
    """The messages of a block are the same, so `run_party` is a peer as well."""
    pools = make_pools()

    async def run():
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b")
        far = await TcpChannel.connect("127.0.0.1", server.port, role="bob", link="a-b")
        async with asyncio.timeout(WAIT_S), Flight(await server.accept(WAIT_S)) as flight:
            await flight.room.acquire()
            await flight.launch(alice(case.settings, case.job, pools[0]), 0)
            flight.no_more()
            result = await run_party(bob(case.detections, case.job, pools[1]), far)
            landed = [one async for one in flight.landings()]
        await far.close()
        await server.close()
        return result, landed

    result, landed = asyncio.run(run())
    assert keys(landed) == [result.key.to_bytes()]


def test_an_abort_without_a_tag_is_no_verdict(blocks, make_pools):
    """A forged last word, in either direction, ends the block that it names, and spends nothing of the pools."""
    ends, pools = wired(), make_pools()
    last_word = HEADER.pack(Kind.ABORT, 0, 1, 1) + b"\0" + b"qber-too-high\nlies"

    def forge(_announcement):
        ends[1].arrive(last_word)
        return [last_word]

    for end in ends:
        end.wire = once(lambda role, message: message[0] == Kind.ANNOUNCE and about(message) == 1, forge)
    at_alice, at_bob, _ = both(blocks(3), pools, ends=ends)
    assert keys(at_alice) == keys(at_bob)
    assert [key is None for key in keys(at_bob)] == [False, True, False]
    for landed in (at_alice[1], at_bob[1]):
        assert isinstance(landed.error, BlockAborted)
        assert not landed.error.authenticated
    assert pools[0].consumed_bits == pools[1].consumed_bits
