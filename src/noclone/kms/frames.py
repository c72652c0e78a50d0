"""Messages between two KMEs on a stream: a 4-byte length and a JSON object, in the clear of TLS, or sealed above it.

In: messages.  Out: messages, each bounded in size and time. Once a key is mixed in (`qkd_tls`) every frame is sealed
with AES-256-GCM, its number the nonce: one that was altered, repeated or left out ends the conversation.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from noclone.errors import AuthenticationError, KmeError

FRAME_BYTES_MAX = 8 << 20
FRAME_TIMEOUT_S = 10.0
LENGTH = struct.Struct(">I")
TAG_BYTES, NONCE_BYTES = 16, 12

BROKEN = (KmeError, AuthenticationError, OSError, EOFError, TimeoutError)


class Seal:
    """Seals, or opens, the frames of one direction in their order.

    Args:
        key: 32 bytes, for this direction of this conversation alone.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._number = 0

    def close(self, data: bytes) -> bytes:
        """Return a frame, sealed."""
        return self._cipher.encrypt(self._next(), data, None)

    def open(self, data: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            AuthenticationError: It was altered, or is not the next one, or the other side has another key.
        """
        try:
            return self._cipher.decrypt(self._next(), data, None)
        except InvalidTag:
            raise AuthenticationError("a message between KMEs is not under the key that both mixed in") from None

    def _next(self) -> bytes:
        self._number += 1
        return self._number.to_bytes(NONCE_BYTES)


class Frames:
    """Messages on a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sealing: Seal | None = None
        self._opening: Seal | None = None
        self._until: tuple[int, Seal] | None = None

    async def send(self, message: Mapping[str, Any], then: Seal | None = None) -> None:
        """Send one message; wait while the other side does not read. After it, all are sealed with `then`."""
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > FRAME_BYTES_MAX:
            raise KmeError("a message to the other KME is too long")
        if self._sealing is not None:
            data = self._sealing.close(data)
        self._writer.write(LENGTH.pack(len(data)) + data)
        self._sealing = then or self._sealing
        async with asyncio.timeout(FRAME_TIMEOUT_S):
            await self._writer.drain()

    def open_with(self, seal: Seal, after: int | None = None) -> None:
        """Take only frames that are sealed, from the next one on, or from that behind the answer of a number."""
        if after is None:
            self._opening = seal
        else:
            self._until = (after, seal)

    async def receive(self, first_byte_timeout_s: float | None = None) -> dict[str, Any]:
        """Return the next message. Once it has begun it must end in time.

        Raises:
            KmeError: What came is no message.
            AuthenticationError: It is not sealed as it must be.
            OSError, EOFError, TimeoutError: The connection ended or stalled.
        """
        async with asyncio.timeout(first_byte_timeout_s):
            head = await self._reader.readexactly(1)
        async with asyncio.timeout(FRAME_TIMEOUT_S):
            length = LENGTH.unpack(head + await self._reader.readexactly(LENGTH.size - 1))[0]
            if length > FRAME_BYTES_MAX + (TAG_BYTES if self._opening is not None else 0):
                raise KmeError(f"the other KME announced a message of {length} bytes")
            data = await self._reader.readexactly(length)
        if self._opening is not None:
            data = self._opening.open(data)
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            raise KmeError("the other KME sent what is no JSON") from None
        if not isinstance(message, dict):
            raise KmeError("the other KME sent what is no message")
        if self._until is not None and message.get("id") == self._until[0]:
            self._opening, self._until = self._until[1], None
        return message

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
