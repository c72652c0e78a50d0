"""A chat between two applications: each line a sealed message, and with each line what it stands on.

In: lines of text, the connection that a conversation left, a KME.  Out: the same lines at the other end, or a refusal.
Each line is a container with key of its own, in both directions: for what is sent, we are the master of the keys, for
what comes, the other is. That key is a one-time pad, or, where pad is scarce, a key of AES-256-GCM.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from noclone.apps.hybrid import HybridText, is_hybrid_text, open_text, seal_text
from noclone.apps.messages import ReceivedMessage, SealedMessage, receive_message, seal_message
from noclone.client import KeySource
from noclone.errors import ChannelError, InputError, NocloneError
from noclone.trust.reading import standing

TOPIC = "chat"
FRAME = struct.Struct(">I")
CONTAINER_BYTES_MAX = 1 << 20
LINE_BYTES_MAX = 16_384
Cipher = Literal["one-time-pad", "aes-256-gcm"]
USES = {
    "one-time-pad": "one-time pad",
    "aes-256-gcm": "COMPUTATIONAL, AES-256-GCM and no one-time pad (who breaks it, or HKDF-SHA384, reads it too)",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the chat.

    Args:
        sender: Who wrote it.
        text: What; it may hold any character.
        labels: What its keys stand on, as the KME says.
        sealed_bytes: Of the container.
        cipher: What it was sealed with; each line says so itself, whatever the two ends send with.
    """

    sender: str
    text: str
    labels: tuple[dict[str, Any], ...]
    sealed_bytes: int
    cipher: Cipher = "one-time-pad"

    def standing(self) -> str:
        """Say what the line stands on, in words."""
        return standing(self.labels, USES[self.cipher])


class Chat:
    """One end of a chat.

    Args:
        client: At our KME.
        own: Who we are.
        peer: Who the other is.
        connection: Where containers cross.
        spool_folder: Our own folder for fetched key.
        cipher: What our lines are sealed with.
    """

    def __init__(
        self, client: KeySource, connection: socket.socket, *, own: str, peer: str, spool_folder: Path,
        cipher: Cipher = "one-time-pad",
    ) -> None:  # fmt: skip
        self._client, self._connection = client, connection
        self._own, self._peer, self._spool_folder, self._cipher = own, peer, spool_folder, cipher
        self._writing = threading.Lock()

    def say(self, text: str) -> Line:
        """Seal a line and send it.

        Raises:
            KeysExhausted: There is too little key; nothing was sent.
            ChannelError: The other end has left.
        """
        if len(text.encode("utf-8", "replace")) > LINE_BYTES_MAX:
            raise InputError(f"a line has at most {LINE_BYTES_MAX} bytes", hint="send it as a file")
        seal = seal_message if self._cipher == "one-time-pad" else seal_text
        sealed: SealedMessage = seal(self._client, text, sender=self._own, to=self._peer)
        with self._writing:
            try:
                self._connection.sendall(FRAME.pack(len(sealed.container)) + sealed.container)
            except OSError:
                raise ChannelError(f"{self._peer} has left") from None
        return Line(self._own, text, sealed.labels, len(sealed.container), self._cipher)

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
        cipher: Cipher = "aes-256-gcm" if is_hybrid_text(container) else "one-time-pad"
        open_it: Callable[..., ReceivedMessage | HybridText] = (
            receive_message if cipher == "one-time-pad" else open_text
        )
        got = open_it(self._client, container, receiver=self._own, spool_folder=self._spool_folder)
        if got.sender != self._peer:
            raise ChannelError(f"a line of {got.sender} came over the line with {self._peer}: it is not shown")
        return Line(got.sender, got.text, got.labels, len(container), cipher)

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
