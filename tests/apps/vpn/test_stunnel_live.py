"""stunnel end to end: a service between two of its processes on loopback, keys that change under its connections."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from noclone.apps.vpn.psk_handshake import check_key
from noclone.apps.vpn.stunnel import StunnelEnd, load_service
from noclone.client import Key
from noclone.errors import InputError, TunnelError

CONFIG = """
foreground = yes
pid = {folder}/{end}.pid
output = {folder}/{end}.log
; a comment
[web]
client = {client}
accept = 127.0.0.1:{accept}
connect = 127.0.0.1:{connect}
PSKsecrets = {folder}/{end}.psk
ciphersuites = TLS_CHACHA20_POLY1305_SHA256
sslVersionMin = TLSv1.3
sessionResume = no
"""


def free_ports(number: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def soon(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@dataclass
class Stunnels:
    """Client (a) and server (b), and an application behind the server that says hello."""

    folder: Path
    ports: tuple[int, int]

    def end(self, end: str) -> StunnelEnd:
        return StunnelEnd(load_service(self.folder / f"{end}.conf", "web"), master=end == "a")

    def hello(self) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.ports[0]), 5) as connection:
                return connection.recv(100)
        except OSError:
            time.sleep(0.02)
            return b""

    def heard(self) -> bool:
        """Whether the service answers, after what time a busy machine needs to read a key."""
        return soon(lambda: self.hello() == b"hello")

    def secrets(self, end: str) -> list[str]:
        return [line.split(":")[0] for line in (self.folder / f"{end}.psk").read_text().splitlines()]


@pytest.fixture
def stunnels(tmp_path: Path, needs_free: Callable[[str], None]) -> Iterator[Stunnels]:
    needs_free("stunnel4?")
    program = shutil.which("stunnel4") or shutil.which("stunnel")
    if program is None:
        pytest.skip("not installed: stunnel4")
    application = socket.create_server(("127.0.0.1", 0))
    application.settimeout(0.2)
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            try:
                connection, _ = application.accept()
            except TimeoutError:
                continue
            with connection:
                connection.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    inside, between = free_ports(2)
    behind = application.getsockname()[1]
    processes = []
    for end, accept, connect in (("a", inside, between), ("b", between, behind)):
        client = "yes" if end == "a" else "no"
        (tmp_path / f"{end}.conf").write_text(
            CONFIG.format(folder=tmp_path, end=end, client=client, accept=accept, connect=connect)
        )
        psk = tmp_path / f"{end}.psk"
        psk.write_text("none:" + os.urandom(32).hex() + "\n")
        psk.chmod(0o600)
        processes.append(
            subprocess.Popen([program, tmp_path / f"{end}.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
    for port, end in ((inside, "a"), (between, "b")):
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                if (tmp_path / f"{end}.pid").exists():
                    break
            except OSError:
                pass
            time.sleep(0.05)
    try:
        yield Stunnels(tmp_path, (inside, between))
    finally:
        for process in processes:
            process.terminate()
            process.wait(10)
        done.set()
        thread.join()
        application.close()


def test_keys_change_and_every_connection_is_served(stunnels: Stunnels, ends: Any) -> None:
    ends.serve(stunnels.end("b"))
    assert stunnels.hello() == b"", "they have different keys still"
    master = ends.master(stunnels.end("a"))
    first = master.rotate(threading.Event())
    assert stunnels.heard()
    served = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            served.append(stunnels.hello())

    thread = threading.Thread(target=load)
    thread.start()
    done = []
    try:
        for _ in range(8):
            done.append(master.rotate(threading.Event()))
            time.sleep(0.2)
    finally:
        stop.set()
        thread.join()
    ends.wait_for("vpn.effective", 9)
    assert len({one.key_id for one in [first, *done] if one is not None}) == 9
    assert len(served) > 8
    # stunnel opens its port anew when it reads its configuration: who comes then is turned away, at either end.
    moments = sum(one == b"hello" and other == b"" for one, other in pairwise(served))
    assert moments <= 2 * 8, served
    assert stunnels.heard()
    assert stunnels.secrets("a") == stunnels.secrets("b") == [done[-1].key_id if done[-1] else ""]


@pytest.mark.timeout(300)
def test_both_ends_by_command(stunnels: Stunnels, by_command: Callable[..., None]) -> None:
    words = {end: ["stunnel", str(stunnels.folder / f"{end}.conf"), "web"] for end in "ab"}
    by_command(words["b"], words["a"])
    assert stunnels.heard()


def test_a_wrong_key_is_refused_and_nothing_changes(stunnels: Stunnels, ends: Any) -> None:
    ends.serve(stunnels.end("b"))
    a = stunnels.end("a")
    master = ends.master(a)
    first = master.rotate(threading.Event())
    assert first is not None
    load = a.load
    a.load = lambda key: load(Key(key.key_id, bytes(range(32))))  # type: ignore[method-assign]
    with pytest.raises(TunnelError, match="does not take the key"):
        master.rotate(threading.Event())
    ends.wait_for("vpn.rolled-back")
    assert soon(lambda: stunnels.secrets("a") == stunnels.secrets("b") == [first.key_id])
    assert stunnels.heard()


def test_an_old_key_is_refused_after_a_change(stunnels: Stunnels, ends: Any) -> None:
    b = stunnels.end("b")
    old, new = Key("old", os.urandom(32)), Key("new", os.urandom(32))
    address = ("127.0.0.1", stunnels.ports[1])

    def taken(key: Key) -> bool:
        try:
            return check_key(address, key.key_id, key.value) == "TLS_CHACHA20_POLY1305_SHA256"
        except TunnelError:
            return False

    for key in (old, new):
        b.load(key)
        assert soon(lambda key=key: taken(key))  # type: ignore[misc]
    check_key(address, "old", old.value)
    b.keep()
    assert soon(lambda: not taken(old))
    assert soon(lambda: taken(new))
    with pytest.raises(TunnelError):
        check_key(address, "old", old.value)
    assert (stunnels.folder / "b.psk").stat().st_mode & 0o777 == 0o600


def test_a_dead_stunnel_is_said(stunnels: Stunnels) -> None:
    b = stunnels.end("b")
    assert b.tick() is None
    (stunnels.folder / "b.pid").write_text("999999999")
    assert b.tick() == "stunnel is not running"
    with pytest.raises(TunnelError, match="not running"):
        b.load(Key("x", bytes(32)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[web]", "[mail]"), "no service"),
        (("sessionResume = no", ""), "sessionResume = no"),
        (("sslVersionMin = TLSv1.3", "sslVersionMin = TLSv1.2"), "sslVersionMin"),
        (("PSKsecrets = /x.psk", ""), "PSKsecrets"),
        (("PSKsecrets = /x.psk", "PSKsecrets = x.psk"), "absolute"),
        (("pid = /x.pid", ""), "pid"),
        (("client = yes", "client = no"), "server of TLS"),
    ],
)
def test_configurations_that_would_not_do_are_refused(change: tuple[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    good = CONFIG.format(folder="", end="x", client="yes", accept=1, connect=2)
    path.write_text(good)
    assert load_service(path, "web").connect == "127.0.0.1:2"
    assert change[0] in good
    path.write_text(good.replace(*change))
    with pytest.raises(InputError, match=words):
        StunnelEnd(load_service(path, "web"), master=True)
