"""The conversation of one block, sans-I/O: frames, their order, and the transcript that the tags cover.

In: payloads of one party.  Out: frames to carry to the other, each `kind | flags | block | sequence | payload`.
A party is a generator: it yields a frame to send, or None to wait for one, and is sent what arrived; it may also yield
`BRISK`, to wait for one that costs it a millisecond at most, so that whoever runs it need not find a thread for that.
Messages larger than a frame travel in parts. Every frame, in both directions and in order, enters the transcript; two
one-time tags, one per direction, cover all of it. Layout: docs/public-channel.md.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Generator
from enum import IntEnum
from typing import TypeVar

from noclone.crypto.transcript_hash import TranscriptTags, transcript_forgery_bound
from noclone.crypto.wegman_carter import TAG_BYTES
from noclone.distill.authentication import Role, TagKeys
from noclone.distill.job import BlockAborted, BlockStatistics
from noclone.errors import Aborted, AuthenticationError, ChannelError
from noclone.proofs.epsilon import Epsilons

T = TypeVar("T")
Steps = Generator[bytes | None, bytes, T]

BRISK = b""
FORMAT = 5  # of the block protocol; both ends must speak the same
HEADER = struct.Struct(">BBQI")  # kind, flags, block, sequence
ABSORBED = struct.Struct(">BQ")  # direction, length
LENGTH_AT, SEQUENCE_AT = struct.calcsize(">B"), ABSORBED.size + struct.calcsize(">BBQ")
PART_BYTES = 4 << 20
TRANSCRIPT_BYTES_MAX = 1 << 50  # no block talks for so long
GATHER_BYTES = 1 << 16  # of transcript, before the taggers see it: a call for each small frame would cost more
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
    CHSH = 14
    SLICES = 15
    PAIRS = 16


KINDS = {int(kind): kind for kind in Kind}
_ABORT = int(Kind.ABORT)


class Misbehaved(Aborted):
    """The peer sent something that no honest party sends."""

    def __init__(self, message: str) -> None:
        super().__init__(
            "peer-misbehaved",
            message,
            hint="somebody changes what crosses the public channel, or the two ends run different software",
        )


def epsilon_of(agreed: Epsilons, transcript_bytes: int) -> float:
    """Return what a block may fail by: secrecy, correctness, and a changed transcript that passes one of two tags."""
    return agreed.secrecy + agreed.correctness + 2 * transcript_forgery_bound(transcript_bytes)


class Conversation:
    """One party's end of the conversation about one block."""

    def __init__(self, role: Role, statistics: BlockStatistics) -> None:
        self.role: Role = role
        self.statistics = statistics
        self.transcript_bytes = 0
        self._ours, self._theirs = (0, 1) if role == "alice" else (1, 0)  # directions, as the transcript names them
        self._sent, self._received = 0, 0  # frames in either direction: their sequence numbers
        self._gathered: list[bytes] = []  # transcript that the taggers have not seen yet
        self._gathered_bytes = 0
        self._keys: TagKeys | None = None
        self._tags: TranscriptTags | None = None
        self._listening = False

    def arm(self, keys: TagKeys) -> None:
        """Start both tags; they cover the frames that have passed, too."""
        own, peer = keys.own.spend(), keys.peer.spend()
        self._keys, self._tags = keys, TranscriptTags((own, peer) if self._ours == 0 else (peer, own))

    def send(self, kind: Kind, *pieces: bytes | memoryview) -> Steps[None]:
        """Send one message, whose payload may come in pieces, in as many parts as it takes."""
        if len(pieces) == 1 and len(pieces[0]) <= PART_BYTES:
            yield self._framed(kind, 0, pieces[0])  # as nearly all do
            return
        if sum(map(len, pieces)) > PART_BYTES:
            view = memoryview(b"".join(pieces))
            while len(view) > PART_BYTES:
                yield self._framed(kind, MORE, view[:PART_BYTES])
                view = view[PART_BYTES:]
            pieces = (view,)
        yield self._framed(kind, 0, *pieces)

    def receive(self, *kinds: Kind, bytes_max: int, brisk: bool = False) -> Steps[tuple[Kind, bytes]]:
        """Wait for one message of any of `kinds`, of at most `bytes_max`; `brisk` if it costs next to nothing.

        Raises:
            Misbehaved: Something else came.
            BlockAborted: The peer gave up.
        """
        frame = (yield BRISK if brisk else None) if self._received else (yield from self._first_frame())
        kind, flags = self._read(frame)
        if not flags and kind in kinds and len(frame) <= HEADER.size + bytes_max:
            return kind, frame[HEADER.size :]  # as nearly all are
        return kind, bytes((yield from self._parts(kind, flags, frame, kinds, bytes_max)))

    def receive_view(self, kind: Kind, *, bytes_max: int) -> Steps[memoryview]:
        """Wait for one message that may be large, as `receive` does, and return it without copying it."""
        frame = yield None
        first, flags = self._read(frame)
        return (yield from self._parts(first, flags, frame, (kind,), bytes_max))

    def _parts(
        self, first: Kind, flags: int, frame: bytes, kinds: tuple[Kind, ...], bytes_max: int
    ) -> Steps[memoryview]:
        """Check the first part of a message, wait for the others, and return the whole of it."""
        parts: list[memoryview] = []
        size, kind = 0, first
        while True:
            if kind not in kinds or kind is not first:
                wanted = " or ".join(k.name.lower() for k in kinds)
                raise Misbehaved(f"the peer sent {kind.name.lower()} where {wanted} was due")
            payload = memoryview(frame)[HEADER.size :]
            size += len(payload)
            if size > bytes_max:
                raise Misbehaved(f"the peer's {kind.name.lower()} is longer than {bytes_max} bytes")
            parts.append(payload)
            if not flags & MORE:
                return payload if len(parts) == 1 else memoryview(b"".join(parts))
            if not payload:
                raise Misbehaved("the peer sent an empty part of a longer message")
            frame = yield None
            kind, flags = self._read(frame)

    def send_tag(self) -> Steps[None]:
        """Send our tag of everything so far; its key is durably spent first."""
        assert self._keys is not None
        assert self._tags is not None
        self._keys.commit()
        header = self._header(Kind.TAG, 0)
        self._catch_up()
        frame = header + self._tags.tag(self._ours, header)
        self._count_sent(frame)
        self._absorb(self._ours, frame)
        yield frame

    def receive_tag(self) -> Steps[None]:
        """Wait for the peer's tag of everything so far, and check it.

        Raises:
            Aborted: The two ends did not see the same messages: nothing of this block may be used.
        """
        assert self._keys is not None
        assert self._tags is not None
        frame = yield None
        kind, flags = self._read(frame, absorb=False)
        payload = frame[HEADER.size :]
        if kind is not Kind.TAG or flags or len(payload) != TAG_BYTES:
            raise Misbehaved(f"the peer sent {kind.name.lower()} where its tag was due")
        self._keys.commit()
        header = HEADER.pack(kind, flags, self.statistics.block, self._received - 1)
        self._catch_up()
        try:
            self._tags.verify(self._theirs, payload, header)
        except AuthenticationError:
            raise Aborted(
                "authentication-failed",
                "the peer's tag does not fit the messages of this block: they were changed on the way, "
                "or the two ends hold different authentication keys",
                hint="this block gives no key; if it goes on, somebody is on the public channel, "
                "or the initial secrets of the two ends differ",
            ) from None
        self._keys.settle()
        self._absorb(self._theirs, header + payload)

    def tell_abort(self, abort: Aborted) -> Steps[None]:
        """Tell the peer that we give up and why, with a tag where one can be had."""
        text = f"{abort.reason}\n{abort.message[:REASON_CHARS_MAX]}".encode()
        header = self._header(Kind.ABORT, 0)
        tag = b""
        if (
            abort.reason in VERDICTS
            and self._keys is not None
            and self._tags is not None
            and not self._tags.spent(self._ours)
        ):
            self._keys.commit()
            self._catch_up()
            tag = self._tags.tag(self._ours, header, text)
        frame = header + bytes([len(tag)]) + tag + text
        self._count_sent(frame)
        yield frame

    def head(self, kind: Kind) -> bytes:
        """Return what stands before our next frame's payload in the transcript, its length being left out."""
        return ABSORBED.pack(self._ours, 0) + HEADER.pack(kind, 0, self.statistics.block, self._sent)

    @property
    def next_sent(self) -> int:
        """The number of the next frame that we send."""
        return self._sent

    def went_on(self, passed: bytes, rounds: int, sent_bytes: int) -> None:
        """Take note of frames that both ends have exchanged in turn (`duet`), as they enter the transcript.

        Args:
            rounds: A frame of ours and one of the peer's each.
            sent_bytes: Of our frames.
        """
        numbers = self.statistics
        self._sent += rounds
        self._received += rounds
        numbers.messages_sent += rounds
        numbers.messages_received += rounds
        numbers.rounds += rounds
        numbers.bytes_sent += sent_bytes
        numbers.bytes_received += len(passed) - 2 * rounds * ABSORBED.size - sent_bytes
        self._gathered.append(passed)
        self.transcript_bytes += len(passed)
        self._catch_up()

    def close(self) -> None:
        """Forget the keys."""
        if self._tags is not None:
            self._tags.erase()
        if self._keys is not None:
            self._keys.release()

    def _header(self, kind: Kind, flags: int) -> bytes:
        header = HEADER.pack(kind, flags, self.statistics.block, self._sent)
        self._sent += 1
        return header

    def _framed(self, kind: Kind, flags: int, *pieces: bytes | memoryview) -> bytes:
        frame = b"".join((self._header(kind, flags), *pieces))
        self._count_sent(frame)
        self._absorb(self._ours, frame)
        return frame

    def _first_frame(self) -> Steps[bytes]:
        """Wait for a frame that is not left over from a block that ended early."""
        for _ in range(STALE_MAX):
            frame = yield None
            if len(frame) < HEADER.size or HEADER.unpack_from(frame)[2] >= self.statistics.block:
                return frame
        raise ChannelError("the peer sends nothing but messages of earlier blocks")

    def _read(self, frame: bytes, *, absorb: bool = True) -> tuple[Kind, int]:
        """Return kind and flags of the frame that is due."""
        if len(frame) < HEADER.size:
            raise ChannelError(f"the peer sent {len(frame)} bytes, which is no message of the block protocol")
        code, flags, block, sequence = HEADER.unpack_from(frame)
        self._count_received(frame)
        if block != self.statistics.block:
            raise Misbehaved(f"the peer speaks of block {block}, this is block {self.statistics.block}")
        if sequence != self._received:
            raise Misbehaved(f"the peer's message {sequence} came where {self._received} was due")
        self._received += 1
        kind = KINDS.get(code)
        if kind is None:
            raise Misbehaved(f"the peer sent a message of unknown kind {code}")
        if code == _ABORT:
            self._on_abort(frame)
        if flags & ~MORE:
            raise Misbehaved(f"the peer sent a message with unknown flags {flags}")
        if absorb:
            self._absorb(self._theirs, frame)
        return kind, flags

    def _on_abort(self, frame: bytes) -> None:
        """Turn the peer's last word into our own end of the block."""
        header, rest = frame[: HEADER.size], frame[HEADER.size :]
        tag_bytes = rest[0] if rest else 0
        tag, text = rest[1 : 1 + tag_bytes], rest[1 + tag_bytes :]
        reason, _, message = text[: 4 * REASON_CHARS_MAX].decode("utf-8", "replace").partition("\n")
        reason = reason if reason in Aborted.REASONS else "peer-misbehaved"
        message = "".join(c if c.isprintable() else " " for c in message)[:REASON_CHARS_MAX]
        authenticated = False
        if tag and self._keys is not None and self._tags is not None and not self._tags.spent(self._theirs):
            self._catch_up()
            with contextlib.suppress(AuthenticationError):
                self._tags.verify(self._theirs, tag, header, text)
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

    def _absorb(self, direction: int, frame: bytes) -> None:
        """Add a frame to the transcript; the taggers take in a large one, or many small ones together."""
        n_bytes = len(frame)
        self._gathered += (ABSORBED.pack(direction, n_bytes), frame)
        n_bytes += ABSORBED.size
        self.transcript_bytes += n_bytes
        self._gathered_bytes += n_bytes
        if self._gathered_bytes >= GATHER_BYTES:
            self._catch_up()

    def _catch_up(self) -> None:
        """Let both tags take in what was gathered, once they are there."""
        if self._tags is None:
            return
        pieces = self._gathered
        if pieces and len(pieces[-1]) >= GATHER_BYTES:  # by itself: it is not worth copying
            pieces = [b"".join(pieces[:-1]), pieces[-1]]
        else:
            pieces = [b"".join(pieces)]
        self._gathered = []
        self._gathered_bytes = 0
        for piece in pieces:
            self._tags.update(piece)

    def _count_sent(self, frame: bytes) -> None:
        numbers = self.statistics
        numbers.messages_sent += 1
        numbers.bytes_sent += len(frame)
        self._listening = False

    def _count_received(self, frame: bytes) -> None:
        numbers = self.statistics
        numbers.messages_received += 1
        numbers.bytes_received += len(frame)
        numbers.rounds += not self._listening
        self._listening = True
