"""Two network namespaces with a cable between them, and whatever runs in them; nothing of it is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from noclone.apps.conversation import Listener
from noclone.apps.vpn.rotation import Master, Slave


def sh(*words: str, check: bool = True, text: str = "") -> str:
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@dataclass
class Ping:
    """A ping that runs beside the test, and the file that it writes to: a pipe that nobody reads would stop it."""

    process: subprocess.Popen[Any]
    output: IO[str]

    def losses(self) -> tuple[int, int]:
        """Stop it; return how many packets were sent, and how many lost. The last one may still be on its way."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        self.output.seek(0)
        text = self.output.read()
        self.output.close()
        found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
        assert found, text[-500:]
        sent, lost = int(found[1]), int(found[1]) - int(found[2])
        return sent, lost - (lost > 0 and f"icmp_seq={sent} " not in text)


@dataclass
class Namespaces:
    """Ends "a" and "b": 10.77.0.1 and 10.77.0.2 on the cable."""

    tag: str
    processes: list[subprocess.Popen[Any]] = field(default_factory=list)

    def name(self, end: str) -> str:
        return f"{self.tag}{end}"

    def run(self, end: str, *words: str, **options: Any) -> str:
        return sh("ip", "netns", "exec", self.name(end), *words, **options)

    def start(self, end: str, *words: str, **options: Any) -> subprocess.Popen[Any]:
        process = subprocess.Popen(["ip", "netns", "exec", self.name(end), *words], **options)
        self.processes.append(process)
        return process

    def ping(self, end: str, address: str, interval_s: float = 0.02) -> Ping:
        output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the ping
        words = ("ping", "-n", "-i", str(interval_s), "-W", "1", address)
        return Ping(self.start(end, *words, stdout=output), output)

    def reaches(self, end: str, address: str, tries: int = 1) -> bool:
        said = self.run(end, "ping", "-n", "-c", str(tries), "-W", "1", address, check=False)
        return re.search(r" [1-9]\d* received", said) is not None  # no route is no answer, and no statistics either

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
        for end in "ab":
            sh("ip", "netns", "del", self.name(end), check=False)


def need(*tools: str) -> None:
    """Skip a test whose programs are not here."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def need_free(program: str) -> None:
    """Skip a test whose daemon may only use its own folders here."""
    with contextlib.suppress(OSError):
        profiles = Path("/sys/kernel/security/apparmor/profiles").read_text()
        if re.search(rf"{program} \(enforce\)", profiles):
            pytest.skip(f"AppArmor keeps {program} to folders of its own")


@pytest.fixture
def needs_free() -> Callable[[str], None]:
    return need_free


@pytest.fixture
def needs() -> Callable[..., None]:
    return need


@pytest.fixture
def namespaces() -> Iterator[Namespaces]:
    need("ip", "ping")
    found = Namespaces(f"nc{os.getpid() % 100_000}")
    probe = subprocess.run(["ip", "netns", "add", found.name("a")], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no network namespaces here: {probe.stderr.strip()}")
    try:
        sh("ip", "netns", "add", found.name("b"))
        sh("ip", "link", "add", "cable", "netns", found.name("a"), "type", "veth", "peer", "name", "cable",
           "netns", found.name("b"))  # fmt: skip
        for number, end in enumerate("ab", 1):
            sh("ip", "-n", found.name(end), "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("cable", "lo"):
                sh("ip", "-n", found.name(end), "link", "set", device, "up")
        yield found
    finally:
        found.stop()


@dataclass
class Ends:
    """A master in this thread, and a slave in another one, with what they told."""

    keys: Any
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    address: tuple[str, int] = ("127.0.0.1", 0)

    def tell(self, kind: str, **data: Any) -> None:
        self.told.append((kind, data))

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]

    def serve(self, tunnel: Any, **options: Any) -> None:
        """Be the slave, in a thread."""
        self.stop = threading.Event()
        listener = Listener(
            self.keys.client("sae-b"), ("127.0.0.1", 0), receiver="sae-b", callers=["sae-a"], topics=[tunnel.kind]
        )
        self.address = listener.address

        def run() -> None:
            with listener:
                Slave(tunnel, listener).run(self.tell, self.stop, **options)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def master(self, tunnel: Any) -> Master:
        return Master(self.keys.client("sae-a"), tunnel, self.address, sender="sae-a", to="sae-b")

    def wait_for(self, kind: str, number: int = 1, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """Wait until so many events of a kind were told; return their data."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = [data for one, data in self.told if one == kind]
            if len(found) >= number:
                return found
            time.sleep(0.02)
        raise AssertionError(f"no {kind} in {self.told}")

    def leave(self) -> None:
        self.stop.set()
        if self.thread is not None:
            self.thread.join(20)
            assert not self.thread.is_alive()
            self.thread = None


@pytest.fixture
def ends(keys: Any) -> Iterator[Ends]:
    both = Ends(keys)
    yield both
    both.leave()


@pytest.fixture
def by_command(served: Any) -> Callable[[list[str], list[str]], None]:
    """Run both ends of a VPN by command, for two keys each, and compare what they say."""

    def run(slave: list[str], master: list[str]) -> None:
        def words(what: list[str], own: str, other: str) -> list[str]:
            common = ["--scenario", str(served.scenario), "--pki", str(served.pki), "--rotations", "2", "--json"]
            return [sys.executable, "-m", "noclone", "vpn", *what, "--as", own, "--to", other, *common]

        first = subprocess.Popen(
            words([*slave, "--listen", "127.0.0.1:0"], "sae-ben", "sae-ada"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert first.stdout is not None
            line = first.stdout.readline()
            assert line, first.communicate()
            call = ["--call", json.loads(line)["listens"], "--interval", "0.5"]
            second = subprocess.run(
                words([*master, *call], "sae-ada", "sae-ben"), capture_output=True, text=True, timeout=100
            )
            assert (second.returncode, second.stderr) == (0, "")
            out, errors = first.communicate(timeout=120)
        finally:
            first.kill()
            first.wait()
        assert (first.returncode, errors) == (0, "")
        told = [[json.loads(one) for one in text.splitlines()] for text in (out, second.stdout)]
        ids = [[one["key_ID"] for one in events if one["kind"] == "vpn.effective"] for events in told]
        assert ids[0] == ids[1], told
        assert len(set(ids[0])) == 2
        assert not [one for events in told for one in events if one["kind"] in ("vpn.failed", "alarm.raised")]

    return run
