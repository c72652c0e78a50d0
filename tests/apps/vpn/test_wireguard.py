"""The WireGuard end against a model of WireGuard's clockwork: sessions of 180 s, a handshake every 120 s, no mercy."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import Any

import pytest

from noclone.apps.vpn.wireguard import WireGuard
from noclone.client import Key
from noclone.clock import ManualClock
from noclone.errors import InputError, TunnelError

PUBLIC = {"a": base64.b64encode(b"a" * 32).decode(), "b": base64.b64encode(b"b" * 32).decode()}
OTHER = {"a": "b", "b": "a"}


@dataclass
class World:
    """Two ends. A handshake succeeds when their preshared keys are equal; it is tried at 120 s and every 5 s then."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(1_700_000_000.0))
    psk: dict[str, str] = field(default_factory=lambda: {"a": "(none)", "b": "(none)"})
    handshake_s: int = 0
    secrets: list[str] = field(default_factory=list)
    arguments: list[list[str]] = field(default_factory=list)

    def end(self, end: str) -> WireGuard:
        return WireGuard("wg0", PUBLIC[OTHER[end]], run=lambda words, text: self.wg(end, words, text), clock=self.clock)

    def wg(self, end: str, words: list[str], text: str) -> str:
        self.arguments.append(words)
        if words[-1] == "public-key":
            return PUBLIC[end] + "\n"
        if words[-1] == "dump":
            peer = [
                PUBLIC[OTHER[end]],
                self.psk[end],
                "10.0.0.2:1",
                "10.1.0.0/24",
                str(self.handshake_s),
                "1",
                "1",
                "10",
            ]
            return "own\tline\n" + "\t".join(peer) + "\n"
        if "preshared-key" in words:
            assert text.strip() not in words
            self.psk[end] = text.strip() if any(base64.b64decode(text)) else "(none)"  # as `wg` has it
        return ""

    def pass_time(self, seconds: int, *watching: WireGuard) -> float:
        """Move on, and return for how many seconds there was no session."""
        dead_s = 0.0
        for _ in range(seconds):
            self.clock.advance(1.0)
            now = self.clock.now_s()
            if now - self.handshake_s >= 120 and int(now) % 5 == 0 and self.psk["a"] == self.psk["b"]:
                self.handshake_s = int(now)
            dead_s += now - self.handshake_s > 180
            for end in watching:
                end.tick()
        return dead_s


def key(number: int = 1) -> Key:
    return Key(f"key-{number}", os.urandom(32))


@pytest.fixture
def world() -> World:
    world = World()
    world.handshake_s = int(world.clock.now_s()) - 30
    return world


def loaded(world: World, a: WireGuard, b: WireGuard, one: Key) -> None:
    b.load(one)
    a.load(one)


def test_nothing_is_claimed_until_a_handshake_is_younger_than_the_key(world: World) -> None:
    a, b = world.end("a"), world.end("b")
    loaded(world, a, b, key())
    assert a.prove() is None
    world.pass_time(80)
    assert a.prove() is None
    assert world.pass_time(60) == 0
    assert "handshake" in str(a.prove())
    assert world.psk["a"] == world.psk["b"] != "(none)"


def test_a_handshake_of_the_same_second_proves_nothing(world: World) -> None:
    a, b = world.end("a"), world.end("b")
    loaded(world, a, b, key())
    world.handshake_s = int(world.clock.now_s()) + 1
    world.clock.advance(1.0)
    assert a.prove() is None, "it may have been under way with the old key"
    world.handshake_s += 1
    assert a.prove()


def test_the_preshared_key_is_bound_to_its_id_and_to_the_tunnel(world: World) -> None:
    a, b = world.end("a"), world.end("b")
    one = key()
    loaded(world, a, b, one)
    first = world.psk["a"]
    assert first == world.psk["b"]
    assert base64.b64decode(first) != one.value
    a.load(Key("key-2", one.value))
    assert world.psk["a"] != first


def test_a_key_without_a_handshake_is_given_up_while_the_session_lives(world: World) -> None:
    a = world.end("a")
    a.load(key())
    for _ in range(200):
        dead_s = world.pass_time(1)
        assert dead_s == 0
        try:
            assert a.prove() is None
        except TunnelError:
            break
    a.roll_back()
    assert world.psk["a"] == world.psk["b"]
    assert world.clock.now_s() - world.handshake_s < 160
    assert world.pass_time(60) == 0, "no second without a session"


def test_where_there_is_no_session_a_key_is_tried_for_half_a_minute(world: World) -> None:
    world.handshake_s = 0
    a = world.end("a")
    a.load(key())
    world.pass_time(29)
    assert a.prove() is None
    world.pass_time(3)
    with pytest.raises(TunnelError, match="old one"):
        a.prove()


def test_a_slave_in_doubt_finds_the_key_that_the_master_has(world: World) -> None:
    """The master's end died before it loaded the key: the slave's tries both in turn."""
    a, b = world.end("a"), world.end("b")
    loaded(world, a, b, key(1))
    world.pass_time(130)
    a.keep()
    b.keep()
    b.load(key(2))
    assert world.pass_time(240, b) == 0, "no second without a session"
    assert world.psk["a"] == world.psk["b"]


def test_a_slave_in_doubt_learns_from_the_master(world: World) -> None:
    a, b = world.end("a"), world.end("b")
    loaded(world, a, b, key(1))
    b.load(key(2))
    b.learn("")
    assert world.psk["a"] != world.psk["b"], "a master that has just started does not know"
    b.learn("key-1")
    assert world.psk["a"] == world.psk["b"]
    b.load(key(3))
    b.learn("key-3")
    b.roll_back()
    assert world.psk["a"] != world.psk["b"], "what the master has in effect is kept for good"


def test_a_dead_tunnel_is_an_alarm(world: World) -> None:
    a = world.end("a")
    assert a.tick() is None
    world.psk["b"] = "x"
    world.pass_time(200)
    assert "down" in str(a.tick())


def test_keys_of_other_sizes_are_refused(world: World) -> None:
    with pytest.raises(TunnelError, match="256 bits"):
        world.end("a").load(Key("x", bytes(16)))


def test_a_tool_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="not installed"):
        WireGuard("wg0", PUBLIC["a"])


def test_no_secret_is_shown(world: World) -> None:
    a = world.end("a")
    one = key()
    a.load(one)
    text = repr(vars(a))
    assert repr(base64.b64decode(world.psk["a"]))[2:-1] not in text
    assert all(world.psk["a"] not in words for words in world.arguments)


def test_facts_are_the_same_at_both_ends(world: World) -> None:
    facts: list[Any] = [world.end("a").facts, world.end("b").facts]
    assert facts[0] == facts[1]


def test_a_blocked_end_shakes_hands_with_nobody_until_both_ends_have_a_new_key(world: World) -> None:
    a, b = world.end("a"), world.end("b")
    loaded(world, a, b, key())
    world.pass_time(130)
    assert a.prove()
    a.keep()
    b.keep()
    before = world.psk["a"]
    a.block()
    assert world.psk["a"] not in (before, "(none)")
    assert any("remove" in words for words in world.arguments[-3:]), "its sessions end as well"
    assert world.pass_time(400, a, b) > 200, "no handshake succeeds"
    a.learn("key-1")
    a.roll_back()
    assert world.psk["a"] != before, "nothing brings the old key back"
    loaded(world, a, b, key(2))
    world.pass_time(10)
    assert "handshake" in str(a.prove())
