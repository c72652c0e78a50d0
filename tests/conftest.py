"""A small network that several test folders use: the shipped metro link with small blocks, served on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", ".hypothesis")
# The same examples every time, so that a change is judged by itself; NOCLONE_TEST_EXPLORE=1 draws new ones.
hypothesis.settings.register_profile("same", derandomize=True)
if not os.environ.get("NOCLONE_TEST_EXPLORE"):
    hypothesis.settings.load_profile("same")

LINGER_S = 60.0

# Where a shell started the tests in the background, what they start could not be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(exitstatus: int) -> None:
    """Give threads that a failed test left behind a minute, and then end: they would keep the process for ever."""

    def end() -> None:
        faulthandler.dump_traceback(all_threads=True)
        os._exit(int(exitstatus) or 1)

    watchdog = threading.Timer(LINGER_S, end)
    watchdog.daemon = True
    watchdog.start()


SMALL = """
name = "small"
lab = true
base_port = {base_port}
[[node]]
name = "ada"
[[node]]
name = "ben"
[[sae]]
id = "sae-ada"
node = "ada"
[[sae]]
id = "sae-ben"
node = "ben"
[[sae]]
id = "sae-bea"
node = "ben"
[[link]]
name = "ada-ben"
alice = "ada"
bob = "ben"
[link.source]
clock_hz = 1e9
intensities = [0.40, 0.13]
probabilities = [0.4, 0.6]
p_key = 0.7
[link.fibre]
length_km = 25
[link.receiver]
p_key = 0.7
efficiency = 0.5
dark_count_hz = 10
dead_time_ns = 30
misalignment = 0.01
[link.distillation]
block_key_bits = 200_000
"""


def free_base_port() -> int:
    """Return a base port below the range that the system hands out, whose first ports are free."""
    for _ in range(50):
        base = random.randrange(11_000, 23_000, 250)
        with contextlib.suppress(OSError):
            for port in (base, base + 1, base + 98, base + 99, base + 100):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            return base
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def free_ports() -> Callable[[], int]:
    """Return what finds a base port whose ports are free."""
    return free_base_port


@pytest.fixture(scope="session")
def small_scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenario file of two nodes, three applications, one link with small blocks."""
    path = tmp_path_factory.mktemp("small") / "small.toml"
    path.write_text(SMALL.format(base_port=free_base_port()))
    return path


@dataclass
class Served:
    """A network that is being served in a thread."""

    scenario: Path
    pki: Path
    data: Path
    log: object
    monitoring: tuple[str, int]

    def wait_for(self, kind: str, *, after: int = 0, timeout_s: float = 180.0) -> object:
        """Return the first event of a kind after a number."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for event in self.log.since(after):  # type: ignore[attr-defined]
                if event.kind == kind:
                    return event
            time.sleep(0.02)
        raise AssertionError(f"no {kind} within {timeout_s} s: {[e.kind for e in self.log]}")  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def served(small_scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The small network, served on loopback while a module's tests run: its light would slow all others."""
    from noclone.events import EventLog
    from noclone.network.metrics import Metrics
    from noclone.network.node import RunOptions
    from noclone.network.operations import open_operations
    from noclone.network.scenario import load_scenario
    from noclone.network.served import ServedNetwork
    from noclone.network.setup import create_pki_for
    from noclone.redteam.attacks import resolve
    from noclone.redteam.live import LIVE_ATTACKS

    folder = tmp_path_factory.mktemp("served")
    scenario = load_scenario(small_scenario)
    create_pki_for(scenario, folder / "pki")
    log = EventLog()
    monitoring = "127.0.0.1", scenario.base_port + 98
    network = Served(small_scenario, folder / "pki", folder / "data", log, monitoring)
    metrics = Metrics(log, {sae.id: sae.node for sae in scenario.saes})
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()
    up = threading.Event()
    problem: list[BaseException] = []

    async def main() -> None:
        running = ServedNetwork(
            scenario,
            pki=network.pki,
            data=network.data,
            log=log,
            options=RunOptions(speed=0.25),  # a block a second: its pools must not be full before a module's tests end
            resolve=resolve,
            metrics=metrics,
            live=LIVE_ATTACKS,
        )
        try:
            door = await open_operations(metrics, running.nodes, monitoring)
            async with running:
                up.set()
                await stopped.wait()
            await door.stop()
        except BaseException as error:
            problem.append(error)
            raise
        finally:
            up.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    assert up.wait(180)
    if problem:
        raise problem[0]
    first = network.wait_for("block.distilled")
    network.wait_for("block.distilled", after=first.number)  # type: ignore[attr-defined]  # the other end holds it, too
    yield network
    loop.call_soon_threadsafe(stopped.set)
    thread.join(30)
    assert not thread.is_alive(), "the network did not stop"
    loop.close()
