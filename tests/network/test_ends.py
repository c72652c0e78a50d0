"""The two ends of a link when somebody changes the talk before a block: a block may be lost, never the link."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noclone.distill.authentication import AuthenticationPool
from noclone.distill.job import BLOCK_MAX, BlockAborted
from noclone.errors import ChannelError
from noclone.events import EventLog
from noclone.io.channel import HELLO, MemoryChannel, TcpChannel, memory_pair
from noclone.network import alice_end, bob_end, ends
from noclone.network.alice_end import AHEAD_MAX
from noclone.network.blocks import DETECTIONS_FLOOR, LinkPlan, plan_link
from noclone.network.frames import LENGTH
from noclone.network.node import RunOptions
from noclone.network.scenario import load_scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for
from noclone.records import Detections, Origin
from noclone.redteam.attacks import resolve
from tests.conftest import free_base_port

LINK = "ada-ben"
SECRET = bytes(range(64)) * 4
Change = Callable[[str, dict[str, Any]], dict[str, Any]]


@pytest.fixture
def plan(small_scenario: Path) -> LinkPlan:
    return plan_link(load_scenario(small_scenario).links[0])


def services(role: Any, log: EventLog, last_block: int = -1) -> Any:
    async def wants_key(_coming_bits: int) -> bool:
        return True

    return SimpleNamespace(
        pool=AuthenticationPool(role, {0: (SECRET, 0)}, last_block=last_block),
        log=log,
        origin=Origin("simulated"),
        wants_key=wants_key,
        seed=bytes(32),
        clock=SimpleNamespace(now_s=lambda: 0.0),
        room=ends.block_room(),
    )


def bob_of(plan: LinkPlan, last_block: int = -1) -> bob_end.BobEnd:
    addresses = ends.Addresses(("127.0.0.1", 1), ("127.0.0.1", 2))
    return bob_end.BobEnd(plan, addresses, services("bob", EventLog(), last_block))


def light(plan: LinkPlan, *blocks: int) -> asyncio.StreamReader:
    """Return a stream with the light of some blocks, one detection each."""
    reader = asyncio.StreamReader()
    for block in blocks:
        header = json.dumps({"block": block, "n_slots": plan.n_slots}).encode()
        for frame in (header, struct.pack("<Q", block << 16), b""):
            reader.feed_data(LENGTH.pack(len(frame)) + frame)
    return reader


async def bobs_light(
    plan: LinkPlan, reader: asyncio.StreamReader, block: int, *says: bytes, hang_up: bool = False
) -> Any:
    """Return what Bob reads of a block that was announced to him, when Alice then says this."""
    at_bob, at_alice = memory_pair()
    for message in says:
        await at_alice.send(message)
    if hang_up:
        await at_alice.close()
    async with asyncio.timeout(120):
        return await bob_of(plan)._light(at_bob, reader, block)


SENT = b'{"sent":true}'


def test_bob_reads_the_block_announced_and_passes_over_older_light(plan: LinkPlan) -> None:
    async def read() -> Detections:
        found: Detections = await bobs_light(plan, light(plan, 3, 4, 7), 7, b'{"wait":true}', SENT)
        return found

    found = asyncio.run(read())
    assert found.block == 7
    assert found.slots.tolist() == [7]


def test_light_of_a_later_block_is_an_error(plan: LinkPlan) -> None:
    async def read() -> None:
        await bobs_light(plan, light(plan, 8), 7)  # although Alice has not said yet that all was sent

    with pytest.raises(ChannelError, match="block 8"):
        asyncio.run(read())


def test_light_that_never_comes_is_not_waited_for(plan: LinkPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bob_end, "LIGHT_GRACE_S", 0.1)

    async def read() -> None:
        await bobs_light(plan, light(plan, 6), 7, SENT)

    with pytest.raises(ChannelError, match=r"did not come within 0\.1 s"):
        asyncio.run(read())


@pytest.mark.parametrize("says", [(), (SENT,)])
def test_alice_hanging_up_ends_the_wait_for_light(plan: LinkPlan, says: tuple[bytes, ...]) -> None:
    async def read() -> None:
        await bobs_light(plan, light(plan), 7, *says, hang_up=True)

    with pytest.raises(ChannelError, match="closed"):
        asyncio.run(read())


@pytest.mark.parametrize("says", [(b'{"sent":false}',), (SENT, SENT), (b"[]",)])
def test_alice_out_of_turn_ends_the_wait_for_light(plan: LinkPlan, says: tuple[bytes, ...]) -> None:
    async def read() -> None:
        await bobs_light(plan, light(plan), 7, *says)

    with pytest.raises(ChannelError):
        asyncio.run(read())


def test_stopping_bob_while_he_waits_for_light_stops_him(plan: LinkPlan) -> None:
    async def stop() -> None:
        task = asyncio.create_task(bobs_light(plan, light(plan), 7, SENT))
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stop())


@pytest.mark.parametrize("number", [4, -1, BLOCK_MAX, True, "6", None])
def test_bob_refuses_numbers_that_are_none_or_were_tried(plan: LinkPlan, number: Any) -> None:
    async def block() -> None:
        at_bob, at_alice = memory_pair()
        await at_alice.send(json.dumps({"block": number}).encode())
        await bob_of(plan, last_block=4)._agree(at_bob)

    with pytest.raises(ChannelError):
        asyncio.run(block())


def test_bob_tries_no_block_whose_light_did_not_come(plan: LinkPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a changed announcement, however far ahead, leaves his number where it was."""
    monkeypatch.setattr(bob_end, "LIGHT_GRACE_S", 0.1)
    end = bob_of(plan)

    async def block() -> None:
        at_bob, at_alice = memory_pair()
        await at_alice.send(json.dumps({"block": BLOCK_MAX - 1}).encode())
        await at_alice.send(SENT)
        await end._light(at_bob, light(plan, 0), await end._agree(at_bob))

    with pytest.raises(ChannelError):
        asyncio.run(block())
    assert end._next_block() == 0


class Talk:
    """Alice's end with a channel on which somebody says where Bob is."""

    def __init__(self, plan: LinkPlan, last_block: int) -> None:
        addresses = ends.Addresses(("127.0.0.1", 1), ("127.0.0.1", 2))
        self.end = alice_end.AliceEnd(plan, addresses, services("alice", EventLog(), last_block))

    async def says(self, number: Any) -> list[dict[str, Any]]:
        """Return what Alice answers, until she would have the light sent."""
        at_alice, at_bob = memory_pair()
        await at_bob.send(json.dumps({"next": number}).encode())
        with contextlib.suppress(ChannelError):
            await self.end._announce(at_alice)
        await at_alice.close()
        return await _all(at_bob)


async def _all(channel: MemoryChannel) -> list[dict[str, Any]]:
    found = []
    with contextlib.suppress(ChannelError):
        while True:
            found.append(json.loads(await channel.receive()))
    return found


@pytest.mark.parametrize(("number", "block"), [(0, 5), (5, 5), (9, 9), (5 + AHEAD_MAX, 5 + AHEAD_MAX)])
def test_alice_goes_on_from_the_later_of_the_two(plan: LinkPlan, number: int, block: int) -> None:
    talk = Talk(plan, 4)
    assert asyncio.run(talk.says(number)) == [{"block": block}]
    assert talk.end._next_block() == block + 1, "a number that was announced is used up: Bob may have gone on with it"


@pytest.mark.parametrize("number", [6 + AHEAD_MAX, BLOCK_MAX - 1, BLOCK_MAX, 1 << 2000, -1, 1.5])
def test_alice_announces_nothing_on_a_number_far_ahead(plan: LinkPlan, number: Any) -> None:
    talk = Talk(plan, 4)
    assert asyncio.run(talk.says(number)) == []
    assert talk.end._next_block() <= 6 + AHEAD_MAX


def test_a_bob_who_truly_is_far_ahead_is_reached(plan: LinkPlan) -> None:
    """Forged numbers that Alice forgot in a restart can have led him there: that must not end the link."""
    talk = Talk(plan, -1)
    there = 5 * AHEAD_MAX + 7
    answers = [asyncio.run(talk.says(there)) for _ in range(7)]
    assert [{"block": there}] in answers


class Broken(ends.End):
    """An end whose sessions fail in many ways."""

    role = "bob"

    def __init__(self, plan: LinkPlan, *errors: BaseException) -> None:
        super().__init__(plan, ends.Addresses(("", 0), ("", 0)), services("bob", EventLog()))
        self.errors = list(errors)
        self.log = self._services.log

    async def _session(self) -> None:
        raise self.errors.pop(0)


def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let an end's pauses pass at once, and note them."""
    noted: list[float] = []

    async def sleep(seconds: float) -> None:
        noted.append(seconds)

    monkeypatch.setattr(ends, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    return noted


def test_no_error_ends_an_end_and_no_secret_is_told(plan: LinkPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [ValueError("hunter2"), KeyError("hunter2"), OSError("hunter2"), MemoryError(), ChannelError("gone")]
    end = Broken(plan, *errors, BlockAborted("qber-too-high", "25 %"), asyncio.CancelledError())
    noted = pauses(monkeypatch)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(end.run())
    told = [event.data["message"] for event in end.log if event.kind == "link.down"]
    assert len(told) == 5
    assert all(type(error).__name__ in message for error, message in zip(errors[:4], told, strict=False))
    assert "hunter2" not in " ".join(told)
    assert len(noted) == 6
    assert all(before < after for before, after in itertools.pairwise(noted))
    assert noted[0] == ends.PAUSE_FIRST_S


def test_failing_for_days_neither_floods_the_log_nor_ends_it(plan: LinkPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    end = Broken(plan, *[RuntimeError()] * 5000, asyncio.CancelledError())
    noted = pauses(monkeypatch)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(end.run())
    assert noted[-1] == ends.PAUSE_MOST_S
    assert sum(event.kind == "link.down" for event in end.log) == 1


def test_a_log_that_cannot_be_written_does_not_end_it(plan: LinkPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    end = Broken(plan, RuntimeError(), asyncio.CancelledError())

    def full(*args: Any, **more: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(end.log, "add", full)
    pauses(monkeypatch)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(end.run())


def test_the_bound_on_announcements_leaves_room_for_every_honest_block(plan: LinkPlan) -> None:
    expected = plan.expected.click_rate_hz * plan.seconds_per_block
    job = plan.job(0, Origin("simulated"))
    assert job.detections_max == min(plan.n_slots, max(DETECTIONS_FLOOR, math.ceil(8 * expected)))
    assert 4 * expected < job.detections_max
    assert "detections_max" not in job.public()


# The whole link, with somebody on the public channel who changes one message.


class Between:
    """Somebody who passes on all frames between Bob and Alice, but for what `change` makes of the talk."""

    def __init__(self, change: Change) -> None:
        self._change = change

    async def serve(self, host: str, port: int) -> asyncio.Server:
        async def on_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                to_alice, at_alice = await asyncio.open_connection(host, port)
                await asyncio.gather(self._relay(reader, at_alice, "bob"), self._relay(to_alice, writer, "alice"))
            writer.close()

        return await asyncio.start_server(on_call, "127.0.0.1", 0)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: str) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            writer.write(await reader.readexactly(HELLO.size))
            while True:
                (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                message = await reader.readexactly(size)
                if message[:1] == b"{":  # the talk; a message of a block begins with its kind
                    message = json.dumps(self._change(who, json.loads(message))).encode()
                writer.write(LENGTH.pack(len(message)) + message)
                await writer.drain()
        writer.close()


def once(who: str, field: str, value: Callable[[int], int], *, skip: int = 0) -> Change:
    """Change a number once, after letting some pass."""
    left = [skip, 1]

    def change(speaker: str, message: dict[str, Any]) -> dict[str, Any]:
        if speaker == who and field in message:
            if left[0]:
                left[0] -= 1
            elif left[1]:
                left[1] = 0
                return {**message, field: value(message[field])}
        return message

    return change


@pytest.mark.parametrize(
    "change",
    [
        once("bob", "next", lambda n: BLOCK_MAX - 1),
        once("bob", "next", lambda n: BLOCK_MAX),
        once("alice", "block", lambda n: n + 1, skip=1),
        once("alice", "block", lambda n: BLOCK_MAX - 1),
        once("alice", "block", lambda n: n - 1, skip=1),
    ],
)
def test_one_changed_number_costs_no_more_than_a_block(
    small_scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    scenario = load_scenario(small_scenario)
    scenario = scenario.model_copy(update={"base_port": free_base_port()})
    create_pki_for(scenario, tmp_path / "pki")
    log = EventLog()
    monkeypatch.setattr(bob_end, "LIGHT_GRACE_S", 0.5)

    async def serve() -> None:
        between = await Between(change).serve(*scenario.channel_address(LINK))
        port = between.sockets[0].getsockname()[1]
        real: Callable[..., Awaitable[TcpChannel]] = TcpChannel.connect

        async def connect(host: str, _: int, **more: Any) -> TcpChannel:
            return await real(host, port, **more)

        monkeypatch.setattr(bob_end, "TcpChannel", SimpleNamespace(connect=connect))
        network = ServedNetwork(
            scenario,
            pki=tmp_path / "pki",
            data=tmp_path / "data",
            log=log,
            options=RunOptions(speed=math.inf),
            resolve=resolve,
        )
        async with asyncio.timeout(240), network:
            while not _again(log):
                await asyncio.sleep(0.02)
        between.close()

    asyncio.run(serve())
    assert all(e.data["block"] <= 3 * AHEAD_MAX for e in log if e.kind == "block.distilled")


def _again(log: EventLog) -> bool:
    """Whether both ends made key after the link was down."""
    events = log.since()
    down = next((event.number for event in events if event.kind == "link.down"), None)
    made = {event.data["end"] for event in events if event.kind == "block.distilled" and down and event.number > down}
    return made == {"alice", "bob"}
