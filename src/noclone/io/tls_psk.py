"""TLS 1.3 under an external preshared key (RFC 8446, section 4.2.11) in the place of certificates.

In: a key that both sides have, a QKD key for example, and its name.  Out: TLS settings of a client that shows nothing
else and takes nothing else, and of a server that looks the name up. The key schedule takes the key and the group's
secret (X25519MLKEM768): who reads such a connection has broken the exchange *and* has the key. The name crosses in the
clear. OpenSSL has neither certificates beside an external key (RFC 8773) nor importers (RFC 9258): there is none here.
Private symbols of pyOpenSSL as in `tls`, and checked as there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from OpenSSL import SSL, _util

from noclone.errors import PkiError

KEY_BYTES_MIN, NAME_BYTES_MAX = 32, 128
PQ_GROUPS = "X25519MLKEM768:SecP384r1MLKEM1024"
SUITE = b"\x13\x02"  # TLS_AES_256_GCM_SHA384: an external key is bound to one hash
TLS_1_3 = 0x0304

lib, ffi = _util.lib, _util.ffi
for _symbol in (
    "SSL_CTX_set_psk_find_session_callback",
    "SSL_CTX_set_psk_use_session_callback",
    "Cryptography_SSL_SESSION_new",
    "SSL_SESSION_set1_master_key",
    "SSL_SESSION_set_cipher",
    "SSL_SESSION_set_protocol_version",
    "SSL_CIPHER_find",
):
    if not hasattr(lib, _symbol):
        raise ImportError(f"this release of cryptography lacks {_symbol}; noclone needs cryptography 50")


@dataclass(frozen=True, slots=True)
class PresharedKey:
    """A key that two sides share. Its repr does not show it.

    Args:
        name: What the client calls it by, for everybody to see.
        value: At least 32 bytes.
        peer: Who has it besides us.
        serial_number: Of the certificate that the peer showed when the two agreed on this key, should it be revoked.
    """

    name: str
    value: bytes = field(repr=False)
    peer: str
    serial_number: int = 0

    def __post_init__(self) -> None:
        if len(self.value) < KEY_BYTES_MIN or not 0 < len(self.name.encode()) <= NAME_BYTES_MAX:
            raise ValueError(f"a preshared key has a name and at least {KEY_BYTES_MIN} bytes")


def take_keys(context: SSL.Context, find: Callable[[str], PresharedKey | None]) -> None:
    """Let clients in that prove that they hold a key.

    Args:
        context: From `tls.server_context`; whoever names no key that is here needs a certificate, as before.
        find: Called with a name, once for each handshake that has one. It shall give every key once.
    """

    def on_name(ssl: Any, name: Any, length: int, session: Any) -> int:
        connection = SSL.Connection._reverse_mapping.get(ssl)
        if connection is None or length > NAME_BYTES_MAX:
            return 1
        key = find(bytes(ffi.buffer(name, length)).decode("ascii", "replace"))
        if key is None:
            return 1  # no key is no error: the handshake goes on with certificates
        connection.set_app_data(key)
        session[0] = _session(ssl, key)
        return 1

    context.set_session_id(b"noclone")  # OpenSSL takes a key for a session, and wants to know whose sessions these are
    found = ffi.callback("int(SSL *, const unsigned char *, size_t, SSL_SESSION **)", on_name)
    lib.SSL_CTX_set_psk_find_session_callback(context._context, found)
    _keep(context, found)


def key_context(key: PresharedKey) -> SSL.Context:
    """Return the settings of a client that has this key, and neither certificate nor authority: it is taken or nothing.

    Raises:
        PkiError: This OpenSSL cannot do it.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_verify(SSL.VERIFY_PEER)  # a server that chose a certificate instead is trusted by nobody here
    if lib.SSL_CTX_set1_curves_list(context._context, PQ_GROUPS.encode()) != 1:
        raise PkiError(f"this OpenSSL lacks one of the groups {PQ_GROUPS}")
    name = ffi.new("unsigned char[]", key.name.encode())

    def on_call(ssl: Any, _hash: Any, its_name: Any, length: Any, session: Any) -> int:
        its_name[0], length[0], session[0] = name, len(key.name.encode()), _session(ssl, key)
        return 1

    called = ffi.callback("int(SSL *, const EVP_MD *, const unsigned char **, size_t *, SSL_SESSION **)", on_call)
    lib.SSL_CTX_set_psk_use_session_callback(context._context, called)
    _keep(context, called, name)
    return context


def key_of(connection: SSL.Connection) -> PresharedKey | None:
    """Return the key by which a client that has done its handshake got in; None: it has shown a certificate."""
    return cast("PresharedKey | None", connection.get_app_data())


def _session(ssl: Any, key: PresharedKey) -> Any:
    """Return the key as OpenSSL wants it, as the secret of a session; OpenSSL frees it."""
    session = lib.Cryptography_SSL_SESSION_new()
    lib.SSL_SESSION_set1_master_key(session, key.value, len(key.value))
    lib.SSL_SESSION_set_cipher(session, lib.SSL_CIPHER_find(ssl, SUITE))
    lib.SSL_SESSION_set_protocol_version(session, TLS_1_3)
    return session


def _keep(context: SSL.Context, *needed: Any) -> None:
    """Keep what OpenSSL calls back alive for as long as the context is."""
    context._noclone_keeps = needed  # type: ignore[attr-defined]
