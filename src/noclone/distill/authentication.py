"""The authentication pool of a link: secret bits that both ends share, spent on tags and refilled from distilled key.

In: the initial secret that was carried out of band, later a share of each block's key.  Out: for each block one fresh
256-bit key per direction (512 bits in all), so that no tag key ever serves two messages.
The pool is a set of segments, each a row of key pairs (Alice's tag key, then Bob's). Segment 0 is the initial secret;
block b refills segment b + 1. Both ends name what they hold, and take the first pair that neither has used, in the
oldest segment that both have; so an end that crashed, or that missed a refill, falls in step without any key being
used twice. A pair counts as used from the moment that its use is durable (`Ledger.mark`), which comes before the use.
Hellos are not authenticated yet, so whoever forges one can make an end spend a pair far ahead: that pair alone is then
spent, and those before it stay for the real peer. Only when the peer's tag has verified is its mark believed.
Why one key per tag: Bernstein 2005 for the bound; keeping r and renewing only s drags in Abidin, Larsson 2011
(arXiv:1109.5168), where partial knowledge of the pad wears the hash out.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from noclone.crypto.wegman_carter import KEY_BYTES, OneTimeKey
from noclone.errors import Aborted, InputError

Role = Literal["alice", "bob"]

PAIR_BYTES = 2 * KEY_BYTES
PAIR_BITS = 8 * PAIR_BYTES
INITIAL_SEGMENT = 0
SEGMENTS_MAX = 512
AHEAD_MAX = 256  # spent pairs beyond an unspent one that an end lists; each costs an attacker a spoiled block
RELEASED_MAX = 64


class Ledger(Protocol):
    """What must survive a crash. Each call returns only when what it was told is durable."""

    def mark(self, segment: int, used_pairs: int, block: int, ahead: Sequence[int] = ()) -> None:
        """Record that the first `used_pairs` of `segment` and those `ahead` are spent, and that `block` was tried."""
        ...

    def refill(self, segment: int, key: bytes, cumulative_epsilon: float) -> None:
        """Keep new key, sealed, and what the link's key may fail by so far."""
        ...


class MemoryLedger:
    """A ledger for one process: it forgets when the process ends."""

    def mark(self, segment: int, used_pairs: int, block: int, ahead: Sequence[int] = ()) -> None:
        """Record nothing."""

    def refill(self, segment: int, key: bytes, cumulative_epsilon: float) -> None:
        """Keep nothing."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one segment is used at one end, in pairs. Public.

    Args:
        used: Pairs that are spent without a gap from the first.
        ahead: Further spent pairs, rising, beyond the first unspent one.
    """

    segment: int
    used: int
    total: int
    ahead: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (0 <= self.segment < 1 << 63 and 0 <= self.used <= self.total < 1 << 40):
            raise ValueError("a mark must lie within its segment")
        if len(self.ahead) > AHEAD_MAX or list(self.ahead) != sorted({*self.ahead}):
            raise ValueError("spent pairs must be listed once, rising, and be few")
        if self.ahead and not self.used < self.ahead[0] <= self.ahead[-1] < self.total:
            raise ValueError("spent pairs must lie beyond the first unspent one")


class TagKeys:
    """The pair of keys of one block, held in memory and not yet spent. Never shows its bytes."""

    def __init__(self, pool: AuthenticationPool, segment: int, pair: int, block: int, own: bytes, peer: bytes) -> None:
        self._pool = pool
        self._place = (segment, pair)
        self._block = block
        self.own = OneTimeKey(own)
        self.peer = OneTimeKey(peer)
        self.committed = False

    def commit(self) -> None:
        """Make it durable that these keys are spent; call this before the first tag is sent or checked."""
        if not self.committed:
            self._pool._commit(self._place, self._block)
            self.committed = True

    def settle(self) -> None:
        """Believe the peer's mark: its tag has verified, so every pair before this one is spent at its end."""
        self._pool._settle(self._place, self._block)

    def release(self) -> None:
        """Forget the keys; a pair that was never committed may serve a later block."""
        self.own.erase()
        self.peer.erase()
        self._pool._release(self._place)


class _Segment:
    """A row of key pairs, of which the spent ones are zeros."""

    def __init__(self, key: bytes, used: int) -> None:
        total = len(key) // PAIR_BYTES
        if not 0 <= used <= total:
            raise InputError(f"an authentication segment of {total} key pairs cannot have {used} of them used")
        self.key = bytearray(key[: total * PAIR_BYTES])
        self.total = total
        self.used = 0
        zeros = bytes(PAIR_BYTES)
        self.ahead = {i for i in range(used, total) if self.key[i * PAIR_BYTES : (i + 1) * PAIR_BYTES] == zeros}
        self.spend_before(used)

    @property
    def left(self) -> int:
        """Unspent pairs."""
        return self.total - self.used - len(self.ahead)

    def spend(self, pair: int) -> None:
        """Forget one pair."""
        self.key[pair * PAIR_BYTES : (pair + 1) * PAIR_BYTES] = bytes(PAIR_BYTES)
        if pair >= self.used:
            self.ahead.add(pair)
        self._close_up()
        if len(self.ahead) > AHEAD_MAX:
            self.spend_before(min(self.ahead))

    def spend_before(self, pair: int) -> None:
        """Forget every pair before `pair`."""
        if pair > self.used:
            self.key[self.used * PAIR_BYTES : pair * PAIR_BYTES] = bytes((pair - self.used) * PAIR_BYTES)
            self.used = pair
        self._close_up()

    def _close_up(self) -> None:
        while self.used in self.ahead:
            self.used += 1
        self.ahead = {pair for pair in self.ahead if pair > self.used}


class AuthenticationPool:
    """One end's view of the secret bits that authenticate a link.

    Thread-safe.

    Args:
        role: Which end this is: it decides which key of a pair tags and which one checks.
        segments: Key and used pairs by segment number; segment 0 is the initial secret.
        ledger: What makes marks and refills durable.
        last_block: Number of the last block that was tried; a block is never tried twice.
        cumulative_epsilon: Total failure probability of all key distilled on this link so far.
    """

    def __init__(
        self,
        role: Role,
        segments: Mapping[int, tuple[bytes, int]],
        *,
        ledger: Ledger | None = None,
        last_block: int = -1,
        cumulative_epsilon: float = 0.0,
    ) -> None:
        self.role: Role = role
        self.ledger = ledger or MemoryLedger()
        self.last_block = last_block
        self.cumulative_epsilon = cumulative_epsilon
        self.consumed_bits = 0
        self.refilled_bits = 0
        self._lock = threading.RLock()
        self._segments = {number: _Segment(*segment) for number, segment in sorted(segments.items())}
        self._outstanding: set[tuple[int, int]] = set()
        self._undertaken: dict[int, float] = {}
        self._released: list[int] = []

    @classmethod
    def from_secret(cls, role: Role, secret: bytes, *, ledger: Ledger | None = None) -> AuthenticationPool:
        """Return the pool of a link whose ends share nothing but an initial secret, of at least 64 bytes."""
        if len(secret) < PAIR_BYTES:
            raise InputError(
                f"the initial authentication secret has {len(secret)} bytes; one block takes {PAIR_BYTES}",
                hint="make a new one with `noclone pki` and carry it to both ends",
            )
        return cls(role, {INITIAL_SEGMENT: (secret, 0)}, ledger=ledger)

    @property
    def available_bits(self) -> int:
        """Key bits that this end has left."""
        with self._lock:
            return sum(PAIR_BITS * (mark.total - mark.used - len(mark.ahead)) for mark in self.marks())

    @property
    def released(self) -> tuple[int, ...]:
        """The newest blocks whose key this end released, for the peer to know."""
        with self._lock:
            return tuple(self._released)

    def marks(self) -> tuple[Mark, ...]:
        """Return how far each segment is used, counting keys that a block in progress holds."""
        with self._lock:
            return tuple(self._mark(number) for number in self._segments)

    def begin(self, block: int) -> None:
        """Note that a block is being tried.

        A second try with the same detections would tell the world more about them than was counted.

        Raises:
            InputError: It, or a later one, was tried before.
        """
        with self._lock:
            if block <= self.last_block:
                raise InputError(
                    f"block {block} of this link was tried before (the last was {self.last_block})",
                    hint="a block is distilled once; go on with the next one",
                )
            self.last_block = block

    def undertake(self, block: int, epsilon: float) -> float:
        """Note that a block is under way and what it may fail by, at most; `conclude` ends this.

        Returns:
            What the link's key may fail by before this block: its released blocks, and all others that are under way.
        """
        with self._lock:
            others = sum(most for number, most in self._undertaken.items() if number != block)
            self._undertaken[block] = epsilon
            return self.cumulative_epsilon + others

    def conclude(self, block: int) -> None:
        """Note that a block is not under way any more."""
        with self._lock:
            self._undertaken.pop(block, None)

    def reserve(self, own: Sequence[Mark], peer: Sequence[Mark], block: int) -> TagKeys:
        """Take the first pair that neither end has used.

        Args:
            own: What we told the peer in this block.
            peer: What it told us.
            block: Which block the keys are for.

        Raises:
            Aborted: No pair is left, or the two ends have drifted too far apart.
        """
        with self._lock:
            segment, pair = choose_pair(own, peer)
            held = self._segments[segment]
            if (segment, pair) in self._outstanding or pair < held.used or pair in held.ahead:
                raise Aborted("authentication-failed", "two blocks at once want the same authentication key")
            start = pair * PAIR_BYTES
            alice = bytes(held.key[start : start + KEY_BYTES])
            bob = bytes(held.key[start + KEY_BYTES : start + PAIR_BYTES])
            self._outstanding.add((segment, pair))
            mine, theirs = (alice, bob) if self.role == "alice" else (bob, alice)
            return TagKeys(self, segment, pair, block, mine, theirs)

    def deposit(self, block: int, key: bytes, cumulative_epsilon: float) -> None:
        """Take in what a released block gives back, and what the link's key may fail by so far."""
        if len(key) % PAIR_BYTES:
            raise ValueError("a refill is whole key pairs")
        with self._lock:
            self.ledger.refill(block + 1, key, cumulative_epsilon)
            if key:
                self._segments[block + 1] = _Segment(key, 0)
            self.refilled_bits += 8 * len(key)
            self.cumulative_epsilon = max(self.cumulative_epsilon, cumulative_epsilon)
            self._released = [*self._released, block][-RELEASED_MAX:]
            self._forget_spent()

    def _mark(self, segment: int) -> Mark:
        held = self._segments[segment]
        taken = held.ahead | {pair for number, pair in self._outstanding if number == segment and pair >= held.used}
        used = held.used
        while used in taken:
            used += 1
        ahead = sorted(pair for pair in taken if pair > used)
        return Mark(segment, used, held.total, tuple(ahead[:AHEAD_MAX]))

    def _commit(self, place: tuple[int, int], block: int) -> None:
        segment, pair = place
        with self._lock:
            held = self._segments[segment]
            left = held.left
            held.spend(pair)
            self.ledger.mark(segment, held.used, block, sorted(held.ahead))
            self.consumed_bits += PAIR_BITS * (left - held.left)

    def _settle(self, place: tuple[int, int], block: int) -> None:
        segment, pair = place
        with self._lock:
            held = self._segments.get(segment)
            if held is not None and held.used <= pair:
                left = held.left
                held.spend_before(pair + 1)
                self.consumed_bits += PAIR_BITS * (left - held.left)
                self.ledger.mark(segment, held.used, block, sorted(held.ahead))

    def _release(self, place: tuple[int, int]) -> None:
        with self._lock:
            self._outstanding.discard(place)

    def _forget_spent(self) -> None:
        """Drop segments that are used up, and the oldest ones beyond what a hello may list."""
        busy = {segment for segment, _ in self._outstanding}
        idle = [number for number in self._segments if number not in busy]
        excess = len(self._segments) - SEGMENTS_MAX
        for position, number in enumerate(idle):
            if position < excess or self._segments[number].used == self._segments[number].total:
                self._segments.pop(number).key[:] = b""


def common_pairs(own: Sequence[Mark], peer: Sequence[Mark]) -> int:
    """Return how many key pairs the two ends have left together. Both compute the same number."""
    return sum(mark.total - start - len(spent) for mark, start, spent in _common(own, peer))


def choose_pair(own: Sequence[Mark], peer: Sequence[Mark]) -> tuple[int, int]:
    """Return segment and number of the first pair that neither end has used, in the oldest segment that has one.

    The larger mark wins; both ends choose alike.

    Raises:
        Aborted: There is none.
    """
    for mark, start, spent in _common(own, peer):
        pair = start
        while pair in spent:
            pair += 1
        if pair < mark.total:
            return mark.segment, pair
    raise Aborted(
        "authentication-key-exhausted",
        "the two ends share no unused authentication key",
        hint="make a new initial secret with `noclone pki` and carry it to both ends out of band",
    )


def _common(own: Sequence[Mark], peer: Sequence[Mark]) -> list[tuple[Mark, int, set[int]]]:
    """Return segments that both ends hold, oldest first: where unspent pairs begin, and which beyond are spent."""
    theirs = {mark.segment: mark for mark in peer}
    found = []
    for mark in sorted(own, key=lambda mark: mark.segment):
        other = theirs.get(mark.segment)
        if other is not None and other.total == mark.total:
            start = max(mark.used, other.used)
            found.append((mark, start, {pair for pair in (*mark.ahead, *other.ahead) if pair >= start}))
    return found
