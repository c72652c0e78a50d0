"""What the window costs: bundle, first paint, frames a second of a large network, the server's share of a core.

    python -m tests.web.measure            # one JSON object; best of three where a busy machine can only make it worse

The large network has 200 nodes and 400 links. A frame is one that the browser painted, by `requestAnimationFrame`. The
server's share is the processor time of the thread that its event loop runs in, over the time that passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from noclone.network.blocks import plan_link
from noclone.network.control import Control
from noclone.network.plain_http import PlainServer
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.topology_files import random_topology, scenario_text
from noclone.web.board import Board
from noclone.web.server import INTERVAL_S, Window
from tests.conftest import SMALL

STATIC = Path(__file__).parents[2] / "src" / "noclone" / "web" / "static"
NODES, LINKS = 200, 400
SECONDS = 6.0
VIEWERS = 20
COUNT_FRAMES = """ms => new Promise(done => {
    let count = 0; const began = performance.now();
    const over = () => performance.now() - began >= ms;
    const tick = () => over() ? done(1000 * count / ms) : (count++, requestAnimationFrame(tick));
    requestAnimationFrame(tick); })"""


def bundle_bytes() -> dict[str, int]:
    """Return the size of what a visit loads, compressed as a proxy would."""
    return {name: len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in ("app.js", "app.css", "index.html")}


def large(folder: Path) -> Scenario:
    """Return a network of 200 nodes and 400 links: random sites, each joined to near ones until there are enough."""
    topology = random_topology(NODES, 1)
    known = {frozenset(pair) for pair in topology.pairs}
    others = (
        pair for pair in combinations((place.name for place in topology.places), 2) if frozenset(pair) not in known
    )
    near = sorted(others, key=topology.length_km)
    pairs = (*topology.pairs, *near[: LINKS - len(topology.pairs)])
    path = folder / "large.toml"
    path.write_text(scenario_text(replace(topology, pairs=pairs), source="a measurement")[0])
    return load_scenario(path)


class Busy:
    """A window that is served while links change ten times a second."""

    def __init__(self, scenario: Scenario, changing: int) -> None:
        self.board = Board(scenario, {link.name: plan_link(link) for link in scenario.links}, [])
        self._changing = changing
        self._stop, self._up = threading.Event(), threading.Event()
        self.port = 0
        self.share = 0.0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(scenario)), daemon=True)

    def __enter__(self) -> Busy:
        self._thread.start()
        assert self._up.wait(180)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    async def _serve(self, scenario: Scenario) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        hosts = frozenset({f"127.0.0.1:{self.port}"})
        control = Control(scenario.name, False, {}, None)  # type: ignore[arg-type]
        window = Window(self.board, control, "token", public=True, hosts=hosts)
        server = await PlainServer.start(window.application(), "127.0.0.1", self.port, what="a window")
        self._up.set()
        names, number = list(self.board.links), 0
        began, cpu = time.monotonic(), time.thread_time()
        while not self._stop.is_set():
            number += 1
            for i in range(self._changing):
                name = names[(self._changing * number + i) % len(names)]
                self.board.stored(name, 1_000_000 + number, time.time())
            window.wake()
            await asyncio.sleep(INTERVAL_S)
        self.share = (time.thread_time() - cpu) / (time.monotonic() - began)
        window.stop()
        await server.stop()


def frames(browser: Any, scenario: Scenario, changing: int, seconds: float = SECONDS) -> float:
    """Return how many frames a second the browser paints of the large network."""
    with Busy(scenario, changing) as busy:
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        try:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{busy.port}/#look=schematic")
            page.get_by_role("group", name=f"{NODES} nodes").wait_for(timeout=180_000)
            return float(page.evaluate(COUNT_FRAMES, 1000 * seconds))
        finally:
            context.close()


@contextmanager
def viewers(port: int, count: int) -> Iterator[None]:
    """Read the stream so many times at once."""
    sockets = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(count)]

    def read(one: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):  # the server may be the first to hang up
            while one.recv(1 << 20):
                pass

    threads = [threading.Thread(target=read, args=(one,), daemon=True) for one in sockets]
    try:
        for one, thread in zip(sockets, threads, strict=True):
            one.sendall(f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            thread.start()
        yield
    finally:
        for one, thread in zip(sockets, threads, strict=True):
            one.shutdown(socket.SHUT_RDWR)
            thread.join(30)
            one.close()


def share_of_core(scenario: Scenario, changing: int, seconds: float = SECONDS) -> float:
    """Return the share of one core that the server takes for 20 viewers."""
    with Busy(scenario, changing) as busy, viewers(busy.port, VIEWERS):
        time.sleep(seconds)
    return busy.share


def first_paint_ms(browser: Any, scenario: Scenario) -> float:
    """Return when the browser first painted something of the page, with nothing in its cache."""
    with Busy(scenario, 1) as busy:
        context = browser.new_context()
        try:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{busy.port}/")
            page.get_by_role("heading", level=1).wait_for()
            return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        finally:
            context.close()


def main() -> None:
    """Measure all, and say it as JSON."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as place, sync_playwright() as play:
        folder = Path(place)
        path = folder / "small.toml"
        path.write_text(SMALL.format(base_port=11_000))
        small, many = load_scenario(path), large(folder)
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            found = {
                "bundle_bytes_compressed": bundle_bytes(),
                "first_paint_ms": min(first_paint_ms(browser, small) for _ in range(3)),
                "nodes_and_links": [len(many.nodes), len(many.links)],
                "frames_per_s": {
                    "40 links change at a time": max(frames(browser, many, 40) for _ in range(3)),
                    "all links change at a time": max(frames(browser, many, LINKS) for _ in range(3)),
                },
                "server_share_of_core_20_viewers": {
                    "one link": min(share_of_core(small, 1) for _ in range(3)),
                    "400 links, 40 change at a time": min(share_of_core(many, 40) for _ in range(3)),
                    "400 links, all change at a time": min(share_of_core(many, LINKS) for _ in range(3)),
                },
            }
        finally:
            browser.close()
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
