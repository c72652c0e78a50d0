"""The operator's door to a served network: look at it, steer links and nodes, attack it where it is a lab.

In: HTTP on this machine alone, with the operator's token.  Out: JSON: the state, the events, what an attack began.
A web page that the operator happens to visit must not reach it, so Host and Origin are checked, and every request needs
the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from noclone.errors import InputError, NocloneError
from noclone.events import Event, EventLog
from noclone.network.light_server import NO_LAB, LightServer
from noclone.network.live_attacks import LiveAttacks
from noclone.network.plain_http import PlainServer
from noclone.network.steering import DEEDS, Steering
from noclone.network.wire import Wire
from noclone.spelling import choices

BODY_BYTES_MAX = 4096
EVENTS_MAX = 1000
WAIT_MOST_S = 25.0
FindKey = Callable[[str], Awaitable[dict[str, Any] | None]]
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Control:
    """What the operator can see and do."""

    def __init__(
        self,
        scenario: str,
        lab: bool,
        lights: Mapping[str, LightServer],
        log: EventLog,
        find_key: FindKey | None = None,
        wires: Mapping[str, Wire] | None = None,
    ) -> None:
        self.scenario = scenario
        self.lab = lab
        self.lights = lights
        self.log = log
        self._find_key = find_key
        self._wires = wires or {}
        self.steering: Steering | None = None
        self.live: LiveAttacks | None = None

    async def key(self, key_id: str) -> dict[str, Any]:
        """Return what is known of a key, without the key."""
        found = await self._find_key(key_id) if self._find_key is not None else None
        if found is None:
            raise InputError(
                f"no KME here knows a key '{key_id[:64]}'", hint="give the key_ID as an application got it"
            )
        return found

    def state(self) -> dict[str, Any]:
        """Return what runs, and who attacks it."""
        steering = self.steering
        attacks = {name: asdict(light.attack) if light.attack else None for name, light in self.lights.items()}
        held = steering.held if steering is not None else frozenset()
        names = [*attacks, *(steering.vendors if steering is not None else ())]
        links = {name: {"attack": attacks.get(name), "stopped": name in held} for name in names}
        return {
            "scenario": self.scenario,
            "lab": self.lab,
            "links": links,
            "drained": sorted(steering.drained) if steering is not None else [],
            "attacks": [] if self.live is None else self.live.state(),
        }

    async def steer(self, link: str, *, running: bool) -> None:
        """Stop a link after the blocks that are under way, or let it go on; what is stored can be used all the same."""
        await self._steering().steer(link, running=running)

    async def operate(self, node: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Drain a node, let it go on, or give it another KEK or certificates; return what came of it, and the state."""
        deed = body.get("do")
        if not isinstance(deed, str):
            raise InputError("say what to 'do' to the node", hint=f"it can be: {', '.join(DEEDS)}")
        return {"result": await self._steering().operate(node, deed), **self.state()}

    def _steering(self) -> Steering:
        if self.steering is None:
            raise InputError("links and nodes cannot be steered here", hint="ask a network that `noclone serve` runs")
        return self.steering

    def attack(self, name: str, link: str, strength: float) -> None:
        """Begin an attack: on a link's light from the next block on, on messages, nodes and applications at once."""
        if self.live is not None and name in self.live:
            if not self.lab:
                raise NocloneError(NO_LAB, hint="use a scenario that is a lab")
            self.live.start(name, link, strength)
            return
        self._light(link).start_attack(name, strength)
        if self._light(link).carriage() is not None:
            if link not in self._wires:
                self._light(link).stop_attack()
                raise InputError(
                    f"'{name}' acts on messages, which do not pass this process",
                    hint="attack a network that `noclone serve` runs",
                )
            self._wires[link].hang_up()

    def stop_attack(self, link: str) -> None:
        """End the attack on a link, a node or an application."""
        if self.live is not None and self.live.stop(link):
            return
        carried = self._light(link).carriage() is not None
        self._light(link).stop_attack()
        if carried and link in self._wires:
            self._wires[link].hang_up()

    def _light(self, link: str) -> LightServer:
        if link not in self.lights:
            raise InputError(
                f"there is no simulated link '{link}' here, and Eve never touches real ones",
                hint=choices(link, self.lights),
            )
        return self.lights[link]


def application(control: Control, token: str, port: int) -> ASGIApp:
    """Return the web application, guarded."""

    async def state(_request: Request) -> Response:
        return JSONResponse(control.state())

    async def events(request: Request) -> Response:
        since = _number(request.query_params.get("since", "0"), "since")
        wait_s = min(_number(request.query_params.get("wait", "0"), "wait"), WAIT_MOST_S)
        found = await _events_since(control.log, since, wait_s)
        return JSONResponse([json.loads(event.to_json()) for event in found[:EVENTS_MAX]])

    async def key(request: Request) -> Response:
        return JSONResponse(await control.key(request.path_params["key_id"]))

    async def begin(request: Request) -> Response:
        body = await read_json(request)
        name, link, strength = body.get("name"), body.get("on"), body.get("strength", 1.0)
        if not isinstance(name, str) or not isinstance(link, str) or type(strength) not in (int, float):
            raise InputError("an attack needs 'name', 'on' and a 'strength' between 0 and 1")
        control.attack(name, link, float(strength))
        return JSONResponse(control.state())

    async def steer(request: Request) -> Response:
        await control.steer(request.path_params["link"], running=running_of(await read_json(request)))
        return JSONResponse(control.state())

    async def operate(request: Request) -> Response:
        return JSONResponse(await control.operate(request.path_params["node"], await read_json(request)))

    async def end(request: Request) -> Response:
        control.stop_attack(request.path_params["link"])
        return JSONResponse(control.state())

    async def complain(_request: Request, error: Exception) -> Response:
        assert isinstance(error, NocloneError)
        status = 400 if isinstance(error, InputError) else 403
        return JSONResponse({"message": error.message, "hint": error.hint}, status)

    routes = [
        Route("/api/state", state),
        Route("/api/events", events),
        Route("/api/keys/{key_id}", key),
        Route("/api/attacks", begin, methods=["POST"]),
        Route("/api/attacks/{link}", end, methods=["DELETE"]),
        Route("/api/links/{link}", steer, methods=["POST"]),
        Route("/api/nodes/{node}", operate, methods=["POST"]),
    ]
    return _Guard(Starlette(routes=routes, exception_handlers={NocloneError: complain}), token, port)


class _Guard:
    """Let in nobody without the token, and no web page from elsewhere."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {f"{name}:{port}".encode() for name in LOOPBACK}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        if headers.get(b"host", b"").lower() not in self._hosts or not self._same_origin(headers.get(b"origin")):
            await JSONResponse({"message": "this door is for programs on this machine"}, 403)(scope, receive, send)
        elif not hmac.compare_digest(given, self._token):
            await JSONResponse({"message": "the operator's token is missing or wrong"}, 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _same_origin(self, origin: bytes | None) -> bool:
        return origin is None or origin.removeprefix(b"http://") in self._hosts


async def open_control(control: Control, token: str, host: str, port: int) -> PlainServer:
    """Open the operator's door, on this machine alone."""
    return await PlainServer.start(application(control, token, port), host, port, what="the operator's door")


async def _events_since(log: EventLog, since: int, wait_s: float) -> list[Event]:
    """Return the events after a number; if there are none yet, wait for one."""
    loop = asyncio.get_running_loop()
    something = asyncio.Event()

    def wake(_event: Event) -> None:
        loop.call_soon_threadsafe(something.set)

    stop = log.listen(wake)
    try:
        found = log.since(since)
        if not found and wait_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await something.wait()
            found = log.since(since)
        return found
    finally:
        stop()


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request carries.

    Raises:
        InputError: It is none, or too large.
    """
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > BODY_BYTES_MAX:
            raise InputError("the request is too large")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError("the request is no JSON object")
    return value


def running_of(body: Mapping[str, Any]) -> bool:
    """Return whether a link shall run.

    Raises:
        InputError: The request does not say so.
    """
    running = body.get("running")
    if not isinstance(running, bool):
        raise InputError("say whether the link shall be 'running': true or false")
    return running


def _number(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 15:
        raise InputError(f"'{name}' is a whole number")
    return int(text)
