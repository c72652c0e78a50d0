"""The one-time pad with a one-time tag: secrecy and authenticity that no amount of computing can break.

In: a pad that both ends share and that nobody used before, a public header, a message.  Out: ciphertext and tag.
The first 32 bytes of the pad key the tag (`wegman_carter`), the others are added to the message (Shannon, 1949,
"Communication theory of secrecy systems", section 10). Encrypt-then-MAC: the tag covers header and ciphertext.
"""

from __future__ import annotations

import numpy as np

from noclone.crypto.wegman_carter import KEY_BYTES, TAG_BYTES, OneTimeKey, OneTimeTagger
from noclone.errors import KeysExhausted

SMALL_BYTES = 2048  # up to here one long integer is faster than three arrays

__all__ = ["KEY_BYTES", "TAG_BYTES", "OneTimePad", "erase", "pad_bytes"]


def pad_bytes(message_bytes: int) -> int:
    """Return how long a pad must be for a message."""
    return KEY_BYTES + message_bytes


class OneTimePad:
    """A pad that seals, or opens, one message and is then gone. It never shows its bytes.

    Args:
        pad: At least 32 bytes for the tag and one for each byte of the message. It is copied; erase your own.
    """

    def __init__(self, pad: bytes | bytearray | memoryview) -> None:
        if len(pad) < KEY_BYTES:
            raise KeysExhausted(f"a pad of {len(pad)} bytes cannot even key a tag, which takes {KEY_BYTES}")
        if not any(pad[:KEY_BYTES]) and not np.any(np.frombuffer(pad, np.uint8)):
            # An erased pad would send the message in the clear. A true one is all zero once in 2^256 or more.
            raise KeysExhausted("a pad of zeros only was erased before: it cannot be used")
        self._pad: bytearray | None = bytearray(pad)

    def seal(self, header: bytes, message: bytes | bytearray | memoryview) -> tuple[bytes, bytes]:
        """Spend the pad on one message; return its ciphertext and its tag.

        Raises:
            KeysExhausted: The pad was used before, or is too short.
        """
        key, stream = self._spend(len(message))
        try:
            ciphertext = bytes(_xor(message, stream))
            return ciphertext, _tagger(key, header, ciphertext).tag()
        finally:
            erase(key)
            erase(stream)

    def open(self, header: bytes, ciphertext: bytes | bytearray | memoryview, tag: bytes) -> bytearray:
        """Spend the pad on one ciphertext; return the message, if header and ciphertext are what was sealed.

        Raises:
            AuthenticationError: They are not; nothing was decrypted.
            KeysExhausted: The pad was used before, or is too short.
        """
        key, stream = self._spend(len(ciphertext))
        try:
            _tagger(key, header, ciphertext).verify(tag)
            return _xor(ciphertext, stream)
        finally:
            erase(key)
            erase(stream)

    @property
    def spent(self) -> bool:
        """Whether the pad was used, or erased."""
        return self._pad is None

    def erase(self) -> None:
        """Forget the pad, as far as Python lets memory be forgotten."""
        if self._pad is not None:
            erase(self._pad)
            self._pad = None

    def _spend(self, message_bytes: int) -> tuple[bytearray, bytearray]:
        pad, self._pad = self._pad, None
        if pad is None:
            raise KeysExhausted("a one-time pad was asked for twice")
        try:
            if len(pad) < pad_bytes(message_bytes):
                raise KeysExhausted(
                    f"a pad of {len(pad)} bytes is too short for a message of {message_bytes}",
                    hint=f"the tag takes {KEY_BYTES} bytes of pad, the message one for each of its own",
                )
            return pad[:KEY_BYTES], pad[KEY_BYTES : pad_bytes(message_bytes)]
        finally:
            erase(pad)


def erase(secret: bytearray) -> None:
    """Overwrite bytes with zeros. Copies that others made of them stay."""
    secret[:] = bytes(len(secret))


def _xor(data: bytes | bytearray | memoryview, stream: bytearray) -> bytearray:
    if len(data) <= SMALL_BYTES:
        number = int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")
        return bytearray(number.to_bytes(len(data), "little"))
    out = bytearray(len(data))
    np.bitwise_xor(np.frombuffer(data, np.uint8), np.frombuffer(stream, np.uint8), out=np.frombuffer(out, np.uint8))
    return out


def _tagger(key: bytearray, header: bytes, ciphertext: bytes | bytearray | memoryview) -> OneTimeTagger:
    tagger = OneTimeKey(key).tagger()
    tagger.update(len(header).to_bytes(8, "big") + header)  # the length, so that no header runs on into a message
    tagger.update(memoryview(ciphertext))
    return tagger
