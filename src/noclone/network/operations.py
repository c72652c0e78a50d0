"""The monitoring's door: is this process alive, are its nodes ready, and their numbers for Prometheus.

In: HTTP without credentials, so it opens only where it is told to: on this machine, or on a network that the operator
alone reaches. Out: `/healthz`, `/readyz`, `/metrics`: names, counts and error rates; no key, no key id, no address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from noclone.errors import InputError
from noclone.network.metrics import Metrics
from noclone.network.plain_http import PlainServer

READY_WAIT_S = 2.0


class Watched(Protocol):
    """A node, as the monitoring sees it."""

    async def problem(self) -> str:
        """Say what keeps it from serving; nothing if all is well."""
        ...


def application(metrics: Metrics, nodes: Mapping[str, Watched]) -> Starlette:
    """Return the web application."""

    async def alive(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_request: Request) -> Response:
        names = tuple(nodes)
        found = await asyncio.gather(*(_problem(nodes[name]) for name in names))
        problems = {name: problem for name, problem in zip(names, found, strict=True) if problem}
        if not names:
            problems = {"process": "no node is up yet"}
        return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)

    async def numbers(_request: Request) -> Response:
        text = await asyncio.to_thread(metrics.exposition)  # it waits for the stores
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    return Starlette(routes=[Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", numbers)])


async def _problem(node: Watched) -> str:
    try:
        async with asyncio.timeout(READY_WAIT_S):
            return await node.problem()
    except TimeoutError:
        return f"no answer within {READY_WAIT_S:g} s"


async def open_operations(metrics: Metrics, nodes: Mapping[str, Watched], address: tuple[str, int]) -> PlainServer:
    """Open the monitoring's door."""
    return await PlainServer.start(application(metrics, nodes), *address, what="the monitoring's door")


def parse_address(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, or a port of this machine.

    Raises:
        InputError: It is neither.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise InputError(f"'{text}' is no address to listen on", hint="it looks like 127.0.0.1:9464")
    return host.strip("[]") or "127.0.0.1", int(port)
