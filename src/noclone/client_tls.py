"""Post-quantum TLS under the blocking ETSI 014 client: http.client over the OpenSSL that `cryptography` brings along.

In: certificates with ML-DSA-65, an address.  Out: an HTTP connection with X25519MLKEM768 and nothing less. The standard
library's `ssl` uses the system's OpenSSL, which often knows neither; where it does, this file is not needed.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
from pathlib import Path
from typing import Any, cast

from OpenSSL import SSL

from noclone.io import tls
from noclone.io.tls_protocol import reason_of


def post_quantum_context(certificate: Path, key: Path, ca: Path) -> SSL.Context:
    """Return TLS settings that take nothing but post-quantum key exchange and certificates.

    Raises:
        PkiError: A file is missing, wrong, or a private key that others can read.
    """
    identity = tls.Identity(certificate, key, ca)
    return tls.client_context(certificate, key, ca, post=tls.Post(identity, required=True))


class PostQuantumConnection(http.client.HTTPConnection):
    """An HTTPS connection. It raises OSError for whatever goes wrong below HTTP."""

    def __init__(self, host: str, port: int, *, timeout: float, context: SSL.Context) -> None:
        super().__init__(host, port, timeout=timeout)
        self._context = context

    def connect(self) -> None:
        """Connect, shake hands, and check that the certificate names the host."""
        raw = socket.create_connection((self.host, self.port), self.timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection = SSL.Connection(self._context, raw)
            tls.expect_host(connection, self.host)
            connection.set_connect_state()
            sock = _Socket(connection, raw)
            sock.handshake()
        except BaseException:
            raw.close()
            raise
        self.sock = cast(socket.socket, sock)


class _Socket(io.RawIOBase):
    """What http.client asks of a socket: sendall, makefile, close, fileno; every wait has an end."""

    def __init__(self, connection: SSL.Connection, raw: socket.socket) -> None:
        self._connection = connection
        self._raw = raw
        self._timeout_s = raw.gettimeout()
        self._files = 0

    def handshake(self) -> None:
        """Shake hands.

        Raises:
            OSError: The two sides do not accept each other.
        """
        self._retry(self._connection.do_handshake)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            sent = self._retry(self._connection.send, view[:16_384].tobytes())
            view = view[sent:]

    def makefile(self, mode: str = "rb", *_: Any, **__: Any) -> io.BufferedReader:
        """Return a reader of what comes."""
        assert mode == "rb"
        self._files += 1
        return io.BufferedReader(_Reader(self))

    def receive(self, most: int) -> bytes:
        """Return some of what comes; nothing at its end."""
        try:
            return cast(bytes, self._retry(self._connection.recv, most))
        except SSL.ZeroReturnError:
            return b""

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()

    def _retry(self, step: Any, *arguments: Any) -> Any:
        while True:
            try:
                return step(*arguments)
            except SSL.ZeroReturnError:
                raise
            except SSL.WantReadError:
                waiting: tuple[list[Any], list[Any]] = ([self._raw], [])
            except SSL.WantWriteError:
                waiting = ([], [self._raw])
            except SSL.SysCallError as error:
                raise ConnectionResetError(str(error)) from None
            except SSL.Error as error:
                raise TlsRefused(reason_of(error)) from None
            if not any(select.select(*waiting, [], self._timeout_s)):
                raise TimeoutError


class _Reader(io.RawIOBase):
    def __init__(self, sock: _Socket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._sock.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class TlsRefused(OSError):
    """The two sides do not accept each other; `args[0]` is OpenSSL's reason."""
