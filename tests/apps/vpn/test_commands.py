"""`noclone vpn` as a user types it: two processes, two KMEs that are served, one VPN; and bad input; and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)  # the first to come waits for kernels to compile
NOCLONE = [sys.executable, "-m", "noclone"]


def application(served: Any, sae: str, other: str) -> list[str]:
    return ["--scenario", str(served.scenario), "--pki", str(served.pki), "--as", sae, "--to", other]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A command that runs, and the events that it tells."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [*NOCLONE, "vpn", *words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.events: list[dict[str, Any]] = []

    def wait_for(self, kind: str, number: int = 1) -> list[dict[str, Any]]:
        assert self.process.stdout is not None
        while len(found := [event for event in self.events if event["kind"] == kind]) < number:
            line = self.process.stdout.readline()
            assert line, f"it ended: {self.events} {self.process.communicate()}"
            self.events.append(json.loads(line))
        return found

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=120)
        self.events += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode, errors


@pytest.fixture
def command() -> Iterator[Callable[..., Process]]:
    running: list[Process] = []

    def start(*words: str) -> Process:
        running.append(Process(*words))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.fixture
def fake_wg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `wg` on the path that keeps what is set, for where there is no WireGuard; there is a handshake all the time."""
    tool = tmp_path / "wg"
    tool.write_text(f"""#!{sys.executable}
import sys, time, pathlib
words, own = sys.argv[1:], pathlib.Path({str(tmp_path)!r})
name = "b" if "wgb" in words else "a"
keys = dict(a="YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=", b="YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=")
psk = own / f"psk-{{name}}"
if "public-key" in words:
    print(keys[name])
elif "dump" in words:
    value = psk.read_text().strip() if psk.exists() else "(none)"
    print("own")
    print(keys["a" if name == "b" else "b"], value, "1.2.3.4:5", "10.0.0.0/8", int(time.time()), 0, 0, 10, sep="\\t")
elif "preshared-key" in words:
    psk.write_text(sys.stdin.read())
""")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


KEYS = {
    "a": "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=",
    "b": "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=",
}


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_two_ends_change_the_key_and_leave_well(
    served: Any, fake_wg: Path, command: Callable[..., Process], stop: int
) -> None:
    slave = command("wireguard", "wgb", "--peer", KEYS["a"], "--listen", "127.0.0.1:0",
                    *application(served, "sae-ben", "sae-ada"))  # fmt: skip
    where = slave.wait_for("vpn.started")[0]["listens"]
    master = command("wireguard", "wga", "--peer", KEYS["b"], "--call", where, "--interval", "0.1",
                     *application(served, "sae-ada", "sae-ben"))  # fmt: skip
    effective = master.wait_for("vpn.effective", 2)
    assert slave.wait_for("vpn.effective")[0]["key_ID"] == effective[0]["key_ID"]
    assert effective[0]["origin"] == "simulated"
    assert "site:ada" in effective[0]["leaks"]
    code, errors = master.end(stop)
    assert (code, errors) == (0, "")
    code, errors = slave.end(stop)
    assert (code, errors) == (0, "")
    assert (fake_wg / "psk-a").read_text() == (fake_wg / "psk-b").read_text()


def test_a_master_waits_for_a_slave_that_is_not_there_yet(
    served: Any, fake_wg: Path, command: Callable[..., Process]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    master = command("wireguard", "wga", "--peer", KEYS["b"], "--call", address, "--rotations", "1", "--interval", "1",
                     *application(served, "sae-ada", "sae-ben"))  # fmt: skip
    assert "does not listen" in master.wait_for("vpn.failed")[0]["message"]
    command("wireguard", "wgb", "--peer", KEYS["a"], "--listen", address, *application(served, "sae-ben", "sae-ada"))
    master.wait_for("vpn.effective")
    assert master.process.wait(10) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wireguard", "wg0"], "peer"),
        (["wireguard", "wg0", "--peer", "x"], "--to"),
        (["wireguard", "wg0", "--peer", "x", "--to", "b"], "--listen"),
        (["wireguard", "wg0", "--peer", "x", "--to", "b", "--call", "nowhere"], "no address"),
        (["wireguard", "wg0", "--peer", "x", "--to", "b", "--call", "h:1", "--listen", "h:1"], "either"),
        (["wireguard", "wg0", "--peer", "x", "--to", "b", "--call", "h:1"], "--as"),
        (["wireguard", "wg0", "--peer", "x", "--to", "b", "--call", "h:1", "--interval", "0"], "interval"),
        (["wireguard", "wg0", "--peer", "x", "--to", "b", "--call", "h:1", "--fail-closed", "9"], "next key"),
        (["ipsec"], "connection"),
        (["ipsec", "nowhere.toml", "--to", "b", "--call", "h:1"], "nowhere.toml"),
        (["stunnel", "nowhere.conf", "web", "--to", "b", "--call", "h:1"], "nowhere.conf"),
    ],
)
def test_bad_input_is_said(words: list[str], said: str) -> None:
    done = subprocess.run([*NOCLONE, "vpn", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert said in done.stderr.lower()
    assert "Traceback" not in done.stderr
