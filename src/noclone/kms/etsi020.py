"""ETSI GS QKD 020 V1.1.1, the door for another operator's KME at a border: asynchronous REST, within one secure site.

In: HTTP requests of one KME, over TLS 1.3 with certificates of authorities that issue to nobody but KMEs at borders.
Out: the standard's answers: 200, 202, 400, 401, 503 (404 and 405 for what is no call of it), problems as RFC 9457 has
them. Who calls is read from the verified certificate and from nothing else. Key values are in the clear inside TLS.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from cryptography import x509
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from noclone.errors import KmeError, NocloneError
from noclone.events import EventLog
from noclone.io import tls
from noclone.io.https_client import address_of, call
from noclone.kms.border_in import SERVER_SIDE, Incoming
from noclone.kms.border_messages import (
    ACK_PATH,
    BODY_BYTES_MAX,
    KEYS_PATH,
    VERSIONS_PATH,
    VOID_PATH,
    Problem,
    acks_from_body,
    key_container_from_body,
    malformed,
    void_from_body,
)
from noclone.kms.border_out import Domain, Outgoing

NO_STORE = {"cache-control": "no-store"}
PROBLEM = "application/json; charset=UTF-8"  # the standard's table 1; RFC 9457's own type is not among its answers

Call = Callable[[bytes], Awaitable[tuple[int, Any]]]


def application(domain: Domain, outgoing: Outgoing, incoming: Incoming, events: EventLog, name: str) -> Starlette:
    """Return the ASGI application of a border's door, for `io.https.HttpsServer`."""

    async def versions(_: bytes) -> tuple[int, Any]:
        return 200, {"versions": ["v1"]}

    async def keys(body: bytes) -> tuple[int, Any]:
        await incoming.on_keys(key_container_from_body(body))
        return 202, None

    async def ack(body: bytes) -> tuple[int, Any]:
        for container in acks_from_body(body):
            await outgoing.on_ack(container)
        return 200, None

    async def void(body: bytes) -> tuple[int, Any]:
        await incoming.on_void(void_from_body(body))
        return 202, None

    def answers(work: Call) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if request.method == "HEAD":
                raise HTTPException(405, headers={"allow": "GET"})
            try:
                _check_caller(request, domain)
                return _response(*await work(await _body(request)))
            except Problem as problem:
                events.add(
                    "border.refused",
                    f"border:{domain.name}",
                    at=name,
                    status=problem.status,
                    reason=problem.name,
                    path=request.url.path,
                )
                return _response(problem.status, problem.to_json())
            except NocloneError as error:
                return _response(503, Problem(503, SERVER_SIDE, "server_side_general_error", error.message).to_json())
            except (HTTPException, ClientDisconnect):
                raise
            except Exception as error:  # its text may hold anything, key included, so only its type is told
                events.add("kme.failed", f"border:{domain.name}", error=type(error).__name__)
                text = "The server encountered a general failure and cannot respond."
                return _response(503, Problem(503, SERVER_SIDE, "server_side_general_error", text).to_json())

        return endpoint

    async def no_such_call(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = {404: "no-such-resource", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
        response = _response(error.status_code, Problem(error.status_code, kind, "path", "no such call").to_json())
        response.headers.update(error.headers or {})
        return response

    async def went_away(_: Request, __: Exception) -> Response:
        return _response(400, malformed("the request ended early").to_json())

    return Starlette(
        routes=[
            Route(VERSIONS_PATH, answers(versions), methods=["GET"]),
            Route(KEYS_PATH, answers(keys), methods=["POST"]),
            Route(ACK_PATH, answers(ack), methods=["POST"]),
            Route(VOID_PATH, answers(void), methods=["POST"]),
        ],
        exception_handlers={HTTPException: no_such_call, ClientDisconnect: went_away},
    )


def _check_caller(request: Request, domain: Domain) -> None:
    """Let nobody in but the other domain's KME.

    Raises:
        Problem: 401.
    """
    certificate = request.scope.get("extensions", {}).get("noclone.tls", {}).get("peer")
    who = tls.identity(certificate, "kme") if isinstance(certificate, x509.Certificate) else None
    if who != domain.peer:
        raise Problem(401, "unauthorized", "unauthorized", "your certificate does not name the KME that belongs here")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise malformed(f"the body is longer than {BODY_BYTES_MAX} bytes")
    return bytes(body)


def _response(status: int, body: Any) -> Response:
    text = b"" if body is None else json.dumps(body).encode()
    return Response(text, status, headers=NO_STORE, media_type=None if body is None else PROBLEM)


class BorderDoor:
    """Calls the other domain's KME.

    Args:
        context: Returns TLS settings with our certificate of the border, trusting the other operator's authority.
    """

    def __init__(self, domain: Domain, context: Any) -> None:
        self._domain = domain
        self._address = address_of(domain.url)
        self._context = context

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Make a request; return its status and what came back, unchecked.

        Raises:
            AuthenticationError: Somebody else is there; nothing was sent.
            KmeError: Nobody knows whether it was heard.
        """
        data = None if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        answer = await call(self._context, self._address, method, path, data, kme=self._domain.peer)
        try:
            return answer.status, json.loads(answer.body) if answer.body else None
        except (ValueError, RecursionError):
            return answer.status, None

    async def versions(self) -> list[str]:
        """Return which versions of the standard the other KME speaks.

        Raises:
            KmeError: It does not say.
        """
        status, answer = await self.post(VERSIONS_PATH, None)
        match answer:
            case {"versions": [*versions]} if status == 200 and all(isinstance(one, str) for one in versions):
                return list(versions)
        raise KmeError(f"the KME {self._domain.peer} does not say which versions it speaks ({status})")
