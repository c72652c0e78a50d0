"""Blocks in flight over one channel: the same keys and pools as one after the other, whoever sits on the channel."""

import asyncio
from collections import Counter

import pytest

from noclone.distill.authentication import PAIR_BITS
from noclone.distill.flight import Flight
from noclone.distill.job import BlockAborted, RefillPolicy
from noclone.distill.messages import HEADER, Kind
from noclone.distill.parties import alice, bob
from noclone.distill.session import run_party
from noclone.io.channel import TcpChannel
from noclone.io.channel_server import TcpServer
from tests.distill.flying import WAIT_S, Watched, about, both, fly, keys, once, reasons, renamed, wired


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
