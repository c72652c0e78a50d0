"""TLS 1.3 with mutual certificates, on asyncio: pyOpenSSL under any asyncio protocol, client or server.

In: certificates, keys and authorities as files; an asyncio protocol that speaks plain bytes.  Out: the same protocol
behind TLS (RFC 8446), with the verified certificate of the other side at hand.
Why not the standard library's `ssl`: its OpenSSL is the system's, which in 2026 often lacks post-quantum key exchange
and ML-DSA certificates; the one inside `cryptography` has both (X25519MLKEM768 is the first group that we offer). All
private symbols of pyOpenSSL are in this file and checked when it is imported, so that another stack can replace it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, _util

from noclone.errors import AuthenticationError, KmeError, PkiError

GROUPS = "X25519MLKEM768:SecP384r1MLKEM1024:X25519:P-256"
HANDSHAKE_TIMEOUT_S = 5.0
HANDSHAKE_BYTES_MAX = 65_536  # two chains of ML-DSA-87 certificates need 42 kB
CLOSE_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 256
RECORD_BYTES = 16_384

lib, ffi = _util.lib, _util.ffi
for _symbol in (
    "SSL_CTX_set1_curves_list",
    "SSL_get0_param",
    "X509_VERIFY_PARAM_set1_host",
    "X509_VERIFY_PARAM_set1_ip",
):
    if not hasattr(lib, _symbol):
        raise ImportError(f"this release of cryptography lacks {_symbol}; noclone needs cryptography 50")

Factory = Callable[[], asyncio.BaseProtocol]
OnRefused = Callable[[str, str], None]

SPIFFE = "spiffe://noclone/"


def sae_uri(identifier: str) -> str:
    """Return the name that an application's certificate carries."""
    return f"{SPIFFE}sae/{identifier}"


def kme_uri(name: str) -> str:
    """Return the name that a KME's certificate carries."""
    return f"{SPIFFE}kme/{name}"


def light_uri(link: str) -> str:
    """Return the name that the certificate of a simulated link's light carries."""
    return f"{SPIFFE}light/{link}"


def identity(certificate: x509.Certificate, kind: str) -> str | None:
    """Return whom a verified certificate names, as an `sae`, a `kme` or a `light`; None if it names nobody, or several.

    A certificate with URI names is judged by them alone; one without any, made elsewhere, by its common name.
    """
    uris: list[str] = []
    with contextlib.suppress(x509.ExtensionNotFound, ValueError):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = list(names.get_values_for_type(x509.UniformResourceIdentifier))
    if uris:
        ours = [uri for uri in uris if uri.startswith(f"{SPIFFE}{kind}/")]
        if len(uris) != 1 or len(ours) != 1:
            return None
        return unquote(urlsplit(ours[0]).path.removeprefix(f"/{kind}/")) or None
    common = [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return common[0] if len(common) == 1 and common[0] else None


def server_context(certificate: Path, key: Path, clients_ca: Path) -> SSL.Context:
    """Return the settings of a server that lets in nobody but holders of certificates from `clients_ca`.

    Raises:
        PkiError: A file is missing, wrong, or a private key that others can read.
    """
    context = _context(SSL.TLS_SERVER_METHOD, certificate, key, clients_ca)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_options(SSL.OP_NO_TICKET)  # tickets would carry the client's certificate back and forth
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def client_context(certificate: Path, key: Path, servers_ca: Path) -> SSL.Context:
    """Return the settings of a client that shows its certificate and trusts servers that `servers_ca` signed.

    Raises:
        PkiError: A file is missing, wrong, or a private key that others can read.
    """
    context = _context(SSL.TLS_CLIENT_METHOD, certificate, key, servers_ca)
    context.set_verify(SSL.VERIFY_PEER)
    return context


def _context(method: int, certificate: Path, key: Path, ca: Path) -> SSL.Context:
    for path in (certificate, key, ca):
        if not path.is_file():
            raise PkiError(f"{path} does not exist", hint="`noclone pki` makes certificates and keys")
    if stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise PkiError(f"others than its owner can use the private key {key}", hint=f"chmod 600 {key}")
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_passwd_cb(lambda *_: b"")  # never ask at the terminal
    try:
        context.use_certificate_chain_file(os.fsencode(certificate))
        context.use_privatekey_file(os.fsencode(key))
        context.check_privatekey()
        context.load_verify_locations(os.fsencode(ca))
    except (SSL.Error, ValueError) as error:
        raise PkiError(f"{certificate}, {key} or {ca} cannot be used for TLS ({_reason(error)})") from None
    if lib.SSL_CTX_set1_curves_list(context._context, GROUPS.encode()) != 1:
        raise PkiError(f"this OpenSSL lacks one of the groups {GROUPS}")
    return context


def _reason(error: BaseException) -> str:
    """Return OpenSSL's own words for what went wrong."""
    if error.args and isinstance(error.args[0], list) and error.args[0]:
        return str(error.args[0][-1][-1])
    return str(error) or type(error).__name__


def _expect_host(connection: SSL.Connection, host: str) -> None:
    """Make the handshake fail unless the certificate names this host (RFC 9525)."""
    parameters = lib.SSL_get0_param(connection._ssl)
    try:
        address = ipaddress.ip_address(host).packed
    except ValueError:
        connection.set_tlsext_host_name(host.encode("idna"))
        done = lib.X509_VERIFY_PARAM_set1_host(parameters, host.encode("idna"), len(host.encode("idna")))
    else:
        done = lib.X509_VERIFY_PARAM_set1_ip(parameters, address, len(address))
    if done != 1:
        raise AuthenticationError(f"'{host}' cannot be checked against a certificate")


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
        host: For clients: what the server's certificate must name; None: the caller checks the identity.
        server: Which side we are.
    """

    def __init__(
        self,
        context: SSL.Context,
        factory: Factory,
        *,
        server: bool,
        host: str | None = None,
        handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
        on_refused: OnRefused | None = None,
        on_gone: Callable[[TlsProtocol], None] | None = None,
    ) -> None:
        self.connection = SSL.Connection(context, None)
        if server:
            self.connection.set_accept_state()
        else:
            if host is not None:
                _expect_host(self.connection, host)
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
        self._timer: asyncio.TimerHandle | None = None
        self._on_refused = on_refused
        self._on_gone = on_gone

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
        view = memoryview(data).cast("B")
        for start in range(0, len(view), RECORD_BYTES):
            self.connection.sendall(bytes(view[start : start + RECORD_BYTES]))
        self._flush()

    def close(self) -> None:
        """Say farewell, send what is buffered, and close; who does not read it in time is cut off."""
        if self.closing:
            return
        self.closing = True
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
            self._refuse(_reason(error))
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
                    self._flush()
                    self._refuse(_reason(error))
                    break
                if self.app is not None:
                    self.app.data_received(data)
        finally:
            self._pumping = False
        self._flush()

    def _flush(self) -> None:
        """Send the ciphertext that OpenSSL has made."""
        while not self.raw.is_closing():
            try:
                self.raw.write(self.connection.bio_read(262_144))
            except SSL.WantReadError:
                return


class TlsServer:
    """A listening port behind TLS, with a limit on how many may be connected."""

    def __init__(self, context: SSL.Context, factory: Factory, connections_max: int, on_refused: OnRefused | None):
        self._context = context
        self._factory = factory
        self._connections_max = connections_max
        self._on_refused = on_refused
        self._open: set[TlsProtocol] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(
        cls,
        context: SSL.Context,
        factory: Factory,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        connections_max: int = CONNECTIONS_MAX,
        on_refused: OnRefused | None = None,
    ) -> TlsServer:
        """Listen.

        Args:
            context: From `server_context`.
            factory: Makes the protocol above TLS for each caller.
            host: This machine alone by default.
            port: 0: any free one.
            connections_max: Whoever comes beyond this is cut off at once.
            on_refused: Called with a reason and an address when a handshake fails.

        Raises:
            KmeError: The address cannot be used.
        """
        server = cls(context, factory, connections_max, on_refused)
        try:
            server._server = await asyncio.get_running_loop().create_server(server._accept, host, port, backlog=128)
        except OSError as error:
            raise KmeError(
                f"cannot listen on {host}:{port} ({error.strerror})", hint="another process may hold that port"
            ) from None
        return server

    @property
    def port(self) -> int:
        """The port that is open."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """How many are connected, or shaking hands."""
        return len(self._open)

    def _accept(self) -> asyncio.Protocol:
        if len(self._open) >= self._connections_max:
            return _Full()
        tls = TlsProtocol(
            self._context, self._factory, server=True, on_refused=self._on_refused, on_gone=self._open.discard
        )
        self._open.add(tls)
        return tls

    def close_port(self) -> None:
        """Let nobody in any more; those inside stay."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Close the port and every connection."""
        self.close_port()
        for tls in tuple(self._open):
            if tls.raw is not None:
                tls.close() if tls._up else tls.raw.abort()
        async with _quietly(1.0):
            while self._open:
                await asyncio.sleep(0.005)
        for tls in tuple(self._open):
            if tls.raw is not None:
                tls.raw.abort()
        await asyncio.sleep(0)


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


@contextlib.asynccontextmanager
async def _quietly(seconds: float) -> Any:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


async def connect(
    context: SSL.Context, factory: Factory, host: str, port: int, *, name: str | None = None, timeout_s: float = 5.0
) -> TlsTransport:
    """Call a TLS server and return the transport once the handshake is done.

    Args:
        context: From `client_context`.
        factory: Makes the protocol above TLS.
        host: Where to call.
        port: Where to call.
        name: What host the server's certificate must name; None: the caller checks the identity itself.
        timeout_s: For the connection and the handshake together.

    Raises:
        KmeError: Nobody answers.
        AuthenticationError: The handshake failed: one side does not accept the other.
    """
    loop = asyncio.get_running_loop()
    tls: TlsProtocol | None = None
    try:
        async with asyncio.timeout(timeout_s):
            _, tls = await loop.create_connection(
                lambda: TlsProtocol(context, factory, server=False, host=name, handshake_timeout_s=timeout_s),
                host,
                port,
            )
            await asyncio.shield(tls.established)
    except TimeoutError:
        if tls is not None and tls.raw is not None:
            tls.raw.abort()
        raise KmeError(f"nobody answers at {host}:{port} within {timeout_s:g} s") from None
    except OSError as error:
        raise KmeError(f"nobody answers at {host}:{port} ({error.strerror or type(error).__name__})") from None
    return tls.transport


async def connect_streams(
    context: SSL.Context, host: str, port: int, *, name: str | None = None, timeout_s: float = 5.0
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, TlsTransport]:
    """Call a TLS server as `connect` does, and return asyncio's streams."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = await connect(context, lambda: protocol, host, port, name=name, timeout_s=timeout_s)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop), transport
