"""The conversation of one block, sans-I/O: frames, their order, and the transcript that the tags cover.

In: payloads of one party.  Out: frames to carry to the other, each `kind | flags | block | sequence | payload`.
A party is a generator: it yields a frame to send, or None to wait for one, and is sent what arrived. Messages larger
than a frame travel in parts. Every frame, in both directions and in order, enters the transcript; two one-time tags,
one per direction, cover all of it. Layout: docs/public-channel.md.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Generator
from enum import IntEnum
from typing import TypeVar

from noclone.crypto.wegman_carter import TAG_BYTES, OneTimeTagger, forgery_bound
from noclone.distill.authentication import Role, TagKeys
from noclone.distill.job import BlockAborted, BlockStatistics
from noclone.errors import Aborted, AuthenticationError, ChannelError

T = TypeVar("T")
Steps = Generator[bytes | None, bytes, T]

FORMAT = 2  # of the block protocol; both ends must speak the same
HEADER = struct.Struct(">BBQI")  # kind, flags, block, sequence
ABSORBED = struct.Struct(">BQ")  # direction, length
PART_BYTES = 4 << 20
SMALL_BYTES = 1 << 14  # copying so little is cheaper than one more call
MORE = 1
STALE_MAX = 10_000  # frames of an earlier block that may still be on their way when a block starts
REASON_CHARS_MAX = 400

# Verdicts on what the light brought: their message carries a tag. Those about the peer's conduct do not: a stranger
# could else spend the pool by talking nonsense.
VERDICTS = frozenset(
    {
        "too-few-detections",
        "qber-too-high",
        "no-secret-key",
        "below-agreed-length",
        "leak-above-agreed",
        "reconciliation-failed",
        "confirmation-failed",
    }
)


class Kind(IntEnum):
    """What a message is; see `parties` for the order."""

    HELLO = 1
    ABORT = 2
    ANNOUNCE = 3
    SIFT = 4
    TEST = 5
    COUNTS = 6
    QUERY = 7
    ANSWER = 8
    RECONCILED = 9
    CONFIRM = 10
    CONFIRMED = 11
    AMPLIFY = 12
    TAG = 13


class Misbehaved(Aborted):
    """The peer sent something that no honest party sends."""

    def __init__(self, message: str) -> None:
        super().__init__(
            "peer-misbehaved",
            message,
            hint="somebody changes what crosses the public channel, or the two ends run different software",
        )


class Conversation:
    """One party's end of the conversation about one block."""

    def __init__(self, role: Role, statistics: BlockStatistics) -> None:
        self.role: Role = role
        self.statistics = statistics
        self.transcript_bytes = 0
        self._direction = {"out": 0 if role == "alice" else 1, "in": 1 if role == "alice" else 0}
        self._sequence = {"out": 0, "in": 0}
        self._backlog: list[bytes] = []
        self._keys: TagKeys | None = None
        self._own: OneTimeTagger | None = None
        self._peer: OneTimeTagger | None = None
        self._listening = False

    def arm(self, keys: TagKeys) -> None:
        """Start both tags: from here on every frame is absorbed as it passes; the earlier ones are caught up."""
        self._keys, self._own, self._peer = keys, keys.own.tagger(), keys.peer.tagger()
        for data in self._backlog:
            self._own.update(data)
            self._peer.update(data)
        self._backlog.clear()

    @property
    def forgery_bound(self) -> float:
        """Upper bound on the chance that a changed transcript passed either of the block's two tags."""
        return 2 * forgery_bound(self.transcript_bytes)

    def send(self, kind: Kind, payload: bytes = b"") -> Steps[None]:
        """Send one message, in as many parts as it takes."""
        view = memoryview(payload)
        for start in range(0, max(len(payload), 1), PART_BYTES):
            more = start + PART_BYTES < len(payload)
            header = self._header(kind, MORE if more else 0)
            yield from self._put(header + bytes(view[start : start + PART_BYTES]))

    def receive(self, *kinds: Kind, bytes_max: int) -> Steps[tuple[Kind, bytes]]:
        """Wait for one message of any of `kinds`, of at most `bytes_max`.

        Raises:
            Misbehaved: Something else came.
            BlockAborted: The peer gave up.
        """
        parts: list[bytes] = []
        size = 0
        first: Kind | None = None
        while True:
            kind, flags, payload = yield from self._get()
            if kind not in kinds or (first is not None and kind is not first):
                wanted = " or ".join(k.name.lower() for k in kinds)
                raise Misbehaved(f"the peer sent {kind.name.lower()} where {wanted} was due")
            first = kind
            size += len(payload)
            if size > bytes_max:
                raise Misbehaved(f"the peer's {kind.name.lower()} is longer than {bytes_max} bytes")
            parts.append(payload)
            if not flags & MORE:
                return kind, b"".join(parts)
            if not payload:
                raise Misbehaved("the peer sent an empty part of a longer message")

    def send_tag(self) -> Steps[None]:
        """Send our tag of everything so far; its key is durably spent first."""
        assert self._keys is not None
        assert self._own is not None
        self._keys.commit()
        header = self._header(Kind.TAG, 0)
        self._own.update(header)
        yield from self._put(header + self._own.tag())

    def receive_tag(self) -> Steps[None]:
        """Wait for the peer's tag of everything so far, and check it.

        Raises:
            Aborted: The two ends did not see the same messages: nothing of this block may be used.
        """
        assert self._keys is not None
        assert self._peer is not None
        kind, flags, payload = yield from self._get(absorb=False)
        if kind is not Kind.TAG or flags or len(payload) != TAG_BYTES:
            raise Misbehaved(f"the peer sent {kind.name.lower()} where its tag was due")
        self._keys.commit()
        header = HEADER.pack(kind, flags, self.statistics.block, self._sequence["in"] - 1)
        self._peer.update(header)
        try:
            self._peer.verify(payload)
        except AuthenticationError:
            raise Aborted(
                "authentication-failed",
                "the peer's tag does not fit the messages of this block: they were changed on the way, "
                "or the two ends hold different authentication keys",
                hint="this block gives no key; if it goes on, somebody is on the public channel, "
                "or the initial secrets of the two ends differ",
            ) from None
        self._keys.settle()
        self._absorb("in", header + payload)

    def tell_abort(self, abort: Aborted) -> Steps[None]:
        """Tell the peer that we give up and why, with a tag where one can be had."""
        text = f"{abort.reason}\n{abort.message[:REASON_CHARS_MAX]}".encode()
        header = self._header(Kind.ABORT, 0)
        tag = b""
        if abort.reason in VERDICTS and self._keys is not None and self._own is not None and not self._own.spent:
            self._keys.commit()
            self._own.update(header)
            self._own.update(text)
            tag = self._own.tag()
        frame = header + bytes([len(tag)]) + tag + text
        self._count("out", frame)
        yield frame

    def close(self) -> None:
        """Forget the keys."""
        if self._keys is not None:
            self._keys.release()

    def _header(self, kind: Kind, flags: int) -> bytes:
        header = HEADER.pack(kind, flags, self.statistics.block, self._sequence["out"])
        self._sequence["out"] += 1
        return header

    def _put(self, frame: bytes) -> Steps[None]:
        self._count("out", frame)
        self._absorb("out", frame)
        yield frame

    def _get(self, *, absorb: bool = True) -> Steps[tuple[Kind, int, bytes]]:
        for _ in range(STALE_MAX):
            frame = yield None
            if len(frame) < HEADER.size:
                raise ChannelError(f"the peer sent {len(frame)} bytes, which is no message of the block protocol")
            code, flags, block, sequence = HEADER.unpack_from(frame)
            if block < self.statistics.block and self._sequence["in"] == 0:
                continue  # left over from a block that ended early
            break
        else:
            raise ChannelError("the peer sends nothing but messages of earlier blocks")
        self._count("in", frame)
        if block != self.statistics.block:
            raise Misbehaved(f"the peer speaks of block {block}, this is block {self.statistics.block}")
        if sequence != self._sequence["in"]:
            raise Misbehaved(f"the peer's message {sequence} came where {self._sequence['in']} was due")
        self._sequence["in"] += 1
        try:
            kind = Kind(code)
        except ValueError:
            raise Misbehaved(f"the peer sent a message of unknown kind {code}") from None
        if kind is Kind.ABORT:
            self._on_abort(frame)
        if flags & ~MORE:
            raise Misbehaved(f"the peer sent a message with unknown flags {flags}")
        if absorb:
            self._absorb("in", frame)
        return kind, flags, frame[HEADER.size :]

    def _on_abort(self, frame: bytes) -> None:
        """Turn the peer's last word into our own end of the block."""
        header, rest = frame[: HEADER.size], frame[HEADER.size :]
        tag_bytes = rest[0] if rest else 0
        tag, text = rest[1 : 1 + tag_bytes], rest[1 + tag_bytes :]
        reason, _, message = text[: 4 * REASON_CHARS_MAX].decode("utf-8", "replace").partition("\n")
        reason = reason if reason in Aborted.REASONS else "peer-misbehaved"
        message = "".join(c if c.isprintable() else " " for c in message)[:REASON_CHARS_MAX]
        authenticated = False
        if tag and self._keys is not None and self._peer is not None and not self._peer.spent:
            self._peer.update(header)
            self._peer.update(text)
            with contextlib.suppress(AuthenticationError):
                self._peer.verify(tag)
                authenticated = True
                self._keys.commit()  # the peer spent the pair; a forged last word spends nothing
                self._keys.settle()
        proof = "" if authenticated else " (this message carries no valid tag)"
        raise BlockAborted(
            "peer-aborted",
            f"the peer gave the block up: {reason}: {message}{proof}",
            peer_reason=reason,
            authenticated=authenticated,
            statistics=self.statistics,
        )

    def _absorb(self, way: str, frame: bytes) -> None:
        prefix = ABSORBED.pack(self._direction[way], len(frame))
        self.transcript_bytes += len(prefix) + len(frame)
        if self._own is None or self._peer is None:
            self._backlog.append(prefix + frame)
            return
        pieces = (prefix + frame,) if len(frame) < SMALL_BYTES else (prefix, frame)
        for tagger in (self._own, self._peer):
            if not tagger.spent:
                for piece in pieces:
                    tagger.update(piece)

    def _count(self, way: str, frame: bytes) -> None:
        numbers = self.statistics
        if way == "out":
            numbers.messages_sent += 1
            numbers.bytes_sent += len(frame)
            self._listening = False
        else:
            numbers.messages_received += 1
            numbers.bytes_received += len(frame)
            numbers.rounds += not self._listening
            self._listening = True
