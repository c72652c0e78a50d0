"""Messages between two KMEs on a stream: a 4-byte length, then a JSON object.

In: a reader and a writer.  Out: messages, bounded in size and in time, or one of `BROKEN`.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any

from noclone.errors import KmeError

FRAME_BYTES_MAX = 8 << 20
FRAME_TIMEOUT_S = 10.0
LENGTH = struct.Struct(">I")
BROKEN = (KmeError, OSError, EOFError, TimeoutError)


class Frames:
    """Messages on a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; wait while the other side does not read."""
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > FRAME_BYTES_MAX:
            raise KmeError("a message to the other KME is too long")
        self._writer.write(LENGTH.pack(len(data)) + data)
        async with asyncio.timeout(FRAME_TIMEOUT_S):
            await self._writer.drain()

    async def receive(self, first_byte_timeout_s: float | None = None) -> dict[str, Any]:
        """Return the next message. Once it has begun it must end in time.

        Raises:
            KmeError: What came is no message.
            OSError, EOFError, TimeoutError: The connection ended or stalled.
        """
        async with asyncio.timeout(first_byte_timeout_s):
            head = await self._reader.readexactly(1)
        async with asyncio.timeout(FRAME_TIMEOUT_S):
            length = LENGTH.unpack(head + await self._reader.readexactly(LENGTH.size - 1))[0]
            if length > FRAME_BYTES_MAX:
                raise KmeError(f"the other KME announced a message of {length} bytes")
            data = await self._reader.readexactly(length)
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            raise KmeError("the other KME sent what is no JSON") from None
        if not isinstance(message, dict):
            raise KmeError("the other KME sent what is no message")
        return message

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
