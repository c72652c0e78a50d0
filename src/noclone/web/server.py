"""The window's door: one page, a stream of what changes, and for the operator a way to act.

In: HTTP.  Out: the page and its parts, JSON, server-sent events that resume by number. Reading is open to whoever
reaches the address, unless it is set to ask for the operator's token; acting always asks for it. The token is exchanged
once for a cookie that scripts cannot read and other sites cannot send. Host and Origin are checked, since a page
elsewhere may point its visitor's browser here. No key ever passes.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from noclone.combined import provenance_from_json
from noclone.errors import InputError, NocloneError
from noclone.network.control import Control, read_json, running_of
from noclone.trust.explanation import explanation
from noclone.web.board import Board
from noclone.web.what_if import judged_link, supposed

INTERVAL_S = 0.1  # ten updates a second at most
HEARTBEAT_S = 5.0
VIEWERS_MAX = 50
SESSIONS_MAX = 100
COOKIE = "noclone-operator"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
STATIC = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "land.json": "application/json",
}


class Window:
    """The window of a served network.

    Args:
        token: The operator's.
        public: Whether anybody may look.
        hosts: Names, with ports, by which a browser may reach it.
    """

    def __init__(self, board: Board, control: Control, token: str, *, public: bool, hosts: frozenset[str]) -> None:
        self.board = board
        self._control = control
        self._token = token.encode()
        self._public = public
        self._hosts = hosts
        self._sessions: dict[str, None] = {}
        self._viewers = 0
        self._stopped = False
        self._told: tuple[tuple[int, int], bytes] = ((-1, -1), b"")
        self._news = asyncio.Event()
        self._boot = secrets.token_hex(4)  # numbers of another start mean nothing here

    def wake(self) -> None:
        """Tell the streams that something has changed."""
        waiting, self._news = self._news, asyncio.Event()
        waiting.set()

    def stop(self) -> None:
        """End all streams: whoever looks is told by the connection's end."""
        self._stopped = True
        self.wake()

    def application(self) -> ASGIApp:
        """Return the web application."""
        look, act = self._looking, self._acting
        routes = [
            Route("/", self._page),
            *(Route(f"/{name}", self._static) for name in STATIC if name != "index.html"),
            Route("/api/session", self._session),
            Route("/api/session", self._enter, methods=["POST"]),
            Route("/api/session", self._leave, methods=["DELETE"]),
            Route("/api/snapshot", look(self._snapshot)),
            Route("/api/stream", look(self._stream)),
            Route("/api/link", look(self._link), methods=["POST"]),
            Route("/api/suppose", look(self._suppose), methods=["POST"]),
            Route("/api/keys/{key_id}", act(self._key)),
            Route("/api/attacks", act(self._attack), methods=["POST"]),
            Route("/api/attacks/{link}", act(self._stop), methods=["DELETE"]),
            Route("/api/links/{link}", act(self._steer), methods=["POST"]),
            Route("/api/nodes/{node}", act(self._operate), methods=["POST"]),
        ]
        return _Guard(Starlette(routes=routes, exception_handlers={NocloneError: _complain}), self._hosts)

    def _knows(self, request: Request) -> bool:
        return request.cookies.get(COOKIE, "") in self._sessions

    def _looking(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if not self._public and not self._knows(request):
                return JSONResponse({"message": "the operator's token is needed to look"}, 401)
            return await handler(request)

        return guarded

    def _acting(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if not self._knows(request):
                return JSONResponse({"message": "only the operator may do this: enter the token first"}, 401)
            return await handler(request)

        return guarded

    async def _page(self, _request: Request) -> Response:
        return _file("index.html")

    async def _static(self, request: Request) -> Response:
        return _file(request.url.path.removeprefix("/"))

    async def _session(self, request: Request) -> Response:
        return JSONResponse({"operator": self._knows(request), "public": self._public})

    async def _enter(self, request: Request) -> Response:
        given = (await read_json(request)).get("token")
        if not isinstance(given, str) or not hmac.compare_digest(given.strip().encode(), self._token):
            await asyncio.sleep(0.5)  # guessing is slow; the token has 256 bits anyway
            return JSONResponse({"message": "this is not the operator's token"}, 401)
        session = secrets.token_urlsafe(32)
        self._sessions[session] = None
        while len(self._sessions) > SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        response = JSONResponse({"operator": True, "public": self._public})
        response.set_cookie(COOKIE, session, httponly=True, samesite="strict", path="/", max_age=12 * 3600)
        return response

    async def _leave(self, request: Request) -> Response:
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        response = JSONResponse({"operator": False, "public": self._public})
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
        return response

    async def _snapshot(self, _request: Request) -> Response:
        return JSONResponse(self.board.snapshot())

    async def _stream(self, request: Request) -> Response:
        """Everything once, then what changes, at most ten times a second."""
        if self._viewers >= VIEWERS_MAX:
            return JSONResponse({"message": f"{VIEWERS_MAX} windows are open already"}, 503)
        boot, _, number = request.headers.get("last-event-id", "").partition("-")
        since = int(number) if boot == self._boot and number.isdecimal() and len(number) <= 15 else None
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._events(since), media_type="text/event-stream", headers=headers)

    async def _events(self, since: int | None) -> AsyncIterator[bytes]:
        board = self.board
        self._viewers += 1
        try:
            if since is None:
                since = board.number
                yield self._message("snapshot", since, board.snapshot())
            while not self._stopped:
                if board.number > since:
                    message, since = self._changes(since), board.number
                    yield message
                    await asyncio.sleep(INTERVAL_S)
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._news.wait()
                except TimeoutError:
                    yield self._message("heartbeat", since, {})
        finally:
            self._viewers -= 1

    def _changes(self, since: int) -> bytes:
        """Return what is new after a number; viewers who keep pace share the work."""
        what = (since, self.board.number)
        if self._told[0] != what:
            self._told = what, self._message("changes", self.board.number, self.board.changes(since))
        return self._told[1]

    def _message(self, kind: str, number: int, data: dict[str, Any]) -> bytes:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
        return f"id: {self._boot}-{number}\nevent: {kind}\ndata: {text}\n\n".encode()

    async def _link(self, request: Request) -> Response:
        body = await read_json(request)
        name, changes = body.get("link"), body.get("changes", {})
        if not isinstance(name, str) or not isinstance(changes, dict):
            raise InputError("name a 'link' and its 'changes'")
        board = self.board
        return JSONResponse(await asyncio.to_thread(judged_link, board.scenario, board.audit, name, changes))

    async def _suppose(self, request: Request) -> Response:
        statements = (await read_json(request)).get("statements")
        if not isinstance(statements, list):
            raise InputError("give 'statements', such as 'node:b compromised'")
        if self.board.audit is None:
            return JSONResponse({"message": "the audit is not ready yet: ask again in some seconds"}, 503)
        return JSONResponse(await asyncio.to_thread(supposed, self.board.audit, statements))

    async def _key(self, request: Request) -> Response:
        found = await self._control.key(request.path_params["key_id"])
        blocks = [provenance_from_json(block) for block in found["blocks"]]
        told = explanation(blocks, master_site=found["sites"][0], slave_site=found["sites"][1])
        head = {name: found.get(name) for name in ("key_ID", "bits", "master", "state", "kme", "sites")}
        return JSONResponse({**head, **told})

    async def _attack(self, request: Request) -> Response:
        body = await read_json(request)
        name, link, strength = body.get("name"), body.get("on"), body.get("strength", 1.0)
        if not isinstance(name, str) or not isinstance(link, str) or type(strength) not in (int, float):
            raise InputError("an attack needs 'name', 'on' and a 'strength' between 0 and 1")
        self._control.attack(name, link, float(strength))
        return JSONResponse(self._control.state())

    async def _steer(self, request: Request) -> Response:
        await self._control.steer(request.path_params["link"], running=running_of(await read_json(request)))
        return JSONResponse(self._control.state())

    async def _operate(self, request: Request) -> Response:
        return JSONResponse(await self._control.operate(request.path_params["node"], await read_json(request)))

    async def _stop(self, request: Request) -> Response:
        self._control.stop_attack(request.path_params["link"])
        return JSONResponse(self._control.state())


def _file(name: str) -> Response:
    data = (resources.files("noclone.web") / "static" / name).read_bytes()
    return Response(data, media_type=STATIC[name], headers={"cache-control": "no-cache"})


async def _complain(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NocloneError)
    status = 400 if isinstance(error, InputError) else 403
    return JSONResponse({"message": error.message, "hint": error.hint}, status)


class _Guard:
    """Let in nobody who was pointed here by another site, and put the headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = {host.encode() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        changes = scope["method"] not in ("GET", "HEAD")
        same = origin is not None and origin.removeprefix(b"http://").removeprefix(b"https://") in self._hosts
        if headers.get(b"host", b"").lower() not in self._hosts:
            app: ASGIApp = JSONResponse({"message": "this window has another name"}, 403)
        elif (origin is not None and not same) or (changes and not same):
            app = JSONResponse({"message": "this came from another site"}, 403)
        else:
            app = self._app

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        await app(scope, receive, with_headers)
