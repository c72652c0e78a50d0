"""A small network with its window open, in a thread, until the tests end."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from noclone.events import EventLog
from noclone.network.identities import load_operator_token
from noclone.network.node import RunOptions
from noclone.network.scenario import load_scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for
from noclone.redteam.attacks import resolve
from noclone.web.opening import OpenWindow, open_window
from tests.conftest import SMALL, free_base_port


@dataclass
class Shown:
    """A served network with a window."""

    port: int
    token: str
    pki: Path
    scenario: Path
    log: EventLog
    loop: asyncio.AbstractEventLoop = field(repr=False)
    window: OpenWindow = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: Any = None, *, cookie: str = "", host: str = "", origin: str | None = "own"
    ) -> tuple[int, dict[str, str], Any]:
        """Send a request as a browser on our own page does, unless said otherwise."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Host": host or f"127.0.0.1:{self.port}"}
        if origin:
            headers["Origin"] = f"http://127.0.0.1:{self.port}" if origin == "own" else origin
        if cookie:
            headers["Cookie"] = cookie
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
            kind = answer.headers.get("content-type", "")
            return answer.status, dict(answer.headers), json.loads(data) if "json" in kind else data
        finally:
            connection.close()

    def enter(self) -> str:
        """Become the operator; return the cookie."""
        status, headers, _ = self.ask("POST", "/api/session", {"token": self.token})
        assert status == 200
        return headers["set-cookie"].split(";")[0]

    def wait_for(self, holds: Callable[[dict[str, Any]], bool], timeout_s: float = 180.0) -> dict[str, Any]:
        """Return the first snapshot of which something holds."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            snapshot = self.ask("GET", "/api/snapshot")[2]
            if holds(snapshot):
                return snapshot
            time.sleep(0.1)
        raise AssertionError(f"never within {timeout_s} s: {snapshot['verdict']}")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("shown")
    path = folder / "small.toml"
    path.write_text(SMALL.format(base_port=free_base_port()))
    scenario = load_scenario(path)
    create_pki_for(scenario, folder / "pki")
    log, loop, stopped, up = EventLog(), asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    found: list[Any] = []

    async def main() -> None:
        served = ServedNetwork(
            scenario,
            pki=folder / "pki",
            data=folder / "data",
            log=log,
            options=RunOptions(speed=0.25),  # a block a second: its pools must not be full before a module's tests end
            resolve=resolve,
        )
        try:
            async with served:
                window = await open_window(served, load_operator_token(folder / "pki"), scenario.window_address())
                found.append(window)
                up.set()
                await stopped.wait()
                await window.close()
        except BaseException as error:
            found.append(error)
            up.set()
            raise

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert up.wait(180)
    if isinstance(found[0], BaseException):
        raise found[0]
    yield Shown(found[0].port, load_operator_token(folder / "pki"), folder / "pki", path, log, loop, found[0])
    loop.call_soon_threadsafe(stopped.set)
    thread.join(30)
    loop.close()
