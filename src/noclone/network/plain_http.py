"""Doors in plain HTTP, for programs on this machine or in the operator's own network: his own, the monitoring's.

In: an ASGI application and an address.  Out: a server that stops when it is told to, and leaves signals alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from noclone.errors import NocloneError

CONNECTIONS_MAX = 64


class PlainServer:
    """An application that is being served."""

    def __init__(self, server: uvicorn.Server, task: asyncio.Task[None], port: int) -> None:
        self.port = port
        self._server = server
        self._task = task

    @classmethod
    async def start(cls, app: ASGIApp, host: str, port: int, *, what: str) -> PlainServer:
        """Open the door.

        Args:
            what: What messages call it, such as "the operator's door".

        Raises:
            NocloneError: The address cannot be listened on.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:  # here, because uvicorn ends the process when it cannot listen
            listener = socket.create_server((host, port), family=family)
        except OSError as error:
            raise NocloneError(
                f"{what} cannot listen on {host}:{port} ({error.strerror})", hint="is the port taken?"
            ) from None
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=1,
        )
        server = _Quiet(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        return cls(server, task, listener.getsockname()[1])

    async def stop(self) -> None:
        """Close it."""
        self._server.should_exit = True
        await self._task


class _Quiet(uvicorn.Server):
    """uvicorn's server, but signals stay with the program that runs it."""

    def capture_signals(self) -> Any:
        return contextlib.nullcontext()
