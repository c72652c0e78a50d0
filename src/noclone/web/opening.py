"""Open the window on a served network: hear its events, look into its stores, serve the page.

In: a `ServedNetwork` that runs.  Out: a door to close. Events come from many threads and reach the board in the
event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from noclone.audit.audit import audit
from noclone.errors import InputError
from noclone.events import Event
from noclone.network.plain_http import PlainServer
from noclone.network.served import ServedNetwork
from noclone.redteam.catalogue import CATALOGUE
from noclone.web.board import Board
from noclone.web.server import Window

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POOLS_PER_SECOND = 50


class OpenWindow:
    """A window that is open; `close` it."""

    def __init__(self, served: ServedNetwork, board: Board, window: Window) -> None:
        self._served = served
        self._board = board
        self._window = window
        self._loop = asyncio.get_running_loop()
        self._stop_listening = served.log.listen(self._hear)
        self._tasks: list[asyncio.Task[None]] = []
        self._server: PlainServer | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Serve the page.

        Raises:
            NocloneError: The address cannot be listened on.
        """
        for event in self._served.log.since():
            self._board.take(event)
        self._server = await PlainServer.start(self._window.application(), host, port, what="the window")
        self.port = self._server.port
        self._tasks = [asyncio.create_task(self._audit()), asyncio.create_task(self._look_into_stores())]

    async def close(self) -> None:
        """Close it."""
        self._stop_listening()
        self._window.stop()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._server is not None:
            await self._server.stop()

    def _hear(self, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody looks any more
            self._loop.call_soon_threadsafe(self._take, event)

    def _take(self, event: Event) -> None:
        self._board.take(event)
        self._window.wake()

    async def _audit(self) -> None:
        self._board.audited(await asyncio.to_thread(audit, self._served.scenario))
        self._window.wake()

    async def _look_into_stores(self) -> None:
        scenario = self._served.scenario
        links = {link.name: (link.alice, link.bob) for link in scenario.links}
        vendors = {link.name: (link.alice, link.bob) for link in scenario.vendor_links}
        while links or vendors:  # without one there is nothing to look into
            for name, (alice, bob) in (*links.items(), *vendors.items()):
                node = self._served.nodes.get(alice)
                if node is not None:
                    with contextlib.suppress(Exception):  # a store that is closing has nothing to show
                        async with asyncio.timeout(2.0):  # Python 3.11's wait_for may swallow that we are to stop
                            state = await node.service.kme.store.pool(bob)
                        ready = state.ready_out_bits + state.ready_in_bits
                        full = ready + state.held_bits >= node.service.kme.store.settings.capacity_bits
                        if name in links:
                            self._board.stored(name, ready, time.time(), full=full)
                        else:
                            self._board.stored_by_vendor(name, ready)
                await asyncio.sleep(max(1.0 / (len(links) + len(vendors)), 1.0 / POOLS_PER_SECOND))
            self._window.wake()


async def open_window(
    served: ServedNetwork, token: str, address: tuple[str, int], *, public: bool = True, names: tuple[str, ...] = ()
) -> OpenWindow:
    """Open the window on a network that runs.

    Args:
        token: The operator's.
        address: Where to listen.
        public: Whether anybody who reaches the address may look; acting always takes the token.
        names: Further names, with their ports, by which browsers reach it, such as "qkd.example:443".

    Raises:
        InputError: The address is for everybody and no name is given.
        NocloneError: It cannot be listened on.
    """
    host, port = address
    if host not in ("127.0.0.1", "::1", "localhost") and not names:
        raise InputError(
            f"the window would listen on {host}, and browsers' names for it are not known",
            hint="say by which name it is reached: --web-name qkd.example:443; put a proxy with TLS before it",
        )
    attacks = [
        {
            "name": name,
            "protocol": one.protocol,
            "does": one.does,
            "hopes": one.hopes,
            "caught_by": one.caught_by,
        }
        for name, one in CATALOGUE.items()
        if one.live == "link"
    ]
    plans = {name: light.plan for name, light in served.lights.items()}
    board = Board(served.scenario, plans, attacks, speed=served.speed)
    hosts = frozenset(f"{name}:{port}" for name in LOOPBACK) | frozenset(names)
    assert served.control is not None
    window = OpenWindow(served, board, Window(board, served.control, token, public=public, hosts=hosts))
    await window.start(host, port)
    return window
