"""Rotations with tunnels of a test: whatever breaks in between, both ends have the same key in the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from noclone.apps.conversation import Conversation
from noclone.client import Key
from noclone.errors import ChannelError, NocloneError, TunnelError


@dataclass
class Tunnel:
    """An end that does as it is told, and remembers."""

    kind: str = "test"
    facts: dict[str, Any] = field(default_factory=dict)
    patience_s: float = 0.5
    means: str = "nothing"
    proves: Any = "it works"
    fails_to_load: bool = False
    done: list[str] = field(default_factory=list)
    used: str = ""
    before: str = ""
    alarm: str | None = None

    def load(self, key: Key) -> None:
        self.done.append("load")
        if self.fails_to_load:
            raise TunnelError("it does not want to")
        self.before, self.used = self.used, key.key_id

    def prove(self) -> str | None:
        if isinstance(self.proves, Exception):
            raise self.proves
        return self.proves

    def keep(self) -> None:
        self.done.append("keep")

    def roll_back(self) -> None:
        self.done.append("roll back")
        self.used = self.before

    def learn(self, current: str) -> None:
        self.done.append(f"learn {current}")

    def block(self) -> None:
        self.done.append("block")
        self.used = ""

    def tick(self) -> str | None:
        return self.alarm


@pytest.fixture
def pair(ends: Any) -> Iterator[tuple[Tunnel, Tunnel]]:
    master, slave = Tunnel(), Tunnel()
    ends.serve(slave)
    yield master, slave
    ends.leave()


def test_a_rotation_loads_the_slave_first_and_ends_with_the_same_key(ends: Any, pair: tuple[Tunnel, Tunnel]) -> None:
    master, slave = pair
    at_master = ends.master(master)
    order: list[str] = []
    slave_load, master_load = slave.load, master.load
    slave.load = lambda key: (order.append("slave"), slave_load(key))[1]  # type: ignore[method-assign]
    master.load = lambda key: (order.append("master"), master_load(key))[1]  # type: ignore[method-assign]
    rotation = at_master.rotate(threading.Event())
    assert order == ["slave", "master"]
    told = ends.wait_for("vpn.effective")
    assert told[0]["key_ID"] == rotation.key_id == master.used == slave.used
    assert slave.done == ["learn ", "load", "keep"]
    at_master.rotate(threading.Event())
    ends.wait_for("vpn.effective", 2)
    assert slave.done[3] == f"learn {rotation.key_id}", "the master says which key it has"


@pytest.mark.parametrize("proves", [None, TunnelError("no handshake")])
def test_without_proof_both_ends_go_back(ends: Any, pair: tuple[Tunnel, Tunnel], proves: Any) -> None:
    master, slave = pair
    at_master = ends.master(master)
    first = at_master.rotate(threading.Event())
    master.proves = proves
    with pytest.raises(TunnelError):
        at_master.rotate(threading.Event())
    ends.wait_for("vpn.rolled-back")
    assert master.used == slave.used == first.key_id == at_master.current


def test_a_master_that_cannot_load_takes_the_slave_back(ends: Any, pair: tuple[Tunnel, Tunnel]) -> None:
    master, slave = pair
    master.fails_to_load = True
    with pytest.raises(TunnelError):
        ends.master(master).rotate(threading.Event())
    ends.wait_for("vpn.rolled-back")
    assert slave.used == ""


def test_a_slave_that_cannot_load_leaves_the_master_as_it_is(ends: Any, pair: tuple[Tunnel, Tunnel]) -> None:
    master, slave = pair
    slave.fails_to_load = True
    with pytest.raises(ChannelError, match="does not want to"):
        ends.master(master).rotate(threading.Event())
    assert master.done == []
    assert ends.wait_for("vpn.failed")[0]["message"] == "it does not want to"


def test_ends_of_different_tunnels_find_out(ends: Any, pair: tuple[Tunnel, Tunnel]) -> None:
    master, slave = pair
    master.facts = {"public_keys": ["x"]}
    with pytest.raises(ChannelError, match="different tunnels"):
        ends.master(master).rotate(threading.Event())
    assert "load" not in slave.done


@pytest.mark.parametrize("word", ["loaded", "effective"])
def test_a_word_that_is_lost_on_its_way_leaves_the_slave_in_doubt_until_the_next_call(
    ends: Any, pair: tuple[Tunnel, Tunnel], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = pair
    real = Conversation.say

    def say(self: Conversation, **message: Any) -> None:
        if message.get("state") == word:
            monkeypatch.setattr(Conversation, "say", real)
            self._connection.shutdown(2)
            raise ChannelError("lost")
        real(self, **message)

    monkeypatch.setattr(Conversation, "say", say)
    at_master = ends.master(master)
    try:
        at_master.rotate(threading.Event())
    except NocloneError:
        assert word == "loaded"
        assert master.done == [], "who does not hear that the other end is ready loads nothing"
    ends.wait_for("vpn.failed")
    rotation = at_master.rotate(threading.Event())
    ends.wait_for("vpn.effective")
    assert master.used == slave.used == rotation.key_id
    assert f"learn {master.before}" in slave.done, "the master has said which key it had"


def test_a_run_goes_on_after_failures_and_counts_what_came_into_effect(ends: Any, pair: tuple[Tunnel, Tunnel]) -> None:
    master, slave = pair
    slave.fails_to_load = True
    told: list[str] = []

    def tell(kind: str, **data: Any) -> None:
        told.append(kind)
        slave.fails_to_load = False

    ends.master(master).run(tell, threading.Event(), interval_s=0.01, rotations=2)
    assert [kind for kind in told if kind != "alarm.raised"] == ["vpn.failed", "vpn.effective", "vpn.effective"]


def test_a_master_that_is_told_to_stop_while_it_waits_leaves_the_key_loaded(
    ends: Any, pair: tuple[Tunnel, Tunnel]
) -> None:
    master, slave = pair
    master.proves = None
    stop = threading.Event()
    stop.set()
    assert ends.master(master).rotate(stop) is None
    assert master.used == slave.used != ""
    assert master.done == ["load"]


def test_an_alarm_is_said_once_while_it_lasts(ends: Any, pair: tuple[Tunnel, Tunnel]) -> None:
    _, slave = pair
    slave.alarm = "the tunnel is down"
    assert ends.wait_for("alarm.raised")[0]["message"] == "the tunnel is down"
    ends.stop.wait(2.5)
    assert ends.kinds().count("alarm.raised") == 1


def test_a_key_that_is_overdue_is_an_alarm_said_once(ends: Any, pair: tuple[Tunnel, Tunnel]) -> None:
    master, slave = pair
    slave.fails_to_load = True
    told: list[str] = []
    stop = threading.Event()

    def tell(kind: str, **data: Any) -> None:
        told.append(kind)
        if len(told) > 4:
            stop.set()

    ends.master(master).run(tell, stop, interval_s=0.01)
    assert told.count("alarm.raised") == 1
    assert told.count("vpn.failed") == 4


def test_without_a_new_key_traffic_stops_where_it_shall_and_goes_on_with_the_next(ends: Any) -> None:
    master, told, stop = Tunnel(fails_to_load=True), list[str](), threading.Event()
    slave = Tunnel()
    ends.serve(slave)

    def tell(kind: str, **_: Any) -> None:
        told.append(kind)
        if kind == "vpn.stopped":
            master.fails_to_load = False  # now there is key again

    ends.master(master).run(tell, stop, interval_s=0.5, rotations=1, fail_closed_s=0.2)
    ends.leave()
    assert "block" in master.done
    assert told.count("vpn.stopped") == 1
    assert told[-1] == "vpn.effective"
    assert master.used == slave.used != ""


def test_a_slave_that_nobody_calls_stops_traffic_too(ends: Any) -> None:
    slave = Tunnel()
    ends.serve(slave, fail_closed_s=0.2)
    ends.wait_for("vpn.stopped")
    ends.leave()
    assert slave.done == ["block"]


def test_who_does_not_ask_for_it_keeps_the_last_key(ends: Any) -> None:
    master, stop, told = Tunnel(fails_to_load=True), threading.Event(), list[str]()
    ends.serve(Tunnel())

    def tell(kind: str, **_: Any) -> None:
        told.append(kind)
        if kind == "alarm.raised":
            stop.set()

    ends.master(master).run(tell, stop, interval_s=0.05)
    ends.leave()
    assert "block" not in master.done
