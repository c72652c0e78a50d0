"""Attacks on the public channel: no touched block gives a key, no untouched one is lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from noclone import rng
from noclone.distill.messages import HEADER, Kind
from noclone.io.channel import TcpChannel
from noclone.io.channel_server import TcpServer
from noclone.network.wire import Wire
from noclone.redteam.attacks import MESSAGE_ATTACKS
from noclone.redteam.message_trial import try_exhaustion, try_in_the_middle, try_messages
from noclone.redteam.messages import Message, Touched
from noclone.redteam.tampering import turn_one_bit

SEED = rng.seed_from_int(12)
CHANGING = [name for name in MESSAGE_ATTACKS if name != "delay"]
REASONS = {
    "authentication-exhaustion": "authentication-failed",
    "tampering": "authentication-failed",
    "replay": "peer-misbehaved",
    "reordering": "peer-misbehaved",
    "truncation": "peer-misbehaved",
    "suppression": "channel-broke",
}


def frame(kind: Kind, block: int, payload: bytes = b"\x00\x01") -> bytes:
    return HEADER.pack(kind, 0, block, 7) + payload


@pytest.mark.parametrize("name", MESSAGE_ATTACKS)
def test_strength_zero_leaves_everything_alone(name):
    row = try_messages(MESSAGE_ATTACKS[name], seed=SEED, strength=0.0, blocks=1)
    assert row.key_bits > 0
    assert row.noticed_by == ()


@pytest.mark.parametrize("name", CHANGING)
def test_no_touched_block_gives_a_key(name):
    row = try_messages(MESSAGE_ATTACKS[name], seed=SEED)
    assert row.key_bits == 0
    assert row.noticed_by == (REASONS[name],)
    assert row.detected_after == 1


def test_untouched_blocks_go_on():
    row = try_messages(MESSAGE_ATTACKS["tampering"], seed=SEED, strength=0.5, blocks=4)
    whole = try_messages(MESSAGE_ATTACKS["tampering"], seed=SEED, strength=0.0, blocks=2)
    assert 0 < row.key_bits <= 2 * whole.key_bits
    assert row.noticed_by == ("authentication-failed",)


def test_a_delay_costs_time_alone():
    row = try_messages(MESSAGE_ATTACKS["delay"], seed=SEED)
    assert row.outcome == "held"


def test_without_the_tag_key_nobody_stands_between():
    row = try_in_the_middle(seed=SEED, defended=True)
    assert row.key_bits == 0
    assert "authentication-failed" in row.noticed_by


def test_with_it_eve_holds_both_ends_keys():
    row = try_in_the_middle(seed=SEED, defended=False)
    assert row.key_bits > 0
    assert row.eve_bits == 1  # compared bit by bit with what the two ends released
    assert row.exposed_bits == row.key_bits
    assert row.detected_after is None


def test_an_empty_pool_makes_no_block_without_tags():
    carriage = Touched(turn_one_bit(), 1.0)
    row = try_exhaustion(carriage, seed=SEED, defended=False)
    assert row.outcome == "no service"
    assert row.noticed_by[-1] == "authentication-key-exhausted"
    assert row.note.startswith("4 spoiled blocks cost 4 pairs")  # 512 bits each, no more and no less
    assert try_exhaustion(carriage, seed=SEED, defended=True).outcome == "service"


def test_strength_is_the_share_of_blocks():
    touched = Touched(lambda _message: [], 0.25)
    gone = [block for block in range(100) if not touched("alice", frame(Kind.QUERY, block))]
    assert len(gone) == 25


def test_talk_between_blocks_is_no_message():
    assert Message.read("bob", b'{"next": 7, "and": "more than a header"}') is None
    assert Message.read("bob", b"short") is None
    assert Touched(lambda _message: [], 1.0)("bob", b'{"wait": true, "for": 1}') == [b'{"wait": true, "for": 1}']


def test_a_wire_passes_frames_on_and_changes_what_it_is_told_to():
    async def story() -> tuple[list[bytes], bytes]:
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="a-b")
        turn = Touched(lambda message: [message.frame[:-1], b"more"], 1.0)
        wire = Wire(("127.0.0.1", server.port), lambda: turn)
        host, port = await wire.start()
        bob = await TcpChannel.connect(host, port, role="bob", link="a-b")
        alice = await server.accept(5)
        await bob.send(b'{"next":1}')
        await bob.send(frame(Kind.QUERY, 1))
        got = [await alice.receive() for _ in range(3)]
        await alice.send(b'{"block":1}')
        back = await bob.receive()
        await bob.close()
        with contextlib.suppress(Exception):
            await alice.close()
        await wire.stop()
        await server.close()
        return got, back

    got, back = asyncio.run(story())
    assert got == [b'{"next":1}', frame(Kind.QUERY, 1)[:-1], b"more"]
    assert back == b'{"block":1}'
