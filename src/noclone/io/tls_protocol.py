"""TLS in memory between a socket and an asyncio protocol that speaks plain bytes.

In: a TLS context and the protocol above.  Out: an asyncio protocol for the socket below. Handshakes have a deadline and
a largest size; what the protocol above pauses is paused below; an end without a farewell is an error, for it may be an
attacker's cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, cast

from cryptography import x509
from OpenSSL import SSL

from noclone.errors import AuthenticationError
from noclone.io.tls_psk import PresharedKey, key_of

HANDSHAKE_TIMEOUT_S = 5.0
HANDSHAKE_BYTES_MAX = 65_536  # two chains of ML-DSA-87 certificates need 42 kB
CLOSE_TIMEOUT_S = 5.0
RECORD_BYTES = 16_384
FLUSH_BYTES = 65_536
BIO_BYTES = 16_384  # a buffer of this size costs no system call, as a large one does
BIO_BYTES_MAX = 262_144

Factory = Callable[[], asyncio.BaseProtocol]
OnRefused = Callable[[str, str], None]


def reason_of(error: BaseException) -> str:
    """Return OpenSSL's own words for what went wrong."""
    if error.args and isinstance(error.args[0], list) and error.args[0]:
        return str(error.args[0][-1][-1])
    return str(error) or type(error).__name__


class TlsTransport(asyncio.Transport):
    """What the protocol above TLS sees: plain bytes, and who is on the other side."""

    def __init__(self, tls: TlsProtocol) -> None:
        super().__init__()
        self._tls = tls

    @property
    def peer_certificate(self) -> x509.Certificate:
        """The verified certificate of the other side."""
        certificate = self._tls.connection.get_peer_certificate(as_cryptography=True)
        assert certificate is not None  # the handshake fails without one
        return certificate

    @property
    def peer_key(self) -> PresharedKey | None:
        """The key that the other side has proven to hold in the place of a certificate; None: it has shown one."""
        return key_of(self._tls.connection)

    @property
    def serial_number(self) -> int:
        """Of the certificate that the other side has shown, now or when a key was agreed on."""
        key = self.peer_key
        return self.peer_certificate.serial_number if key is None else key.serial_number

    def export(self, label: bytes, n_bytes: int) -> bytes:
        """Return bytes that the two sides of this connection have, and nobody else (RFC 8446, section 7.5)."""
        return self._tls.connection.export_keying_material(label, n_bytes)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        connection = self._tls.connection
        if name == "peercert":
            return self.peer_certificate
        if name in ("sslcontext", "ssl_object"):
            return connection
        if name == "tls":
            return {
                "version": connection.get_protocol_version_name(),
                "cipher": connection.get_cipher_name(),
                "group": connection.get_group_name(),
            }
        return self._tls.raw.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._tls.write(data)

    def close(self) -> None:
        self._tls.close()

    def abort(self) -> None:
        self._tls.raw.abort()

    def is_closing(self) -> bool:
        return self._tls.closing or self._tls.raw.is_closing()

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._tls.app is not None
        return self._tls.app

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._tls.app = cast(asyncio.Protocol, protocol)

    def pause_reading(self) -> None:
        self._tls.pause_reading()

    def resume_reading(self) -> None:
        self._tls.resume_reading()

    def is_reading(self) -> bool:
        return not self._tls.paused

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tls.raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._tls.raw.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return False


class TlsProtocol(asyncio.Protocol):
    """Run one TLS connection in memory between a socket and the protocol above.

    Args:
        context: From `server_context` or `client_context`.
        factory: Makes the protocol above, once the handshake is done and the other side is verified.
        prepare: For clients: says what the server's certificate must name; None: the caller checks the identity.
        server: Which side we are.
    """

    def __init__(
        self,
        context: SSL.Context,
        factory: Factory,
        *,
        server: bool,
        prepare: Callable[[SSL.Connection], None] | None = None,
        handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
        on_refused: OnRefused | None = None,
        on_gone: Callable[[TlsProtocol], None] | None = None,
    ) -> None:
        self.connection = SSL.Connection(context, None)
        if server:
            self.connection.set_accept_state()
        else:
            if prepare is not None:
                prepare(self.connection)
            self.connection.set_connect_state()
        self.app: asyncio.Protocol | None = None
        self.raw: asyncio.Transport = cast(asyncio.Transport, None)
        self.transport = TlsTransport(self)
        self.closing = False
        self.paused = False
        self.established = asyncio.get_running_loop().create_future()
        self._factory = factory
        self._handshake_timeout_s = handshake_timeout_s
        self._handshake_bytes = 0
        self._up = False
        self._ended = False
        self._pumping = False
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._flush_soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._on_refused = on_refused
        self._on_gone = on_gone

    @property
    def serial_number(self) -> int | None:
        """Of the other side's certificate; None before the handshake is done."""
        return self.transport.serial_number if self._up else None

    # From the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.raw = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Nagle costs 40 ms a handshake
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._handshake_timeout_s, self._refuse, "the TLS handshake took too long")
        self._handshake()

    def data_received(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self.raw.is_closing():
            if self._up:
                taken = self.connection.bio_write(bytes(view))
                view = view[taken:]
                self._pump()
            else:  # count what the handshake consumes, not what was sent along with its end
                taken = self.connection.bio_write(bytes(view[:2048]))
                view = view[taken:]
                self._handshake_bytes += taken
                if self._handshake_bytes > HANDSHAKE_BYTES_MAX:
                    self._refuse("the TLS handshake is too long")
                    return
                self._handshake()

    def eof_received(self) -> bool:
        if self._up and not self._ended and self.app is not None:
            self.raw.abort()  # without a farewell (close_notify) the end may be an attacker's cut
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.established.done():
            self._fail_establishing("the connection was closed during the TLS handshake")
        if self.app is not None:
            lost = exc
            if lost is None and not self._ended and not self.closing:
                lost = ConnectionResetError("the connection ended without a farewell")
            self.app.connection_lost(lost)
        if self._on_gone is not None:
            self._on_gone(self)

    def pause_writing(self) -> None:
        if self.app is not None:
            self.app.pause_writing()

    def resume_writing(self) -> None:
        if self.app is not None:
            self.app.resume_writing()

    # From the protocol above

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Encrypt and send."""
        if self.closing or self.raw.is_closing():
            return
        self._unsent.append(bytes(data))
        self._unsent_bytes += len(self._unsent[-1])
        if self._unsent_bytes >= FLUSH_BYTES:
            self._flush()
        elif self._flush_soon is None:  # a head and a body that are written in a row leave in one record
            self._flush_soon = asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        """Say farewell, send what is buffered, and close; who does not read it in time is cut off."""
        if self.closing:
            return
        self.closing = True
        self._flush()
        with contextlib.suppress(SSL.Error):
            self.connection.shutdown()
        self._flush()
        self.raw.close()
        self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self.raw.abort)

    def pause_reading(self) -> None:
        """Stop giving data to the protocol above, and reading more of it."""
        self.paused = True
        if not self.raw.is_closing():
            self.raw.pause_reading()

    def resume_reading(self) -> None:
        """Go on; what was decrypted meanwhile comes first."""
        if not self.paused:
            return
        self.paused = False
        if not self.raw.is_closing():
            self.raw.resume_reading()
            if not self._pumping:
                asyncio.get_running_loop().call_soon(self._pump)

    # Between the two

    def _handshake(self) -> None:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return
        except SSL.Error as error:
            self._flush()  # the alert that says why
            self._refuse(reason_of(error))
            return
        self._flush()
        self._up = True
        assert self._timer is not None
        self._timer.cancel()
        self.app = cast(asyncio.Protocol, self._factory())
        self.app.connection_made(self.transport)
        if not self.established.done():
            self.established.set_result(None)
        self._pump()

    def _refuse(self, reason: str) -> None:
        address = self.raw.get_extra_info("peername")
        if self._on_refused is not None:
            self._on_refused(reason, str(address[0]) if address else "")
        self._fail_establishing(reason)
        self.raw.close() if not self._up else self.raw.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(1.0, self.raw.abort)

    def _fail_establishing(self, reason: str) -> None:
        if not self.established.done():
            self.established.set_exception(AuthenticationError(f"TLS: {reason}"))
            self.established.exception()  # it may have nobody who waits for it

    def _pump(self) -> None:
        """Give what has come to the protocol above."""
        self._pumping = True
        try:
            while self._up and not self.paused and not self._ended and not self.raw.is_closing():
                try:
                    data = self.connection.recv(RECORD_BYTES)
                except SSL.WantReadError:
                    break
                except SSL.ZeroReturnError:
                    self._ended = True
                    if not self.app or not self.app.eof_received():
                        self.close()
                    break
                except SSL.Error as error:
                    self._unsent.clear()  # a failed connection encrypts nothing more; OpenSSL's own alert may go out
                    self._unsent_bytes = 0
                    self._flush()
                    self._refuse(reason_of(error))
                    break
                if self.app is not None:
                    self.app.data_received(data)
        finally:
            self._pumping = False
        self._flush()

    def _flush(self) -> None:
        """Encrypt what was written, and send the ciphertext that OpenSSL has made."""
        size = min(BIO_BYTES_MAX, self._unsent_bytes + self._unsent_bytes // 64 + BIO_BYTES)
        if self._unsent and not self.raw.is_closing():
            self.connection.sendall(self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent))
        self._unsent.clear()
        self._unsent_bytes, self._flush_soon = 0, None
        while not self.raw.is_closing():
            try:
                data = self.connection.bio_read(size)
            except SSL.WantReadError:
                return
            self.raw.write(data)
            if len(data) < size:  # there is no more; asking would cost an exception
                return
