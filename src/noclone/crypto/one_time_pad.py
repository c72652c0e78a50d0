"""The one-time pad with a one-time tag: secrecy and authenticity that no amount of computing can break.

In: a pad that both ends share and nobody used before, and a record.  Out: ciphertext and tag, or the record again.
The first 32 bytes of the pad are the key of a Wegman-Carter tag (Poly1305, Bernstein 2005), the rest is added to the
plaintext (Vernam 1926; Shannon 1949: perfect secrecy). Encrypt, then authenticate header and ciphertext.
"""

from __future__ import annotations

import numpy as np

from noclone.crypto.wegman_carter import KEY_BYTES, TAG_BYTES, OneTimeKey, OneTimeTagger
from noclone.errors import AuthenticationError, KeysExhausted


def pad_bytes_for(plaintext_bytes: int) -> int:
    """Return how long a pad must be."""
    return KEY_BYTES + plaintext_bytes


def xor(data: bytes | bytearray | memoryview, pad: memoryview) -> bytes:
    """Add `pad` to `data`, bit by bit."""
    return np.bitwise_xor(np.frombuffer(data, np.uint8), np.frombuffer(pad, np.uint8)).tobytes()


class OneTimePad:
    """A pad that seals or opens one record and is then gone. It never shows its bytes.

    Args:
        pad: Taken over, and overwritten with zeros after use. Give a bytearray of your own; `bytes` cannot be erased.
    """

    def __init__(self, pad: bytearray) -> None:
        self._pad: bytearray | None = pad

    def __len__(self) -> int:
        return 0 if self._pad is None else len(self._pad)

    def seal(self, header: bytes, plaintext: bytes | bytearray | memoryview) -> bytes:
        """Return ciphertext and tag; the pad is then spent.

        Args:
            header: Authenticated, not encrypted.

        Raises:
            KeysExhausted: The pad is too short.
            AuthenticationError: The pad was used before.
        """
        pad = self._take()
        try:
            tagger, stream = _parts(pad, len(plaintext))
            ciphertext = xor(plaintext, stream)
            _feed(tagger, header, ciphertext)
            stream.release()
            return ciphertext + tagger.tag()
        finally:
            pad[:] = bytes(len(pad))

    def open(self, header: bytes, sealed: bytes | memoryview) -> bytes:
        """Check the tag and return the plaintext; the pad is then spent.

        Raises:
            KeysExhausted: The pad is too short.
            AuthenticationError: The record or its header was altered, or the pad was used before.
        """
        pad = self._take()
        try:
            if len(sealed) < TAG_BYTES:
                raise AuthenticationError("a sealed record is shorter than its tag")
            ciphertext, tag = memoryview(sealed)[:-TAG_BYTES], bytes(sealed[-TAG_BYTES:])
            tagger, stream = _parts(pad, len(ciphertext))
            _feed(tagger, header, ciphertext)
            tagger.verify(tag)
            plaintext = xor(ciphertext, stream)
            stream.release()
            return plaintext
        finally:
            pad[:] = bytes(len(pad))

    def erase(self) -> None:
        """Forget the pad, as far as Python lets memory be forgotten."""
        if self._pad is not None:
            self._pad[:] = bytes(len(self._pad))
            self._pad = None

    def _take(self) -> bytearray:
        pad, self._pad = self._pad, None
        if pad is None:
            raise AuthenticationError("a one-time pad was used twice")
        return pad


def _parts(pad: bytearray, plaintext_bytes: int) -> tuple[OneTimeTagger, memoryview]:
    """Split a pad into the tag's key, made into a tagger, and as much key stream as is needed."""
    needed = pad_bytes_for(plaintext_bytes)
    if len(pad) < needed:
        raise KeysExhausted(f"a pad of {len(pad)} bytes is too short: this record needs {needed}")
    key = pad[:KEY_BYTES]
    one_time = OneTimeKey(key)
    key[:] = bytes(KEY_BYTES)
    return one_time.tagger(), memoryview(pad)[KEY_BYTES:needed]


def _feed(tagger: OneTimeTagger, header: bytes, ciphertext: bytes | memoryview) -> None:
    """Authenticate header and ciphertext, and where the one ends and the other begins."""
    tagger.update(len(header).to_bytes(8, "big") + len(ciphertext).to_bytes(8, "big"))
    tagger.update(header)
    tagger.update(ciphertext)
