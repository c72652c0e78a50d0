"""Frames on a stream: a 4-byte length and as many bytes, some of them JSON. What the light and its two ends speak."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

from noclone.errors import ChannelError

LENGTH = struct.Struct(">I")
FRAME_BYTES_MAX = 8 << 20
JSON_BYTES_MAX = 4096


async def send_frame(writer: asyncio.StreamWriter, data: bytes, *, timeout_s: float) -> None:
    """Send one frame; wait while the other side does not keep up."""
    assert len(data) <= FRAME_BYTES_MAX
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(LENGTH.pack(len(data)) + data)
            await writer.drain()
    except TimeoutError:
        raise ChannelError(f"the other side took nothing for {timeout_s:g} s") from None
    except (OSError, RuntimeError) as error:
        raise ChannelError(f"the connection broke while sending ({type(error).__name__})") from None


async def receive_frame(reader: asyncio.StreamReader, *, timeout_s: float | None) -> bytes:
    """Return the next frame.

    Raises:
        ChannelError: It is too large, too late, or the connection ended.
    """
    try:
        async with asyncio.timeout(timeout_s):
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            if length > FRAME_BYTES_MAX:
                raise ChannelError(f"a frame of {length} bytes was announced; {FRAME_BYTES_MAX} is the most")
            return await reader.readexactly(length)
    except TimeoutError:
        raise ChannelError(f"the other side sent nothing for {timeout_s:g} s") from None
    except asyncio.IncompleteReadError:
        raise ChannelError("the other side closed the connection") from None
    except OSError as error:
        raise ChannelError(f"the connection broke ({type(error).__name__})") from None


async def send_json(writer: asyncio.StreamWriter, data: dict[str, Any], *, timeout_s: float) -> None:
    """Send a small JSON object as a frame."""
    await send_frame(writer, json.dumps(data, separators=(",", ":")).encode(), timeout_s=timeout_s)


async def receive_json(reader: asyncio.StreamReader, *, timeout_s: float | None) -> dict[str, Any]:
    """Return the next frame as a JSON object."""
    return read_json(await receive_frame(reader, timeout_s=timeout_s))


def read_json(data: bytes) -> dict[str, Any]:
    """Read a small JSON object.

    Raises:
        ChannelError: It is none.
    """
    try:
        value = json.loads(data) if len(data) <= JSON_BYTES_MAX else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ChannelError("the other side sent something that is no message")
    return value


def whole(message: dict[str, Any], name: str, below: int) -> int:
    """Return a whole number out of a message: 0 or more, and smaller than `below`.

    Raises:
        ChannelError: There is none.
    """
    value = message.get(name)
    if type(value) is not int or not 0 <= value < below:
        raise ChannelError(f"the other side's message lacks a sensible '{name}'")
    return value
