"""One HTTPS request at a time, with certificates at both ends: HTTP/1.1 (h11) on `tls`, for calls between KMEs.

In: a TLS context, an address, a request.  Out: status and body. Who answers is judged by its certificate's identity
before a byte of the request is sent, for the request may hold key.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h11
from OpenSSL import SSL

from noclone.errors import AuthenticationError, InputError, KmeError
from noclone.io import tls

ANSWER_BYTES_MAX = 1 << 20
TIMEOUT_S = 10.0
HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class Address:
    """Where an HTTPS server is."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """As in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def address_of(url: str) -> Address:
    """Return where a URL leads.

    Raises:
        InputError: It is no https URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or HTTPS_PORT
    except ValueError:
        raise InputError(f"'{url[:200]}' is no address") from None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise InputError(f"'{url[:200]}' is no address of a KME", hint="it looks like https://127.0.0.1:9460")
    return Address(parts.hostname, port)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes = field(repr=False)


async def call(
    context: SSL.Context,
    address: Address,
    method: str,
    path: str,
    body: bytes | None,
    *,
    kme: str,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Make one request, on a connection of its own.

    Args:
        kme: Who must be there, by its certificate.

    Raises:
        AuthenticationError: It is somebody else; nothing was sent.
        KmeError: Nobody knows whether the request was heard.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer, transport = await tls.connect_streams(context, address.host, address.port)
            if tls.identity(transport.peer_certificate, "kme") != kme:
                raise AuthenticationError(f"what answers at {address.authority} is not the KME {kme}")
            return await _exchange(reader, writer, address, method, path, body)
    except (OSError, EOFError, SSL.Error, h11.RemoteProtocolError) as error:  # TimeoutError is an OSError
        raise KmeError(f"the conversation with {address.authority} broke ({type(error).__name__})") from None
    finally:
        if writer is not None:
            writer.close()


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    address: Address,
    method: str,
    path: str,
    body: bytes | None,
) -> Answer:
    http = h11.Connection(h11.CLIENT)
    headers = [("host", address.authority), ("accept", "application/json"), ("connection", "close")]
    if body is not None:
        headers += [("content-type", "application/json; charset=UTF-8"), ("content-length", str(len(body)))]
    writer.write(http.send(h11.Request(method=method, target=path, headers=headers)) or b"")
    writer.write(http.send(h11.Data(data=body or b"")) or b"")
    writer.write(http.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    status, data = 0, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            data += event.data
            if len(data) > ANSWER_BYTES_MAX:
                raise KmeError(f"{address.authority} answers without end")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            if not status:
                raise EOFError
            return Answer(status, bytes(data))
