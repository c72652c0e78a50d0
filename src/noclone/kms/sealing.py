"""Encryption at rest: secrets sealed as what they are, and the files of key-encryption keys (KEK) that lie elsewhere.

In: secret bytes and what they are (purpose, id, pool, role).  Out: sealed bytes that open only as the same thing.
AES-256-GCM (NIST SP 800-38D). Nothing is sealed under a given key itself: each context gets its own by keyed BLAKE2b
(RFC 7693, a PRF), so that no AES key comes near the 2^32 invocations that SP 800-38D, section 8.3, allows with random
nonces.
"""

from __future__ import annotations

import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from noclone.errors import StoreError

KEK_BYTES = 32
NONCE_BYTES = 12
WORD_MAX = 32


def load_kek(path: Path) -> bytes:
    """Read a key-encryption key: 64 hexadecimal digits in a file that only its owner can read.

    Raises:
        StoreError: It is missing, malformed, or others can read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise StoreError(
            f"the key-encryption key {path} cannot be read ({error.strerror})",
            hint="make one with `noclone pki`, or bring back the one that this store was made with",
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if stat.S_IMODE(state.st_mode) & 0o077 or state.st_uid not in (os.geteuid(), 0):
            raise StoreError(
                f"others than its owner can use the key-encryption key {path}", hint=f"chmod 600 {path}, and own it"
            )
        text = file.read(4 * KEK_BYTES)
    try:
        kek = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        kek = b""
    if len(kek) != KEK_BYTES:
        raise StoreError(f"{path} holds no key-encryption key", hint="it must be 64 hexadecimal digits")
    return kek


def encode(*parts: str | int | bytes) -> bytes:
    """Join the parts so that no two different lists give the same bytes: each with its length in front."""
    return b"".join([_word(part) if type(part) is str and len(part) < WORD_MAX else _framed(part) for part in parts])


def _framed(part: str | int | bytes) -> bytes:
    data = part if isinstance(part, bytes) else str(part).encode()
    return len(data).to_bytes(4, "big") + data


_word = lru_cache(maxsize=1024)(_framed)  # purposes, roles, peers and links come again and again; ids do not


class Sealer:
    """Seal and open the secrets of one store. Its repr shows nothing."""

    def __init__(self, kek: bytes, store_id: str) -> None:
        if len(kek) != KEK_BYTES:
            raise StoreError(f"a key-encryption key has {KEK_BYTES} bytes, this one {len(kek)}")
        self._hash = hashlib.blake2b(encode("noclone-seal-1", store_id), key=kek, digest_size=32)

    def subkey(self, context: bytes) -> bytes:
        """Return the key of one context: a PRF of this one."""
        hashed = self._hash.copy()
        hashed.update(encode(context))
        return hashed.digest()

    def fingerprint(self, secret: bytes) -> str:
        """Return a number that tells secrets apart and says nothing about them without the KEK."""
        return hashlib.blake2b(secret, key=self.subkey(b"fingerprint"), digest_size=16).hexdigest()

    def seal(self, secret: bytes, *context: str | int) -> bytes:
        """Seal bytes as what `context` says they are."""
        bound = encode(*context)
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.subkey(bound)).encrypt(nonce, secret, bound)

    def open(self, sealed: bytes, *context: str | int) -> bytes:
        """Open what `seal` made.

        Raises:
            StoreError: It was altered, or it is something else, or another KEK sealed it.
        """
        bound = encode(*context)
        try:
            return AESGCM(self.subkey(bound)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            raise StoreError(
                f"a stored secret ({context[0]}) does not open: it was altered, or sealed under another key",
                hint="do not use this store; restore it, or delete it at both ends and distil anew",
            ) from None


class BlockSealer:
    """Seal runs of atoms of one block under a key of its own, bound to where they begin."""

    def __init__(self, key: bytes, context: bytes) -> None:
        self._cipher = AESGCM(key)
        self._context = context

    def seal(self, direction: int, first: int, atoms: bytes) -> bytes:
        """Seal a run of atoms; the nonce is random. What is left of a run is sealed anew, at most once an atom."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, atoms, self._bound(direction, first))

    def open_atom(self, direction: int, position: int, sealed: bytes) -> bytes:
        """Open an atom as stores kept it until version 4: alone, with its place as the nonce."""
        return self._decrypt(direction.to_bytes(4, "big") + position.to_bytes(8, "big"), sealed, self._context)

    def open(self, direction: int, first: int, sealed: bytes) -> bytes:
        """Open a run of atoms.

        Raises:
            StoreError: It was altered or stands in another place than it was sealed for.
        """
        return self._decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._bound(direction, first))

    def _decrypt(self, nonce: bytes, sealed: bytes, bound: bytes) -> bytes:
        try:
            return self._cipher.decrypt(nonce, sealed, bound)
        except (InvalidTag, ValueError):
            raise StoreError(
                "stored key does not open: it was altered, moved, or sealed under another key",
                hint="do not use this store; restore it, or delete it at both ends and distil anew",
            ) from None

    def _bound(self, direction: int, first: int) -> bytes:
        return b"%s%d:%d" % (self._context, direction, first)
