"""An ASGI application behind TLS: uvicorn's HTTP/1.1 protocol on `tls`, with the caller's certificate in the scope.

In: an ASGI application and a TLS context.  Out: a listening HTTPS server. The application finds the verified
certificate of its caller at scope["extensions"]["noclone.tls"]["peer"], and there only; no header can put it there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import h11
import uvicorn
from OpenSSL import SSL
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from noclone.io.tls import CONNECTIONS_MAX, TlsServer, TlsTransport
from noclone.io.tls_protocol import OnRefused

Asgi = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

REQUEST_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 60
HEADER_BYTES_MAX = 16_384


class _Http(H11Protocol):
    """HTTP/1.1 on one TLS connection."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False
        if isinstance(transport, TlsTransport):
            self.app = _with_certificate(self.app, transport)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiting = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if waiting and (self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]):
            self._start_deadline()
        else:
            self._stop_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as ETSI GS QKD 014 answers errors."""
        body = json.dumps({"message": msg, "details": []}).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _start_deadline(self) -> None:
        """A request must be complete in time, however slowly it drips."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.close)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _with_certificate(app: Any, transport: TlsTransport) -> Any:
    extension = {"peer": transport.peer_certificate, **transport.get_extra_info("tls")}

    async def with_certificate(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["extensions"] = {**scope.get("extensions", {}), "noclone.tls": extension}
        await app(scope, receive, send)

    return with_certificate


class HttpsServer:
    """An ASGI application that is being served."""

    def __init__(self, server: TlsServer, state: ServerState, host: str) -> None:
        self._server = server
        self._state = state
        self._host = host

    @classmethod
    async def start(
        cls,
        app: Asgi,
        context: SSL.Context,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        connections_max: int = CONNECTIONS_MAX,
        on_refused: OnRefused | None = None,
    ) -> HttpsServer:
        """Serve; arguments as for `TlsServer.start`."""
        config = uvicorn.Config(
            app=app,
            http=_Http,
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        )
        config.load()
        state = ServerState()

        def protocol() -> asyncio.Protocol:
            return _Http(config=config, server_state=state, app_state={})

        server = await TlsServer.start(
            context, protocol, host=host, port=port, connections_max=connections_max, on_refused=on_refused
        )
        return cls(server, state, host)

    @property
    def port(self) -> int:
        """The port that is open."""
        return self._server.port

    @property
    def url(self) -> str:
        """Where the application is."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"https://{host}:{self.port}"

    def renew(self, context: SSL.Context, revoked: frozenset[int] = frozenset()) -> int:
        """Take another context for whoever comes from now on, and cut off who was revoked; return how many were."""
        return self._server.renew(context, revoked)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no new requests, finish those under way, close."""
        self._server.close_port()
        for connection in tuple(self._state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(grace_s):
                while self._state.tasks:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            for task in tuple(self._state.tasks):
                task.cancel()
        await self._server.stop()
