"""vici, the language in which strongSwan is told what to do: requests and answers over a Unix socket.

In: a command and its message.  Out: the answer, or the entries of a list. A message is a nesting of sections, lists and
texts: dictionaries, lists and strings here; secrets are bytes. The wire format is that of strongSwan's
src/libcharon/plugins/vici/README.md. We speak it ourselves: strongSwan's own package for Python knows neither types nor
deadlines, and we need five commands.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noclone.errors import InputError, TunnelError

Message = dict[str, Any]

SOCKET = Path("/var/run/charon.vici")
PACKET_BYTES_MAX = 512 * 1024  # strongSwan's own limit
DEPTH_MAX = 16
TIMEOUT_S = 10.0

CMD_REQUEST, CMD_RESPONSE, CMD_UNKNOWN, EVENT_REGISTER, EVENT_UNREGISTER, EVENT_CONFIRM, EVENT_UNKNOWN, EVENT = range(8)
SECTION_START, SECTION_END, KEY_VALUE, LIST_START, LIST_ITEM, LIST_END = range(1, 7)


class Vici:
    """A connection to a strongSwan daemon. Use it as a context manager; one thread at a time.

    Raises:
        InputError: There is no daemon at the socket, or we may not use it.
    """

    def __init__(self, path: Path = SOCKET, timeout_s: float = TIMEOUT_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise InputError(
                f"no strongSwan answers at {path} ({error.strerror or error})",
                hint="is charon running with its vici plugin? the socket is given by --vici; it is root's",
            ) from None

    def ask(self, command: str, message: Message | None = None) -> Message:
        """Give a command and return the answer.

        Raises:
            TunnelError: The daemon says no, or nothing.
        """
        answer = self._exchange(CMD_REQUEST, command, encode(message or {}), CMD_RESPONSE)
        if answer.get("success", "yes") != "yes":
            raise TunnelError(f"strongSwan refused {command}: {answer.get('errmsg') or 'it gave no reason'}")
        return answer

    def entries(self, command: str, event: str, message: Message | None = None) -> list[Message]:
        """Give a command that answers with one event for each entry; return them.

        Raises:
            TunnelError: The daemon says no, or nothing.
        """
        found: list[Message] = []
        self._exchange(EVENT_REGISTER, event, b"", EVENT_CONFIRM)
        try:
            self._exchange(CMD_REQUEST, command, encode(message or {}), CMD_RESPONSE, found)
        finally:
            self._exchange(EVENT_UNREGISTER, event, b"", EVENT_CONFIRM)
        return found

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Vici:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(
        self, kind: int, name: str, body: bytes, expected: int, events: list[Message] | None = None
    ) -> Message:
        data = bytes([kind, len(name)]) + name.encode() + body
        try:
            self._socket.sendall(struct.pack(">I", len(data)) + data)
            while True:
                packet = self._receive()
                if packet[0] == EVENT:
                    if events is not None:
                        events.append(decode(packet[2 + packet[1] :]))
                elif packet[0] == expected:
                    return decode(packet[1:])
                else:
                    raise TunnelError(f"this strongSwan does not know {name}")
        except TimeoutError:
            raise TunnelError(f"strongSwan did not answer {name} in time") from None
        except OSError as error:
            raise TunnelError(f"the conversation with strongSwan broke ({error.strerror or error})") from None
        except IndexError:
            raise TunnelError("strongSwan answered with nonsense") from None

    def _receive(self) -> bytes:
        (length,) = struct.unpack(">I", self._exactly(4))
        if length > PACKET_BYTES_MAX:
            raise TunnelError("strongSwan answered with nonsense: a packet without end")
        return self._exactly(length)

    def _exactly(self, n_bytes: int) -> bytes:
        data = bytearray()
        while len(data) < n_bytes:
            piece = self._socket.recv(n_bytes - len(data))
            if not piece:
                raise ConnectionError("it hung up")
            data += piece
        return bytes(data)


def encode(message: Message) -> bytes:
    """Return a message as it goes over the wire. Texts and numbers are written as text, booleans as yes and no."""
    out = bytearray()
    for name, value in message.items():
        if isinstance(value, dict):
            out += bytes([SECTION_START]) + _name(name) + encode(value) + bytes([SECTION_END])
        elif isinstance(value, list | tuple):
            out += bytes([LIST_START]) + _name(name)
            for item in value:
                out += bytes([LIST_ITEM]) + _value(item)
            out += bytes([LIST_END])
        else:
            out += bytes([KEY_VALUE]) + _name(name) + _value(value)
    return bytes(out)


def decode(data: bytes) -> Message:
    """Read a message. Bytes that are no text are replaced: no answer that we ask for has any.

    Raises:
        TunnelError: It is none.
    """
    try:
        return _section(_elements(data), 0)
    except (IndexError, KeyError, struct.error):
        raise TunnelError("strongSwan answered with nonsense") from None


def _section(elements: Iterator[tuple[int, str, str]], depth: int) -> Message:
    if depth > DEPTH_MAX:
        raise TunnelError("strongSwan answered with nonsense: sections without end")
    out: Message = {}
    key = ""
    for kind, name, value in elements:
        match kind:
            case 1:  # SECTION_START
                out[name] = _section(elements, depth + 1)
            case 2:  # SECTION_END
                return out
            case 3:  # KEY_VALUE
                out[name] = value
            case 4:  # LIST_START
                key, out[name] = name, []
            case 5:  # LIST_ITEM
                out[key].append(value)
    if depth:
        raise TunnelError("strongSwan answered with nonsense: a section without end")
    return out


def _elements(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Walk over a message: what each element is, its name and its value, where it has them."""
    at = 0
    while at < len(data):
        kind, at = data[at], at + 1
        if not SECTION_START <= kind <= LIST_END:
            raise TunnelError("strongSwan answered with nonsense: an unknown element")
        name = value = b""
        if kind in (SECTION_START, KEY_VALUE, LIST_START):
            end = at + 1 + data[at]
            name, at = data[at + 1 : end], end
        if kind in (KEY_VALUE, LIST_ITEM):
            end = at + 2 + struct.unpack_from(">H", data, at)[0]
            value, at = data[at + 2 : end], end
        if at > len(data):
            raise TunnelError("strongSwan answered with nonsense: it is cut short")
        yield kind, name.decode("utf-8", "replace"), value.decode("utf-8", "replace")


def _name(name: str) -> bytes:
    return bytes([len(name.encode())]) + name.encode()


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        value = "yes" if value else "no"
    data = value if isinstance(value, bytes) else str(value).encode()
    return struct.pack(">H", len(data)) + data
