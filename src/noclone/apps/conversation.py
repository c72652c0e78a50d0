"""Two applications agree on something over TCP, each message under a one-time tag of delivered key.

In: an application's KME, where the other application listens.  Out: a conversation in which nobody else can have a say,
and keys that both hold. Works with any ETSI GS QKD 014 server and needs no certificate of its own: the KMEs hand a key
to the two applications that it was made for, so who can tag with it is one of them. The ids of keys, and what is said,
can be read by everybody; the keys never cross.

The caller takes new keys, and opens with their ids and its first message; the listener fetches the same keys by their
ids, once, checks the tag, and answers. Then they take turns in any order, each with tag keys of its own.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from noclone.client import Key, KeySource
from noclone.crypto.wegman_carter import KEY_BYTES, TAG_BYTES, OneTimeKey
from noclone.errors import AuthenticationError, ChannelError, InputError, KmeError, NocloneError

VERSION = 1
TAG_KEYS = 16  # eight messages from each side
FRAME_BYTES_MAX = 65_536
OPENING_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
KEYS_MAX = 1024
PEACE_S = 0.5
FRAME = struct.Struct(">I")


@dataclass
class Conversation:
    """One side of a conversation. Use it as a context manager.

    Args:
        peer: The other application.
        opening: What the caller opened with.
        keys: Those that the caller took for the purpose, in its order.
    """

    peer: str
    opening: dict[str, Any]
    keys: tuple[Key, ...] = field(repr=False)
    _connection: socket.socket = field(repr=False)
    _tag_keys: bytes = field(repr=False)
    _caller: bool = True
    _sent: int = 0
    _received: int = 0

    def say(self, **message: Any) -> None:
        """Send a message.

        Raises:
            ChannelError: The connection broke, or all tag keys are used.
        """
        body = json.dumps(message, separators=(",", ":")).encode()
        tag = _tag(self._tag_key(self._caller, self._sent), body)
        self._sent += 1
        try:
            self._connection.sendall(FRAME.pack(len(body)) + body + tag)
        except OSError as error:
            raise _broke(self.peer, error) from None

    def hear(self, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Wait for a message.

        Raises:
            AuthenticationError: It was altered, or forged.
            ChannelError: None came, or the connection broke.
        """
        try:
            body, tag = _read_frame(self._connection, timeout_s)
        except OSError as error:
            raise _broke(self.peer, error) from None
        _verify(self._tag_key(not self._caller, self._received), body, tag)
        self._received += 1
        return _object(body)

    @property
    def pending(self) -> bool:
        """Whether something came that `hear` would read at once: a message, or the end of the conversation."""
        readable, _, _ = select.select([self._connection], [], [], 0)
        return bool(readable)

    def hand_over(self) -> socket.socket:
        """Return the connection, for whatever follows the conversation. It must bring its own protection."""
        self._connection.settimeout(None)
        return self._connection

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tag_key(self, of_caller: bool, number: int) -> bytes:
        slot = 2 * number + (not of_caller)
        if slot >= TAG_KEYS:
            raise ChannelError(f"the conversation with {self.peer} is longer than its tag keys last")
        return self._tag_keys[slot * KEY_BYTES : (slot + 1) * KEY_BYTES]


def call(
    client: KeySource,
    address: tuple[str, int],
    *,
    sender: str,
    to: str,
    topic: str,
    number: int = 0,
    size: int = 256,
    **opening: Any,
) -> Conversation:
    """Open a conversation with an application that listens.

    Args:
        sender: Who we are.
        to: Who we call.
        topic: What it is about; the listener accepts what it was made for.
        number: How many keys to take for the purpose.
        size: Bits of each.
        opening: The first message.

    Raises:
        ChannelError: Nobody listens there, or the connection broke.
        KmeError: Our KME cannot be reached, or refuses.
    """
    try:
        connection = socket.create_connection(address, OPENING_TIMEOUT_S)
    except OSError as error:
        raise _unreachable(to, address, error) from None
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tags = _new_tag_keys(client, to)
        keys = tuple(_new_keys(client, to, number, size))
        if any(8 * len(key.value) != size for key in keys):
            raise KmeError(f"the KME gave keys of other sizes than {size} bits")
        talk = Conversation(to, opening, keys, connection, _joined(tags))
        talk.say(
            v=VERSION, topic=topic, sender=sender, to=to,
            tag_keys=[key.key_id for key in tags], keys=[key.key_id for key in keys], **opening,
        )  # fmt: skip
    except BaseException:
        connection.close()
        raise
    return talk


class Listener:
    """Where an application can be called. Loopback, a management network, or the tunnel itself: the tags protect it.

    Args:
        client: At our KME.
        address: Where to listen; port 0 takes a free one.
        receiver: Who we are.
        callers: Who may call.
        topics: What about.
    """

    def __init__(
        self, client: KeySource, address: tuple[str, int], *, receiver: str, callers: Sequence[str],
        topics: Sequence[str],
    ) -> None:  # fmt: skip
        self._client, self._receiver = client, receiver
        self._callers, self._topics = frozenset(callers), frozenset(topics)
        try:
            self._socket = socket.create_server(address, family=_family(address[0]), backlog=8)
        except OSError as error:
            raise InputError(f"cannot listen at {address[0]}:{address[1]} ({error.strerror})") from None
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._socket.settimeout(0.25)

    def accept(self, stop: threading.Event, idle: Callable[[], None] = lambda: None) -> Conversation | None:
        """Wait for a call; return None when told to stop.

        Args:
            idle: Called now and then while nobody calls.

        Raises:
            NocloneError: Somebody called and was turned away; go on listening.
        """
        while not stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                idle()
                continue
            except OSError as error:
                stop.wait(0.25)
                raise ChannelError(f"cannot accept calls ({error.strerror or error})") from None
            try:
                return self._open(connection)
            except OSError as error:
                connection.close()
                raise _broke("a caller", error) from None
            except BaseException:
                connection.close()
                raise
        return None

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, connection: socket.socket) -> Conversation:
        body, tag = _read_frame(connection, OPENING_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opening = _object(body)
        caller, tag_ids, ids = self._check(opening)
        fetched = {key.key_id: key for key in self._fetch(caller, [*tag_ids, *ids])}
        tags = _joined([fetched[key_id] for key_id in tag_ids])
        if len(tags) < TAG_KEYS * KEY_BYTES:
            raise AuthenticationError(f"{caller} opened with too few tag keys")
        _verify(tags[:KEY_BYTES], body, tag)
        keys = tuple(fetched[key_id] for key_id in ids)
        return Conversation(caller, opening, keys, connection, tags, False, 0, 1)

    def _check(self, opening: dict[str, Any]) -> tuple[str, list[str], list[str]]:
        """Check who calls, whom and what about, before a key is fetched."""
        caller, topic = opening.get("sender"), opening.get("topic")
        if opening.get("v") != VERSION or opening.get("to") != self._receiver:
            raise ChannelError("somebody called who speaks another version, or wants another application")
        if caller not in self._callers or topic not in self._topics:
            raise ChannelError(f"somebody called as {str(caller)[:64]!r} about {str(topic)[:64]!r}: not for us")
        lists = []
        for name in ("tag_keys", "keys"):
            ids = opening.get(name)
            if not isinstance(ids, list) or not all(isinstance(key_id, str) and len(key_id) <= 64 for key_id in ids):
                raise ChannelError("somebody called with nonsense")
            lists.append(ids)
        if not lists[0] or len(lists[0]) > 4 * TAG_KEYS or len(lists[1]) > KEYS_MAX:
            raise ChannelError("somebody called with too many keys")
        if len({*lists[0], *lists[1]}) != len(lists[0]) + len(lists[1]):
            raise ChannelError("somebody called with a key twice")
        return str(caller), lists[0], lists[1]

    def _fetch(self, caller: str, ids: Sequence[str]) -> Iterator[Key]:
        at_once = max(1, self._client.status(caller).max_key_per_request)
        for start in range(0, len(ids), at_once):
            yield from self._client.dec_keys(caller, ids[start : start + at_once]).keys


def parse_address(text: str) -> tuple[str, int]:
    """Read HOST:PORT; an IPv6 address stands in brackets.

    Raises:
        InputError: It is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not int(port) < 65_536:
        raise InputError(f"'{text}' is no address", hint="write HOST:PORT, such as 10.0.0.2:7014")
    return host.strip("[]"), int(port)


@contextmanager
def turned_away(say: Callable[[NocloneError], None]) -> Iterator[None]:
    """Report what a caller did wrong and go on; a moment of peace keeps a flood of them from our KME."""
    try:
        yield
    except NocloneError as error:
        say(error)
        time.sleep(PEACE_S)


def _new_tag_keys(client: KeySource, to: str) -> tuple[Key, ...]:
    status = client.status(to)
    largest = status.max_key_size // 8
    if largest < 1:
        raise KmeError("the KME says that it gives no keys at all (max_key_size)")
    need = TAG_KEYS * KEY_BYTES
    number = -(-need // largest)
    size = max(-(-need // number), -(-status.min_key_size // 8))
    if number > min(4 * TAG_KEYS, status.max_key_per_request):
        raise KmeError(f"the KME's keys are too small: {number} of them would be needed for one conversation")
    return client.enc_keys(to, number, 8 * size).keys


def _new_keys(client: KeySource, to: str, number: int, size: int) -> Iterator[Key]:
    at_once = max(1, client.status(to).max_key_per_request) if number > 1 else 1
    for start in range(0, number, at_once):
        yield from client.enc_keys(to, min(at_once, number - start), size).keys


def _joined(keys: Sequence[Key]) -> bytes:
    return b"".join(key.value for key in keys)


def _tag(key: bytes, body: bytes) -> bytes:
    tagger = OneTimeKey(key).tagger()
    tagger.update(body)
    return tagger.tag()


def _verify(key: bytes, body: bytes, tag: bytes) -> None:
    tagger = OneTimeKey(key).tagger()
    tagger.update(body)
    tagger.verify(tag)


def _read_frame(connection: socket.socket, timeout_s: float) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + timeout_s
    (length,) = FRAME.unpack(_exactly(connection, FRAME.size, deadline))
    if length > FRAME_BYTES_MAX:
        raise ChannelError("a message is too long")
    data = _exactly(connection, length + TAG_BYTES, deadline)
    return data[:length], data[length:]


def _exactly(connection: socket.socket, n_bytes: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < n_bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(n_bytes - len(data))
        if not piece:
            raise ConnectionError("the other side hung up")
        data += piece
    return bytes(data)


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ChannelError("a message is no message")
    return data


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _broke(peer: str, error: OSError) -> ChannelError:
    why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or error
    return ChannelError(f"the conversation with {peer} broke ({why})")


def _unreachable(to: str, address: tuple[str, int], error: OSError) -> ChannelError:
    return ChannelError(
        f"{to} does not listen at {address[0]}:{address[1]} ({error.strerror or error})",
        hint="start its end first, and check the address",
    )
