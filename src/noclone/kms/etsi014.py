"""ETSI GS QKD 014 V1.1.1, the application's door to a KME: three calls, JSON over HTTPS with mutual certificates.

In: HTTP requests.  Out: status, key containers, or an error body {message, details} with 400, 401 or 503 (404 and 405
for what is no call of the standard). Who calls is read from the verified TLS certificate and from nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from noclone.errors import NocloneError
from noclone.io.https import Asgi
from noclone.io.tls import identity
from noclone.kms.keys import Refused
from noclone.kms.kme import Kme
from noclone.kms.requests import (
    BODY_BYTES_MAX,
    KeyIds,
    KeyRequest,
    bad_request,
    key_ids_from_body,
    key_ids_from_query,
    key_request_from_body,
    key_request_from_query,
)

PREFIX = ["", "api", "v1", "keys"]
METHODS = {"status": ("GET",), "enc_keys": ("GET", "POST"), "dec_keys": ("GET", "POST")}

Timer = Callable[[str, int, float], None]  # which call, its status, how many seconds it took
Receive = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Request:
    """What an application asks, as ASGI brings it."""

    scope: dict[str, Any]
    receive: Receive
    sae: str

    @property
    def query(self) -> bytes:
        """What follows the path's question mark."""
        query: bytes = self.scope["query_string"]
        return query

    async def body(self) -> bytes:
        """Read the body, but no more than a request of the standard can need.

        Raises:
            Refused: 400, it is longer, or it ended early.
        """
        body, more = bytearray(), True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise bad_request("the request ended early", "disconnected")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > BODY_BYTES_MAX:
                raise bad_request(f"the body is longer than {BODY_BYTES_MAX} bytes", "body-too-large")
        return bytes(body)

    def caller(self) -> str:
        """Return the id of the application that calls, from its certificate.

        Raises:
            Refused: 401, its certificate names no application.
        """
        connection = self.scope.get("extensions", {}).get("noclone.tls", {})
        if "sae" not in connection:  # the certificate of a connection stays the same
            certificate = connection.get("peer")
            connection["sae"] = identity(certificate, "sae") if isinstance(certificate, x509.Certificate) else None
        name: str | None = connection["sae"]
        if name is None:
            raise Refused(401, "the certificate names no SAE", "no-identity")
        return name


def application(kme: Kme, timer: Timer | None = None) -> Asgi:
    """Return the ASGI application of a KME, for `io.https.HttpsServer`; `timer` hears of every request."""
    calls = {"status": _status, "enc_keys": _enc_keys, "dec_keys": _dec_keys}

    async def answer(scope: dict[str, Any], receive: Receive, send: Callable[[Any], Awaitable[None]]) -> None:
        *prefix, sae, name = scope["path"].split("/") if scope["path"].count("/") == 5 else ("", "", "")
        more: list[tuple[bytes, bytes]] = []
        if prefix != PREFIX or not sae or name not in calls:
            status, body = _error(404, "no such resource", "not-etsi014")
        elif scope["method"] not in METHODS[name]:
            more = [(b"allow", ", ".join(METHODS[name]).encode())]
            status, body = _error(405, "method not allowed", "not-etsi014")
        else:
            started_s = time.perf_counter()
            status, body = await _carry_out(kme, calls[name], Request(scope, receive, sae))
            if timer is not None:
                timer(name, status, time.perf_counter() - started_s)
        length = (b"content-length", str(len(body)).encode())
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), length, *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


async def _carry_out(kme: Kme, call: Callable[[Kme, Request], Awaitable[bytes]], request: Request) -> tuple[int, bytes]:
    try:
        return 200, await call(kme, request)
    except Refused as refused:
        path = request.scope["path"]
        kme.events.add("request.refused", f"kme:{kme.name}", status=refused.status, reason=refused.reason, path=path)
        return _error(refused.status, refused.message, refused.reason, detail=refused.detail, hint=refused.hint)
    except NocloneError as error:
        return _error(503, "key data access error", "failed", detail=error.message)
    except Exception as error:
        kme.events.add("kme.failed", f"kme:{kme.name}", error=type(error).__name__)
        return _error(503, "key data access error", "failed")


async def _status(kme: Kme, request: Request) -> bytes:
    return json.dumps(await kme.status(request.caller(), request.sae)).encode()


async def _enc_keys(kme: Kme, request: Request) -> bytes:
    who, wanted = request.caller(), await _key_request(request)
    return (await kme.enc_keys(who, request.sae, wanted)).to_text()


async def _dec_keys(kme: Kme, request: Request) -> bytes:
    who, wanted = request.caller(), await _key_ids(request)
    return (await kme.dec_keys(who, request.sae, wanted.ids)).to_text()


async def _key_request(request: Request) -> KeyRequest:
    if request.scope["method"] == "GET":
        return key_request_from_query(request.query)
    return key_request_from_body(await request.body())


async def _key_ids(request: Request) -> KeyIds:
    if request.scope["method"] == "GET":
        return key_ids_from_query(request.query)
    return key_ids_from_body(await request.body())


def _error(status: int, message: str, reason: str, *, detail: str = "", hint: str = "") -> tuple[int, bytes]:
    details = [{"noclone_reason": reason}]
    details += [{f"noclone_{name}": text} for name, text in (("detail", detail), ("hint", hint)) if text]
    return status, json.dumps({"message": message, "details": details}).encode()
