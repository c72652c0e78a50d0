"""A link with several blocks under way: in order, within every limit, whatever is spoiled, stopped or crashes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noclone.distill.authentication import PAIR_BITS, AuthenticationPool
from noclone.distill.flight import BLOCKS_MAX, TALK_MAX
from noclone.distill.job import BlockAborted, BlockStatistics, RefillPolicy
from noclone.distill.messages import Kind
from noclone.network import ends
from noclone.network.alice_end import SENT
from noclone.network.blocks import LinkPlan, plan_link
from noclone.network.scenario import load_scenario
from tests.distill.flying import about, honest
from tests.network.near_ends import SECRET, Durable, NearEnds


@pytest.fixture
def plan(small_scenario: Path) -> LinkPlan:
    return plan_link(load_scenario(small_scenario).links[0])


Story = Callable[[NearEnds], Coroutine[Any, Any, None]]


@pytest.fixture
def play(plan: LinkPlan, monkeypatch: pytest.MonkeyPatch) -> Callable[..., NearEnds]:
    """Run both ends while a story goes on; see that nothing of them is left, and that what both kept is the same."""

    def run(story: Story, **more: Any) -> NearEnds:
        async def whole() -> NearEnds:
            near = NearEnds(plan, **more)
            room = near.room._value
            async with near.running(monkeypatch):
                await story(near)
            assert near.room._value == room
            assert not near.alice.making
            assert not near.bob.making
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return near

        near = asyncio.run(whole())
        alices, bobs = near.keys("alice"), near.keys("bob")
        assert all(alices[block] == bobs[block] for block in alices.keys() & bobs.keys())
        for end in ("alice", "bob"):
            assert near.made(end) == sorted(set(near.made(end))), "in order, and each once"
            assert list(near.keys(end))[: len(near.made(end))] == near.made(end)
        return near

    return run


class Held:
    """A wire that keeps Alice's tags of all blocks from some number on, until it lets go."""

    def __init__(self, near: NearEnds, first: int) -> None:
        self.tags: dict[int, bytes] = {}
        self._near, self._first = near, first
        near.wire = self

    def __call__(self, role: str, message: bytes) -> list[bytes]:
        block = about(message)
        if role == "alice" and block is not None and block >= self._first and message[0] == Kind.TAG:
            self.tags[block] = message
            return []
        return [message]

    def let_go(self, change: Callable[[int, bytes], bytes] = lambda _, tag: tag) -> None:
        self._near.wire = honest
        self._near.channel["bob"].arrive(*(change(block, tag) for block, tag in self.tags.items()))


def spoiled(tag: bytes) -> bytes:
    return tag[:-1] + bytes([tag[-1] ^ 1])


def test_the_light_of_the_next_block_is_made_while_one_is_distilled(play: Any) -> None:
    async def story(near: NearEnds) -> None:
        held = Held(near, 0)
        await near.until(lambda: bool(held.tags) and near.light.asked == [0, 1])
        await asyncio.sleep(0.2)
        assert near.light.asked == [0, 1], "there is one in flight and one as light, until the first gave key"
        assert (near.in_flight("alice"), near.in_flight("bob")) == (2, 1)
        held.let_go()
        await near.until(lambda: len(near.made("alice")) >= 6)

    near = play(story)
    assert near.sessions == 1
    assert not near.refused("alice")


@pytest.mark.parametrize("good", [3, BLOCKS_MAX + 2])
def test_as_many_blocks_are_in_flight_as_gave_key_and_one_more(play: Any, good: int) -> None:
    async def story(near: NearEnds) -> None:
        held = Held(near, good)
        most = min(good + 1, BLOCKS_MAX)
        await near.until(lambda: len(held.tags) == most and len(near.light.asked) == good + most + 1)
        await asyncio.sleep(0.2)
        assert len(near.light.asked) == good + most + 1
        assert list(held.tags) == list(range(good, good + most))
        held.let_go()
        await near.until(lambda: len(near.made("alice")) >= good + most)

    assert play(story).sessions == 1


def test_a_spoiled_block_costs_no_other_in_flight_and_ends_the_session(play: Any) -> None:
    async def story(near: NearEnds) -> None:
        held = Held(near, 3)
        await near.until(lambda: len(held.tags) == 4)
        held.let_go(lambda block, tag: spoiled(tag) if block == 4 else tag)
        await near.until(lambda: near.sessions == 2 and bool(near.made("alice")) and near.made("alice")[-1] > 9)

    near = play(story)
    assert near.refused("alice") == near.refused("bob") == [4]
    assert near.events("block.aborted", "bob")[0].data["reason"] == "authentication-failed"
    assert near.made("bob")[:6] == [0, 1, 2, 3, 5, 6]
    assert near.made("alice")[:6] == [0, 1, 2, 3, 5, 6]
    assert not near.events("link.down"), "the block says why"


def test_who_spoils_every_block_burns_one_pair_a_session(play: Any) -> None:
    """But for the first session, where as many more as had given key before are in flight."""
    good, tried = 3, Counter[int]()

    def wire_of(near: NearEnds) -> Callable[[str, bytes], list[bytes]]:
        def wire(role: str, message: bytes) -> list[bytes]:
            block = about(message)
            if role == "alice" and block is not None and block >= good and message[0] == Kind.TAG:
                tried[near.sessions] += 1
                return [spoiled(message)]
            return [message]

        return wire

    async def story(near: NearEnds) -> None:
        near.wire = wire_of(near)
        await near.until(lambda: near.sessions >= 6)

    near = play(story)
    assert near.made("alice") == near.made("bob") == list(range(good))
    assert 1 <= tried[1] <= good + 1
    assert [tried[session] for session in range(2, 6)] == [1] * 4
    for pool in near.pools.values():
        assert pool.consumed_bits <= (good + tried.total()) * PAIR_BITS


def test_no_block_is_begun_without_a_pair_of_keys_for_it(play: Any) -> None:
    """Each block brings back the one pair that it took: so there is never one for two."""
    pools = [AuthenticationPool.from_secret(role, SECRET[:128]) for role in ("alice", "bob")]

    async def story(near: NearEnds) -> None:
        for end in (near.alice, near.bob):
            job = end._job
            end._job = lambda block, job=job: replace(job(block), refill=RefillPolicy(target_bits=PAIR_BITS))
        await near.until(lambda: len(near.made("alice")) >= 8)

    near = play(story, pools=pools)
    assert near.sessions == 1
    assert not near.refused("alice")


def test_an_empty_pool_aborts_one_block_at_a_time_and_says_why(play: Any) -> None:
    pools = [AuthenticationPool.from_secret(role, SECRET[:64]) for role in ("alice", "bob")]

    async def story(near: NearEnds) -> None:
        for end in (near.alice, near.bob):
            job = end._job
            end._job = lambda block, job=job: replace(job(block), refill=RefillPolicy(target_bits=0))
        await near.until(lambda: len(near.refused("alice")) >= 2)

    near = play(story, pools=pools)
    assert near.made("alice") == [0]
    reasons = {event.data["reason"] for event in near.events("block.aborted", "alice")}
    assert reasons <= {"authentication-key-exhausted", "peer-aborted"}


def test_a_store_near_its_limit_is_not_overfilled_by_what_is_under_way(play: Any, plan: LinkPlan) -> None:
    longest = plan.agreement.length_bits
    capacity_bits = int(5.5 * longest)

    async def story(near: NearEnds) -> None:
        near.capacity_bits = capacity_bits
        await near.until(lambda: near.stored() >= capacity_bits and not near.alice.making)
        await asyncio.sleep(0.2)
        assert not near.alice.making
        assert near.stored() < capacity_bits + longest
        made = len(near.made("alice"))
        near.capacity_bits *= 2
        await near.until(lambda: len(near.made("alice")) > made)

    assert play(story).sessions == 1


def test_a_pause_lets_land_what_is_in_flight_and_begins_nothing(play: Any) -> None:
    async def story(near: NearEnds) -> None:
        held = Held(near, 3)
        await near.until(lambda: len(held.tags) == 4 and len(near.light.asked) == 8)
        near.alice.paused = near.bob.paused = True
        assert near.alice.making
        held.let_go()
        await near.until(lambda: not near.alice.making and not near.bob.making)
        asked = list(near.light.asked)
        assert near.made("alice") == near.made("bob") == list(range(8)), "and the one whose light was there"
        await asyncio.sleep(0.2)
        assert near.light.asked == asked
        near.alice.paused = near.bob.paused = False
        await near.until(lambda: len(near.made("alice")) >= 10)

    assert play(story).sessions == 1


def test_a_pause_while_it_waits_for_room_begins_nothing(play: Any) -> None:
    async def story(near: NearEnds) -> None:
        await near.until(lambda: len(near.made("alice")) >= 2)
        taken = 0
        while near.room._value or near.alice.making:  # others take all room
            if near.room._value:
                await near.room.acquire()
                taken += 1
            await asyncio.sleep(0.001)
        near.alice.paused = True
        asked = len(near.light.asked)
        for _ in range(taken):
            near.room.release()
        await asyncio.sleep(0.3)
        assert len(near.light.asked) == asked
        assert not near.alice.making
        near.alice.paused = False
        await near.until(lambda: len(near.light.asked) > asked)

    assert play(story).sessions == 1


@pytest.mark.parametrize("room", [1, 2])
def test_the_nodes_room_is_respected(play: Any, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    most: list[int] = []
    enter = ends.End._enter

    def counted(end: ends.End) -> None:
        enter(end)
        most.append(end._under_way)

    monkeypatch.setattr(ends.End, "_enter", counted)

    async def story(near: NearEnds) -> None:
        await near.until(lambda: len(near.made("alice")) >= 5)

    near = play(story, room=room)
    assert max(most) == room
    assert near.sessions == 1


def test_large_blocks_are_made_one_at_a_time(play: Any, plan: LinkPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ends.blocks_at_a_time(plan) == BLOCKS_MAX + 1
    assert 1 < ends.blocks_at_a_time(replace(plan, n_slots=40 * plan.n_slots)) < BLOCKS_MAX
    assert ends.blocks_at_a_time(replace(plan, n_slots=10_000 * plan.n_slots)) == 1
    monkeypatch.setattr(ends, "DETECTIONS_BYTES_MAX", 1)

    async def story(near: NearEnds) -> None:
        held = Held(near, 0)
        await near.until(lambda: bool(held.tags))
        await asyncio.sleep(0.2)
        assert near.light.asked == [0]
        held.let_go()
        await near.until(lambda: len(near.made("alice")) >= 3)

    play(story)


def test_a_monitor_that_refuses_one_block_costs_no_other_in_flight(play: Any) -> None:
    def vet(_link: str, block: int, statistics: BlockStatistics) -> None:
        if block == 4:
            raise BlockAborted("alarm", "too odd", statistics=statistics)

    async def story(near: NearEnds) -> None:
        await near.until(lambda: near.sessions == 2 and bool(near.made("bob")) and near.made("bob")[-1] > 8)

    near = play(story, vet=vet)
    assert near.refused("alice") == near.refused("bob") == [4]
    assert set(range(9)) - set(near.made("bob")) >= {4}


def test_a_key_that_cannot_be_stored_ends_the_session_and_no_other_block(play: Any) -> None:
    async def story(near: NearEnds) -> None:
        near.deposit_fails = {("alice", 4)}
        await near.until(lambda: near.sessions == 2 and bool(near.made("alice")) and near.made("alice")[-1] > 8)

    near = play(story)
    assert 4 in near.keys("bob")
    assert 4 not in near.made("alice")
    assert "OSError" in near.events("link.down", "alice")[0].data["message"]


# Somebody changes the talk.


@pytest.mark.parametrize("times", [1, 3, TALK_MAX + 2])
def test_a_word_said_again_and_again_costs_a_session_at_most(play: Any, times: int) -> None:
    done: list[bytes] = []

    def wire(role: str, message: bytes) -> list[bytes]:
        if role == "bob" and message.startswith(b'{"next"') and json.loads(message)["next"] == 3 and not done:
            done.append(message)
            return [message] * (1 + times)
        return [message]

    async def story(near: NearEnds) -> None:
        near.wire = wire
        await near.until(lambda: bool(near.made("alice")) and near.made("alice")[-1] >= 12)

    near = play(story)
    assert done
    assert near.sessions <= 3


FORGED = [SENT, b'{"block":4611686018427387903}', b'{"wait":1}', b"{}", b"{", b'{"sent":false}']


@pytest.mark.parametrize("early", FORGED)
def test_a_word_that_alice_never_said_costs_a_session_at_most(play: Any, early: bytes) -> None:
    done: list[bytes] = []

    def wire(role: str, message: bytes) -> list[bytes]:
        if role == "alice" and message.startswith(b'{"block"') and json.loads(message)["block"] == 4 and not done:
            done.append(message)
            return [message, early]
        return [message]

    async def story(near: NearEnds) -> None:
        near.wire = wire
        await near.until(lambda: bool(near.made("alice")) and near.made("alice")[-1] >= 10)

    near = play(story)
    assert done
    assert near.sessions <= 2


def test_a_channel_that_breaks_leaves_what_was_released(play: Any) -> None:
    async def story(near: NearEnds) -> None:
        held = Held(near, 3)
        await near.until(lambda: len(held.tags) == 4)
        await near.channel["alice"].close()
        near.wire = honest
        await near.until(lambda: bool(near.made("alice")) and near.made("alice")[-1] >= 10)

    near = play(story)
    assert near.sessions == 2
    assert near.made("alice")[:3] == near.made("bob")[:3] == [0, 1, 2]
    assert not set(range(3, 7)) & {*near.made("alice"), *near.made("bob")}


# Stopping and crashing.


class Uses:
    """Who committed which pair of tag keys to which block, ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs: Counter[tuple[str, tuple[int, int]]] = Counter()
        self.blocks: Counter[tuple[str, int]] = Counter()
        commit = AuthenticationPool._commit

        def counted(pool: AuthenticationPool, place: tuple[int, int], block: int) -> None:
            commit(pool, place, block)
            self.pairs[pool.role, place] += 1
            self.blocks[pool.role, block] += 1

        monkeypatch.setattr(AuthenticationPool, "_commit", counted)

    def check(self) -> None:
        assert set(self.pairs.values()) <= {1}, "no pair serves two blocks"
        assert set(self.blocks.values()) <= {1}, "no block is tried twice"


async def reach(near: NearEnds, messages: int, stop: Callable[[], None] = lambda: None) -> None:
    """Wait until so many messages have crossed; then nothing does, and `stop` is called."""
    left, over = [messages], asyncio.Event()

    def wire(_role: str, message: bytes) -> list[bytes]:
        left[0] -= 1
        if left[0] == 0:
            stop()
            over.set()
        return [message] if left[0] > 0 else []

    near.wire = wire
    await over.wait()


@pytest.mark.parametrize("messages", [250, 1_000, 1_777, 2_500])
def test_stopping_with_blocks_in_flight_loses_no_key_that_was_released(
    play: Any, monkeypatch: pytest.MonkeyPatch, messages: int
) -> None:
    ledgers = [Durable(role, SECRET) for role in ("alice", "bob")]
    uses = Uses(monkeypatch)
    near = play(lambda near: reach(near, messages), pools=[one.pool() for one in ledgers])
    for ledger in ledgers:
        assert sorted(near.keys(ledger.role)) == sorted(segment - 1 for segment in ledger.refills)
    uses.check()


@pytest.mark.parametrize("crashing", [("alice",), ("bob",), ("alice", "bob")])
@pytest.mark.parametrize("messages", [700, 1_500, 2_600])
def test_a_crash_with_blocks_in_flight_repeats_no_block_and_no_pair(
    play: Any, monkeypatch: pytest.MonkeyPatch, crashing: tuple[str, ...], messages: int
) -> None:
    ledgers = {role: Durable(role, SECRET) for role in ("alice", "bob")}
    uses = Uses(monkeypatch)

    def crash() -> None:
        for role in crashing:
            ledgers[role].gone = True  # from here on nothing becomes durable, and nothing crosses

    before = play(lambda near: reach(near, messages, crash), pools=[one.pool() for one in ledgers.values()])
    for ledger in ledgers.values():
        ledger.gone = False
    there = max(ledger.last_block for ledger in ledgers.values())

    async def go_on(near: NearEnds) -> None:
        await near.until(lambda: len(near.made("alice")) >= 4)

    after = play(go_on, pools=[one.pool() for one in ledgers.values()])
    assert min(after.made("bob")) > there
    assert not set(before.made("bob")) & set(after.made("bob"))
    uses.check()
