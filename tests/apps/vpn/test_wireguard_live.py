"""WireGuard end to end: wireguard-go in two network namespaces, traffic through it, keys that change under it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from noclone.apps.vpn.wireguard import WireGuard
from noclone.errors import InputError, TunnelError

INSIDE = {"a": "10.88.0.1", "b": "10.88.0.2"}


@dataclass
class Tunnel:
    """A WireGuard tunnel between the ends, without a preshared key."""

    spaces: Any
    interfaces: dict[str, str]
    public: dict[str, str]

    def end(self, end: str, **options: Any) -> WireGuard:
        return WireGuard(self.interfaces[end], self.public["b" if end == "a" else "a"], **options)

    def wg(self, end: str, *words: str, text: str = "") -> str:
        return str(self.spaces.run(end, "wg", *words, text=text))

    def break_sessions(self, end: str) -> None:
        """Set a wrong preshared key and end all sessions: what follows needs a handshake."""
        other, number = "b" if end == "a" else "a", 2 if end == "a" else 1
        peer = ("set", self.interfaces[end], "peer", self.public[other])
        self.wg(end, *peer, "remove")
        self.wg(
            end, *peer, "preshared-key", "/dev/stdin", "endpoint", f"10.77.0.{number}:51820", "allowed-ips",
            f"{INSIDE[other]}/32", "persistent-keepalive", "1", text="A" * 43 + "=\n",
        )  # fmt: skip


@pytest.fixture
def tunnel(needs: Callable[..., None], namespaces: Any) -> Tunnel:
    needs("wireguard-go", "wg")
    tag = os.getpid() % 10_000
    interfaces = {end: f"ncw{tag}{end}" for end in "ab"}
    private = {end: namespaces.run(end, "wg", "genkey") for end in "ab"}
    public = {end: namespaces.run(end, "wg", "pubkey", text=private[end]).strip() for end in "ab"}
    for end in "ab":
        namespaces.start(end, "wireguard-go", "-f", interfaces[end], stdout=-3, stderr=-3)
    for end in "ab":
        for _ in range(100):
            if Path(f"/var/run/wireguard/{interfaces[end]}.sock").exists():
                break
            time.sleep(0.05)
    for end, other, number in (("a", "b", 2), ("b", "a", 1)):
        namespaces.run(
            end, "wg", "set", interfaces[end], "listen-port", "51820", "private-key", "/dev/stdin", "peer",
            public[other], "endpoint", f"10.77.0.{number}:51820", "allowed-ips", f"{INSIDE[other]}/32",
            text=private[end],
        )  # fmt: skip
        namespaces.run(end, "ip", "addr", "add", f"{INSIDE[end]}/24", "dev", interfaces[end])
        namespaces.run(end, "ip", "link", "set", interfaces[end], "up", "mtu", "1420")
    return Tunnel(namespaces, interfaces, public)


def test_a_key_comes_into_effect_at_once_and_is_proven(tunnel: Tunnel, ends: Any) -> None:
    ends.serve(tunnel.end("b"))
    master = ends.master(tunnel.end("a", at_once=True))
    done = [master.rotate(threading.Event()) for _ in range(3)]
    assert len({one.key_id for one in done if one is not None}) == 3
    slaves = [data["key_ID"] for data in ends.wait_for("vpn.effective", 3)]
    assert slaves == [one.key_id for one in done if one is not None], ends.told
    psk = {tunnel.wg(end, "show", tunnel.interfaces[end], "preshared-keys").split()[1] for end in "ab"}
    assert len(psk) == 1
    assert psk != {"(none)"}
    assert tunnel.spaces.reaches("a", INSIDE["b"])


def test_no_packet_is_lost_while_keys_are_loaded(tunnel: Tunnel, ends: Any) -> None:
    """Between two handshakes a key can be set as often as one likes: it costs nothing."""
    assert tunnel.spaces.reaches("a", INSIDE["b"])
    a, b = tunnel.end("a"), tunnel.end("b")
    ping = tunnel.spaces.ping("a", INSIDE["b"])
    for _ in range(5):
        keys = ends.keys.client("sae-a").enc_keys("sae-b", 1, 256).keys
        b.load(keys[0])
        a.load(keys[0])
        assert a.prove() is None, "the session is still the old one, and nothing is claimed"
        time.sleep(0.2)
    assert ping.losses()[1] == 0


def test_a_wrong_key_stops_traffic_and_the_next_rotation_repairs_it(tunnel: Tunnel, ends: Any) -> None:
    ends.serve(tunnel.end("b"))
    master = ends.master(tunnel.end("a", at_once=True))
    assert master.rotate(threading.Event()) is not None
    tunnel.break_sessions("a")
    time.sleep(0.5)
    assert not tunnel.spaces.reaches("a", INSIDE["b"])
    began = time.monotonic()
    repaired = ends.master(tunnel.end("a", at_once=True)).rotate(threading.Event())
    while not tunnel.spaces.reaches("a", INSIDE["b"]):
        assert time.monotonic() < began + 15
    assert repaired is not None
    assert time.monotonic() - began < 10


def test_a_blocked_end_lets_nothing_through_until_the_next_key(tunnel: Tunnel, ends: Any) -> None:
    ends.serve(tunnel.end("b"))
    a = tunnel.end("a", at_once=True)
    master = ends.master(a)
    assert master.rotate(threading.Event()) is not None
    assert tunnel.spaces.reaches("a", INSIDE["b"], 3)
    a.block()
    assert not tunnel.spaces.reaches("a", INSIDE["b"], 2)
    assert not tunnel.spaces.reaches("b", INSIDE["a"], 2)
    began = time.monotonic()
    while True:  # the other end has not heard yet why nobody answers it
        try:
            assert master.rotate(threading.Event()) is not None
            break
        except TunnelError:
            assert time.monotonic() < began + 120
    assert tunnel.spaces.reaches("a", INSIDE["b"], 5)


@pytest.mark.timeout(300)
def test_both_ends_by_command(tunnel: Tunnel, by_command: Callable[..., None]) -> None:
    """wireguard-go's sockets are files, so `wg` reaches both from outside their namespaces."""
    names, public = tunnel.interfaces, tunnel.public
    slave = ["wireguard", names["b"], "--peer", public["a"]]
    by_command(slave, ["wireguard", names["a"], "--peer", public["b"], "--at-once"])
    assert tunnel.spaces.reaches("a", INSIDE["b"])


def test_an_interface_or_a_peer_that_is_not_there_is_said(tunnel: Tunnel) -> None:
    with pytest.raises(InputError, match="no peer"):
        WireGuard(tunnel.interfaces["a"], tunnel.public["a"])
    with pytest.raises(InputError, match="refused"):
        WireGuard("wg-nowhere", tunnel.public["a"])
    with pytest.raises(InputError, match="no key"):
        WireGuard(tunnel.interfaces["a"], "short")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rotations_through_natural_handshakes_lose_no_packet(tunnel: Tunnel, ends: Any) -> None:
    """Three keys, each proven by the next handshake that comes by itself, under 50 packets a second."""
    ends.serve(tunnel.end("b"))
    master = ends.master(tunnel.end("a"))
    assert tunnel.spaces.reaches("a", INSIDE["b"])
    ping = tunnel.spaces.ping("a", INSIDE["b"])
    done = [master.rotate(threading.Event()) for _ in range(3)]
    sent, lost = ping.losses()
    assert len({one.key_id for one in done if one is not None}) == 3
    assert sent > 10_000
    assert lost == 0, f"{lost} of {sent}"


def wait_until_proven(end: WireGuard) -> None:
    while end.prove() is None:
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_key_that_only_one_end_has_is_taken_back_before_traffic_stops(tunnel: Tunnel, ends: Any) -> None:
    assert tunnel.spaces.reaches("a", INSIDE["b"])
    a = tunnel.end("a")
    ping = tunnel.spaces.ping("a", INSIDE["b"], 0.1)
    a.load(ends.keys.client("sae-a").enc_keys("sae-b", 1, 256).keys[0])
    with pytest.raises(TunnelError, match="no handshake"):
        wait_until_proven(a)
    a.roll_back()
    time.sleep(45)
    sent, lost = ping.losses()
    assert sent > 1_500
    assert lost == 0, f"{lost} of {sent}"
