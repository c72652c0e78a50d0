"""TLS 1.3 with mutual certificates, on asyncio: pyOpenSSL under any asyncio protocol, client or server.

In: certificates, keys and authorities as files; an asyncio protocol that speaks plain bytes.  Out: the same protocol
behind TLS (RFC 8446), with the verified certificate of the other side at hand.
Who has two certificates, ECDSA P-256 and ML-DSA-65, shows the better one that the other side understands. Where
`pq_required` says so, the classical half is not loaded at all: no classical group, no classical signature, no authority
that could vouch for one. Two sides that both have ML-DSA-65 gain nothing from it as long as P-256 would do as well.
Why not the standard library's `ssl`: its OpenSSL is the system's, which in 2026 often lacks post-quantum key exchange
and ML-DSA certificates; the one inside `cryptography` has both (X25519MLKEM768 is the first group that we offer). All
private symbols of pyOpenSSL are in this file and in `tls_psk`, and checked when they are imported, so that another
stack can replace it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, _util, crypto

from noclone.errors import AuthenticationError, KmeError, PkiError
from noclone.io.tls_protocol import Factory, OnRefused, TlsProtocol, reason_of
from noclone.io.tls_protocol import TlsTransport as TlsTransport
from noclone.io.tls_psk import PQ_GROUPS

CONNECTIONS_MAX = 256
PQ_SIGNATURES = "mldsa65:mldsa87"
GROUPS = f"{PQ_GROUPS}:X25519:P-256"

lib, ffi = _util.lib, _util.ffi
for _symbol in (
    "SSL_CTX_set1_curves_list",
    "SSL_CTX_set1_sigalgs_list",
    "SSL_get0_param",
    "X509_VERIFY_PARAM_set1_host",
    "X509_VERIFY_PARAM_set1_ip",
):
    if not hasattr(lib, _symbol):
        raise ImportError(f"this release of cryptography lacks {_symbol}; noclone needs cryptography 50")


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


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key, and the authority of those on the other side whose certificates are of its kind."""

    certificate: Path
    key: Path
    others_ca: Path


@dataclass(frozen=True, slots=True)
class Post:
    """What post-quantum TLS adds to a classical identity.

    Args:
        identity: With ML-DSA-65.
        required: Nothing else will do, on either side.
    """

    identity: Identity
    required: bool = False


def server_context(
    certificate: Path, key: Path, clients_ca: Path, *, post: Post | None = None, crls: Sequence[Path] = ()
) -> SSL.Context:
    """Return the settings of a server that lets in nobody but holders of certificates from `clients_ca`.

    Args:
        certificate: Ours.
        key: Its private key.
        clients_ca: Who signs clients.
        post: Our post-quantum identity, and whether it is the only one.
        crls: Revocation lists, one for each authority of clients; none: nobody was ever revoked.

    Raises:
        PkiError: A file is missing, wrong, or a private key that others can read.
    """
    context = _context(SSL.TLS_SERVER_METHOD, Identity(certificate, key, clients_ca), post, crls)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_options(SSL.OP_NO_TICKET)  # tickets would carry the client's certificate back and forth
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def client_context(
    certificate: Path, key: Path, servers_ca: Path, *, post: Post | None = None, crls: Sequence[Path] = ()
) -> SSL.Context:
    """Return the settings of a client that shows its certificate and trusts servers that `servers_ca` signed.

    Arguments as for `server_context`.

    Raises:
        PkiError: A file is missing, wrong, or a private key that others can read.
    """
    context = _context(SSL.TLS_CLIENT_METHOD, Identity(certificate, key, servers_ca), post, crls)
    context.set_verify(SSL.VERIFY_PEER)
    return context


def _context(method: int, classical: Identity, post: Post | None, crls: Sequence[Path]) -> SSL.Context:
    required = post is not None and post.required
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    for identity in ([] if required else [classical]) + ([post.identity] if post is not None else []):
        _use(context, identity)
    groups = PQ_GROUPS if required else GROUPS
    if lib.SSL_CTX_set1_curves_list(context._context, groups.encode()) != 1:
        raise PkiError(f"this OpenSSL lacks one of the groups {groups}")
    if required and lib.SSL_CTX_set1_sigalgs_list(context._context, PQ_SIGNATURES.encode()) != 1:
        raise PkiError(f"this OpenSSL lacks one of the signatures {PQ_SIGNATURES}")
    _revoke(context, crls)
    return context


def _use(context: SSL.Context, identity: Identity) -> None:
    certificate, key, ca = identity.certificate, identity.key, identity.others_ca
    for path in (certificate, key, ca):
        if not path.is_file():
            raise PkiError(f"{path} does not exist", hint="`noclone pki` makes certificates and keys")
    if stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise PkiError(f"others than its owner can use the private key {key}", hint=f"chmod 600 {key}")
    try:
        context.use_certificate_chain_file(os.fsencode(certificate))
        load_pem_private_key(key.read_bytes(), None)  # or OpenSSL asks at the terminal for a password
        context.use_privatekey_file(os.fsencode(key))  # pyOpenSSL takes ML-DSA keys from files alone
        context.check_privatekey()
        context.load_verify_locations(os.fsencode(ca))
    except (SSL.Error, ValueError, TypeError, OSError) as error:
        raise PkiError(f"{certificate}, {key} or {ca} cannot be used for TLS ({reason_of(error)})") from None


def _revoke(context: SSL.Context, crls: Sequence[Path]) -> None:
    """Have every certificate looked up in its authority's revocation list; who has no list is refused then."""
    store = context.get_cert_store()
    if not crls or store is None:
        return
    for path in crls:
        try:
            store.add_crl(x509.load_pem_x509_crl(path.read_bytes()))
        except (SSL.Error, ValueError, OSError) as error:
            raise PkiError(f"the revocation list {path} cannot be used ({reason_of(error)})") from None
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK)


def expect_host(connection: SSL.Connection, host: str) -> None:
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
                f"cannot listen on {host}:{port} ({error.strerror})",
                hint="another process may hold that port: end it, or give the scenario another base_port",
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

    def renew(self, context: SSL.Context, revoked: frozenset[int] = frozenset()) -> int:
        """Take another context for whoever comes from now on, and cut off who was revoked; return how many were."""
        self._context = context
        gone = [tls for tls in self._open if tls.serial_number in revoked]
        for tls in gone:
            tls.raw.abort()
        return len(gone)

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
async def _quietly(seconds: float) -> AsyncIterator[None]:
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
    expect = None if name is None else partial(expect_host, host=name)
    try:
        async with asyncio.timeout(timeout_s):
            _, tls = await loop.create_connection(
                lambda: TlsProtocol(context, factory, server=False, prepare=expect, handshake_timeout_s=timeout_s),
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
