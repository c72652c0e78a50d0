"""An ASGI application behind TLS: uvicorn's httptools protocol on `tls`, with the caller's certificate in the scope.

In: an ASGI application and a TLS context.  Out: a listening HTTPS server. The application finds the verified
certificate of its caller at scope["extensions"]["noclone.tls"]["peer"], and there only; no header can put it there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from OpenSSL import SSL
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from noclone.io.tls import CONNECTIONS_MAX, TlsServer, TlsTransport
from noclone.io.tls_protocol import OnRefused

Asgi = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

REQUEST_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 60
HEADER_BYTES_MAX = 16_384


class _Http(HttpToolsProtocol):
    """HTTP/1.1 on one TLS connection: a request has a deadline, and its head a largest size."""

    _deadline: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False
        if isinstance(transport, TlsTransport):
            self.app = _with_certificate(self.app, transport)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEADER_BYTES_MAX:
                self.send_400_response("The head of the request is too long.")
        answering = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if answering or self.timeout_keep_alive_task is not None:
            self._stop_deadline()
        else:
            self._start_deadline()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body:  # the rest of what was refused is read and dropped, but not for ever
            self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as ETSI GS QKD 014 answers errors."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = json.dumps({"message": msg, "details": []}).encode()
            head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
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

    def with_certificate(scope: dict[str, Any], receive: Any, send: Any) -> Any:
        scope["extensions"] = {"noclone.tls": extension}
        return app(scope, receive, send)

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
