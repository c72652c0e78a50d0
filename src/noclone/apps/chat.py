"""A chat between two applications: each line a sealed message, and with each line what it stands on.

In: lines of text, the connection that a conversation left, a KME.  Out: the same lines at the other end, or a refusal.
Each line is a container with pads of its own, in both directions: for what is sent, we are the master of the keys, for
what comes, the other is.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noclone.apps.messages import ReceivedMessage, SealedMessage, receive_message, seal_message
from noclone.client import KeySource
from noclone.errors import ChannelError, InputError, NocloneError

TOPIC = "chat"
FRAME = struct.Struct(">I")
CONTAINER_BYTES_MAX = 1 << 20
LINE_BYTES_MAX = 16_384


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the chat.

    Args:
        sender: Who wrote it.
        text: What; it may hold any character.
        labels: What its keys stand on, as the KME says.
        sealed_bytes: Of the container.
    """

    sender: str
    text: str
    labels: tuple[dict[str, Any], ...]
    sealed_bytes: int


class Chat:
    """One end of a chat.

    Args:
        client: At our KME.
        own: Who we are.
        peer: Who the other is.
        connection: Where containers cross.
        spool_folder: Our own folder for fetched key.
    """

    def __init__(
        self, client: KeySource, connection: socket.socket, *, own: str, peer: str, spool_folder: Path
    ) -> None:
        self._client, self._connection = client, connection
        self._own, self._peer, self._spool_folder = own, peer, spool_folder
        self._writing = threading.Lock()

    def say(self, text: str) -> Line:
        """Seal a line and send it.

        Raises:
            KeysExhausted: There is too little key; nothing was sent.
            ChannelError: The other end has left.
        """
        if len(text.encode("utf-8", "replace")) > LINE_BYTES_MAX:
            raise InputError(f"a line has at most {LINE_BYTES_MAX} bytes", hint="send it as a file")
        sealed: SealedMessage = seal_message(self._client, text, sender=self._own, to=self._peer)
        with self._writing:
            try:
                self._connection.sendall(FRAME.pack(len(sealed.container)) + sealed.container)
            except OSError:
                raise ChannelError(f"{self._peer} has left") from None
        return Line(self._own, text, sealed.labels, len(sealed.container))

    def hear(self) -> Line | None:
        """Wait for a line and open it; None: the other end has left.

        Raises:
            NocloneError: What came is no line of the other end's, or its keys cannot be had. The chat can go on.
        """
        frame = self._read(FRAME.size)
        if frame is None:
            return None
        (length,) = FRAME.unpack(frame)
        if length > CONTAINER_BYTES_MAX:
            self._connection.close()
            raise ChannelError("something else than a chat came over the line; it was cut")
        container = self._read(length)
        if container is None:
            return None
        got: ReceivedMessage = receive_message(
            self._client, container, receiver=self._own, spool_folder=self._spool_folder
        )
        if got.sender != self._peer:
            raise ChannelError(f"a line of {got.sender} came over the line with {self._peer}: it is not shown")
        return Line(got.sender, got.text, got.labels, len(container))

    def listen(self, told: Callable[[Line | NocloneError | None], None]) -> threading.Thread:
        """Hear lines in a thread of its own; tell each, each refusal, and at last None: the other end has left."""

        def run() -> None:
            while True:
                try:
                    line = self.hear()
                except NocloneError as error:
                    told(error)
                    continue
                told(line)
                if line is None:
                    return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Leave."""
        with self._writing:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            self._connection.close()

    def _read(self, n_bytes: int) -> bytes | None:
        data = bytearray()
        while len(data) < n_bytes:
            try:
                piece = self._connection.recv(n_bytes - len(data))
            except OSError:
                return None
            if not piece:
                return None
            data += piece
        return bytes(data)
