"""One TLS 1.3 handshake with an external preshared key, to see whether a server takes it.

In: a server's address, a key and its name.  Out: nothing, or why not. No application data passes; the server's
application sees a connection that comes and goes.
"""

from __future__ import annotations

import socket

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from noclone.errors import TunnelError

TIMEOUT_S = 5.0
TLS_1_3 = 0x0304
AES_128_GCM_SHA256 = b"\x13\x01"  # external keys are bound to SHA-256 (RFC 8446, section 4.2.11); the suite can differ


def check_key(address: tuple[str, int], identity: str, key: bytes) -> str:
    """Shake hands with a server that must know the key; return the cipher suite.

    Raises:
        TunnelError: It cannot be reached, or does not take the key.
    """
    where = f"{address[0]}:{address[1]}"
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    callback = _callback(identity.encode(), key)
    lib.SSL_CTX_set_psk_use_session_callback(context._context, callback)
    try:
        with socket.create_connection(address, TIMEOUT_S) as plain:
            plain.settimeout(None)  # pyOpenSSL wants a blocking socket; the kernel keeps the time
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                plain.setsockopt(socket.SOL_SOCKET, option, _timeval(TIMEOUT_S))
            connection = SSL.Connection(context, plain)
            connection.set_connect_state()
            connection.do_handshake()
            suite = connection.get_cipher_name()
            if not lib.SSL_session_reused(connection._ssl):
                raise TunnelError(f"{where} shook hands without the key: it has a certificate, and no such key")
            connection.shutdown()
    except OSError as error:
        raise TunnelError(f"{where} cannot be reached ({error.strerror or error})") from None
    except SSL.Error:
        raise TunnelError(f"{where} does not take the key {identity}", hint="has it loaded its secrets file?") from None
    return str(suite)


def _callback(identity: bytes, key: bytes) -> object:
    """Return what hands OpenSSL the key, once it asks. Keep a reference as long as the connection lives."""
    name = ffi.new("unsigned char[]", identity)

    @ffi.callback("int(SSL *, const EVP_MD *, const unsigned char **, size_t *, SSL_SESSION **)")  # type: ignore[untyped-decorator]
    def use(ssl: object, _digest: object, id_out: list[object], length: list[int], session_out: list[object]) -> int:
        session = lib.Cryptography_SSL_SESSION_new()
        lib.SSL_SESSION_set1_master_key(session, key, len(key))
        lib.SSL_SESSION_set_cipher(session, lib.SSL_CIPHER_find(ssl, AES_128_GCM_SHA256))
        lib.SSL_SESSION_set_protocol_version(session, TLS_1_3)
        id_out[0], length[0], session_out[0] = name, len(identity), session
        return 1

    return use


def _timeval(seconds: float) -> bytes:
    return int(seconds).to_bytes(8, "little") + bytes(8)
