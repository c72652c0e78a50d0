"""ETSI GS QKD 014 V1.1.1, the application's door to a KME: three calls, JSON over HTTPS with mutual certificates.

In: HTTP requests.  Out: status, key containers, or an error body {message, details} with 400, 401 or 503 (404 and 405
for what is no call of the standard). Who calls is read from the verified TLS certificate and from nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable

from cryptography import x509
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from noclone.errors import NocloneError
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

PREFIX = "/api/v1/keys"
NO_STORE = {"cache-control": "no-store"}

Call = Callable[[Request], Awaitable[bytes]]
Timer = Callable[[str, int, float], None]  # which call, its status, how many seconds it took


def application(kme: Kme, timer: Timer | None = None) -> Starlette:
    """Return the ASGI application of a KME, for `io.https.HttpsServer`; `timer` hears of every request."""

    async def status(request: Request) -> bytes:
        return json.dumps(await kme.status(caller(request), request.path_params["sae"])).encode()

    async def enc_keys(request: Request) -> bytes:
        who = caller(request)
        wanted = await _key_request(request)
        return (await kme.enc_keys(who, request.path_params["sae"], wanted)).to_text()

    async def dec_keys(request: Request) -> bytes:
        who = caller(request)
        wanted = await _key_ids(request)
        return (await kme.dec_keys(who, request.path_params["sae"], wanted.ids)).to_text()

    def answers(name: str, call: Call) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if request.method == "HEAD":  # Starlette allows it beside GET, but it would burn keys
                raise HTTPException(405, headers={"allow": "GET"})
            started_s = time.perf_counter()
            response = await answer(call, request)
            if timer is not None:
                timer(name, response.status_code, time.perf_counter() - started_s)
            return response

        return endpoint

    async def answer(call: Call, request: Request) -> Response:
        try:
            return _json(200, await call(request))
        except Refused as refused:
            return _refusal(kme, request, refused)
        except NocloneError as error:
            return _error(503, "key data access error", "failed", detail=error.message)
        except (HTTPException, ClientDisconnect):
            raise
        except Exception as error:
            kme.events.add("kme.failed", f"kme:{kme.name}", error=type(error).__name__)
            return _error(503, "key data access error", "failed")

    async def no_such_call(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = {404: "no such resource", 405: "method not allowed"}.get(error.status_code, "bad request")
        response = _error(error.status_code, message, "not-etsi014")
        response.headers.update(error.headers or {})
        return response

    async def went_away(_: Request, __: Exception) -> Response:
        return _error(400, "the request ended early", "disconnected")

    return Starlette(
        routes=[
            Route(f"{PREFIX}/{{sae}}/status", answers("status", status), methods=["GET"]),
            Route(f"{PREFIX}/{{sae}}/enc_keys", answers("enc_keys", enc_keys), methods=["GET", "POST"]),
            Route(f"{PREFIX}/{{sae}}/dec_keys", answers("dec_keys", dec_keys), methods=["GET", "POST"]),
        ],
        exception_handlers={HTTPException: no_such_call, ClientDisconnect: went_away},
    )


def caller(request: Request) -> str:
    """Return the id of the application that calls, from its certificate.

    Raises:
        Refused: 401, its certificate names no application.
    """
    certificate = request.scope.get("extensions", {}).get("noclone.tls", {}).get("peer")
    name = identity(certificate, "sae") if isinstance(certificate, x509.Certificate) else None
    if name is None:
        raise Refused(401, "the certificate names no SAE", "no-identity")
    return name


async def _key_request(request: Request) -> KeyRequest:
    if request.method == "GET":
        return key_request_from_query(request.query_params.multi_items())
    return key_request_from_body(await _body(request))


async def _key_ids(request: Request) -> KeyIds:
    if request.method == "GET":
        return key_ids_from_query(request.query_params.multi_items())
    return key_ids_from_body(await _body(request))


async def _body(request: Request) -> bytes:
    """Read a body, but no more than a request of the standard can need."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise bad_request(f"the body is longer than {BODY_BYTES_MAX} bytes", "body-too-large")
    return bytes(body)


def _refusal(kme: Kme, request: Request, refused: Refused) -> Response:
    kme.events.add(
        "request.refused", f"kme:{kme.name}", status=refused.status, reason=refused.reason, path=request.url.path
    )
    return _error(refused.status, refused.message, refused.reason, detail=refused.detail, hint=refused.hint)


def _error(status: int, message: str, reason: str, *, detail: str = "", hint: str = "") -> Response:
    details = [{"noclone_reason": reason}]
    details += [{f"noclone_{name}": text} for name, text in (("detail", detail), ("hint", hint)) if text]
    return _json(status, json.dumps({"message": message, "details": details}).encode())


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, headers=NO_STORE, media_type="application/json")
