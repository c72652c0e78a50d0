"""Sifting: from what each party holds to the bits where both chose the same basis.

In: Bob's `Detections`, Alice's `Settings`.  Out: a `Sieve` each: key-basis bits, test-basis bits, and the intensity of
every one of them. What crosses: Bob's slots and bases (never a value), then Alice's matches and intensities.
Announcements go in chunks of 2^19 detections, so memory beyond the result stays small however long the block is:

    announcement    count u32 | widths: a byte for each 64 detections | planes: 8 bytes each | bases: one bit each
    answer          matches: one bit each | low bit of each match's intensity | high bit, with three intensities or more

Widths and planes are explained in `gaps`. Everything is worked on 64 detections at a time: a comparison of bases is one
operation on two words, and the bits that match are gathered from a word by one more.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words, count_ones, word_count
from noclone.distill.bit_kernels import BITS, gather, ones, plane_of_bytes, spread
from noclone.distill.gaps import GROUP, PLANES_BEHIND, WIDTH_MAX, read_slots, write_events
from noclone.errors import Aborted, InputError
from noclone.kernels import inner, kernel
from noclone.records import U8, U64, Basis

CHUNK = 1 << 19
COUNT = struct.Struct(">I")
ANNOUNCEMENT_BYTES_MAX = COUNT.size + CHUNK // GROUP * (1 + 8 * WIDTH_MAX) + CHUNK // 8
ROOM_MAX = 1 << 26  # bits; 24 MB, of which a sieve fills what it needs
ROWS = 3  # of a sieve: values, low and high bits of intensities
Levels = tuple[Words, ...]  # low and high bits of Alice's intensities; where Bob sends, too, then those of his


@dataclass(slots=True)
class Sieve:
    """One party's sifted bits, growing chunk by chunk.

    Args:
        rows: By basis: values, and the low and the high bits of Alice's intensity indices, packed. The first `n` count.
        sums: By basis: bits so far, and how many of them have an intensity with the low bit set, the high bit, both.
        beside: A second sieve with the same bits' intensities of Bob's, where he sends, too; see `pair_sifting`.
    """

    rows: list[NDArray[np.uint64]] = field(repr=False)
    sums: NDArray[np.int64]
    beside: Sieve | None = None

    @classmethod
    def empty(cls, room: int = 0, *, peers: int = 1) -> Sieve:
        """Return a sieve that holds nothing yet, with room for so many bits (but not more than is cheap to promise).

        Args:
            peers: How many intensities Bob tells apart.
        """
        words = word_count(min(room, ROOM_MAX)) + 2
        beside = cls.empty(room) if peers > 1 else None
        return cls([_rows(words) for _ in Basis], np.zeros((len(Basis), 4), np.int64), beside)

    @property
    def n(self) -> NDArray[np.int64]:
        """Bits so far, by basis."""
        return self.sums[:, 0]

    def reserve(self, more: int) -> None:
        """Make room for `more` bits in either basis."""
        for basis, rows in enumerate(self.rows):
            need = word_count(int(self.sums[basis, 0]) + more) + 2  # `put` writes into the word behind
            if need > rows.shape[1]:
                grown = _rows(max(need, rows.shape[1] * 3 // 2))
                grown[:, : rows.shape[1]] = rows
                self.rows[basis] = grown

    def bits(self, basis: Basis) -> Words:
        """Return the packed bits of one basis; unused high bits are zero."""
        return self._row(basis, 0)

    def levels(self, basis: Basis) -> Levels:
        """Return the low and the high bits of the intensity of each bit of one basis."""
        own = self._row(basis, 1), self._row(basis, 2)
        return own if self.beside is None else (*own, *self.beside.levels(basis))

    def tally(self, basis: Basis, intensities: int, peers: int = 1) -> tuple[int, ...]:
        """Return how many bits of one basis came from each intensity, or pair of intensities."""
        if self.beside is None:
            return by_level(*self.sums[basis].tolist())[:intensities]
        n = int(self.n[basis])
        every = np.full(word_count(n), ~np.uint64(0))
        if n % 64:
            every[-1] = np.uint64((1 << n % 64) - 1)
        return count_classes(every, self.levels(basis), intensities, peers)

    def replace_key(self, bits: Words, n: int) -> None:
        """Hold these bits of the key basis instead, all of the first intensity."""
        self.rows[Basis.KEY] = _rows(word_count(n) + 2)
        self.rows[Basis.KEY][:] = 0
        self.rows[Basis.KEY][0, : len(bits)] = bits
        self.sums[Basis.KEY] = (n, 0, 0, 0)
        if self.beside is not None:
            self.beside.replace_key(np.zeros_like(bits), n)

    def _row(self, basis: Basis, row: int) -> Words:
        words: Words = self.rows[basis][row, : word_count(int(self.n[basis]))]
        return words


def _rows(words: int) -> NDArray[np.uint64]:
    """Return a sieve's memory for one basis: `put` fills a word before it adds to it, but for the first."""
    rows = np.empty((ROWS, words), np.uint64)
    rows[:, 0] = 0
    return rows


def count_classes(chosen: Words, levels: Levels, intensities: int, peers: int = 1) -> tuple[int, ...]:
    """Return how many chosen bits there are of each intensity of Alice's, or of each pair of hers and Bob's."""
    if peers == 1:
        return _count_levels(chosen, levels[0], levels[1])[:intensities]
    found: list[int] = []
    for one in range(intensities):
        low, high = (row if one >> k & 1 else ~row for k, row in enumerate(levels[:2]))
        found.extend(_count_levels(chosen & low & high, levels[2], levels[3])[:peers])
    return tuple(found)


def _count_levels(chosen: Words, low: Words, high: Words) -> tuple[int, ...]:
    low, high = chosen & low, chosen & high
    return by_level(count_ones(chosen), count_ones(low), count_ones(high), count_ones(low & high))


def by_level(total: int, low: int, high: int, both: int) -> tuple[int, ...]:
    """Return how many have each intensity, from how many have its low bit, its high bit, or both."""
    return total - low - high + both, low - both, high - both, both


@dataclass(frozen=True, slots=True)
class Announced:
    """What Bob keeps of the detections of one announcement."""

    count: int
    bases: Words
    values: Words = field(repr=False)


class Announcer:
    """Bob's end of the announcement. Its memory serves chunk after chunk."""

    def __init__(self, events: U64) -> None:
        self._events = np.require(events, requirements=("C", "W"))  # kernels are compiled for such arrays only
        groups = word_count(min(CHUNK, len(events)))
        self._widths = np.empty(groups, np.uint8)
        self._planes = np.empty((WIDTH_MAX + 8) * groups, np.uint64)  # untouched pages cost nothing

    def announce(self, start: int) -> tuple[list[bytes | memoryview], Announced]:
        """Return the announcement of up to `CHUNK` detections from number `start` on, and what Bob keeps of them.

        The announcement is in pieces, of which some lie in this object's memory until the next is asked for.

        Raises:
            InputError: Their slots do not rise.
        """
        events = self._events[start : start + CHUNK]
        count = len(events)
        groups = word_count(count)
        widths, planes = self._widths[:groups], self._planes
        kept = Announced(count, np.empty(groups, np.uint64), np.empty(groups, np.uint64))
        previous = int(self._events[start - 1] >> np.uint64(16)) if start else -1
        used = write_events(events, np.int64(previous), widths, planes, kept.bases, kept.values)
        if used < 0:
            raise InputError("the detections of a block are not in the order of their slots, or two are in one slot")
        little = planes[:used].astype("<u8", copy=False).view(np.uint8)
        return [COUNT.pack(count), widths.data, little.data, _bytes(kept.bases, count)], kept


@dataclass(frozen=True, slots=True)
class Announcement:
    """A chunk of Bob's announcement, read and checked."""

    slots: U64
    bases: Words

    @classmethod
    def read(cls, data: bytes | memoryview, previous: int, n_slots: int, room: U64 | None = None) -> Announcement:
        """Read one chunk.

        Args:
            previous: Last slot of the chunk before, -1 at the start of the block.
            n_slots: Slots in the block.
            room: Memory for `CHUNK` slots, to be used again for the chunk behind this one.

        Raises:
            Aborted: It is malformed, or names slots that do not rise or do not exist.
        """
        count = COUNT.unpack_from(data)[0] if len(data) >= COUNT.size else CHUNK + 1
        if count > CHUNK:
            raise _misbehaved("an announcement of detections is malformed")
        start = COUNT.size + word_count(count)
        end = len(data) - (count + 7) // 8
        if end < start or (end - start) % 8:
            raise _misbehaved("an announcement of detections is truncated")
        raw = np.frombuffer(data, np.uint8)
        if len(data) - end < 8 * PLANES_BEHIND:
            raw = np.concatenate((raw, np.zeros(8 * PLANES_BEHIND, np.uint8)))
        at = raw.ctypes.data
        slots = np.empty(count, np.uint64) if room is None else room[:count]
        if not read_slots(at + COUNT.size, at + start, (end - start) // 8, previous, n_slots, slots):
            raise _misbehaved("an announcement names slots that were never sent, or not in the one way to name them")
        return cls(slots, _words(raw[end : len(data)], count))


def answer(announcement: Announcement, codes: U8, intensities: int, sieve: Sieve) -> bytes:
    """Put Alice's matching bits into her sieve, and return her answer to one chunk."""
    count = len(announcement.slots)
    groups = word_count(count)
    sieve.reserve(count)
    matches, told = np.empty(groups, np.uint64), _told(groups)
    codes = np.require(codes, np.uint8, ("C", "W"))
    key, test = sieve.rows
    matched = sift_settings(BITS, codes, announcement.bases, matches, told, key, test, sieve.sums)
    planes = [_bytes(told[k], matched) for k in range(level_bits(intensities))]
    return b"".join((_bytes(matches, count), *planes))


def apply_answer(announced: Announced, data: bytes | memoryview, intensities: int, sieve: Sieve) -> None:
    """Put Bob's matching bits into his sieve as Alice's answer to one chunk says.

    Raises:
        Aborted: The answer is malformed.
    """
    count = announced.count
    match_bytes = (count + 7) // 8
    if len(data) < match_bytes:
        raise _misbehaved("the answer to an announcement is truncated")
    raw = np.frombuffer(data, np.uint8)
    matches = _words(raw[:match_bytes], count)
    matched = count_ones(matches)
    level_bytes = (matched + 7) // 8
    if len(data) != match_bytes + level_bits(intensities) * level_bytes:
        raise _misbehaved("the answer to an announcement does not hold one intensity for each match")
    told = np.zeros((2, word_count(matched) + 2), np.uint64)
    for k in range(level_bits(intensities)):
        told[k, : word_count(matched)] = _words(raw[match_bytes + k * level_bytes :][:level_bytes], matched)
    if intensities == 3 and (told[0] & told[1]).any():
        raise _misbehaved("the answer to an announcement names intensity 3 of 3")
    sieve.reserve(count)
    key, test = sieve.rows
    sift_detections(BITS, announced.values, announced.bases, matches, told, key, test, sieve.sums)


def level_bits(intensities: int) -> int:
    """Return how many bits name an intensity."""
    return (intensities - 1).bit_length()


def _misbehaved(message: str) -> Aborted:
    return Aborted("peer-misbehaved", message, hint="the other end runs different software, or somebody is between")


def _bytes(words: Words, count: int) -> memoryview:
    return words.astype("<u8", copy=False).view(np.uint8).data[: (count + 7) // 8]


def _told(words: int) -> NDArray[np.uint64]:
    """Return memory for two rows of intensities' bits: `put` fills a word before it adds to it, but for the first."""
    told = np.empty((2, words + 2), np.uint64)
    told[:, 0] = 0
    return told


def _words(raw: U8, count: int) -> Words:
    """Read `count` packed bits; bits beyond must be zero, or the same bits could be said in two ways."""
    padded = np.zeros(8 * word_count(count), np.uint8)
    padded[: len(raw)] = raw
    words: Words = padded.view("<u8").astype(np.uint64, copy=False)
    if count % 64 and int(words[-1]) >> (count % 64):
        raise _misbehaved("a row of bits has ones behind its end")
    return words


@inner
def put(row, at, bits):  # type: ignore[no-untyped-def]
    """Write `bits` into a packed row from bit `at` on; whatever they are too many for goes into the word behind."""
    word, shift = at >> 6, np.uint64(at & 63)
    row[word] |= bits << shift
    row[word + 1] = (bits >> np.uint64(1)) >> (np.uint64(63) - shift)


@inner
def cut(row, at):  # type: ignore[no-untyped-def]
    """Return the 64 bits of a packed row from bit `at` on."""
    word, shift = at >> 6, np.uint64(at & 63)
    return (row[word] >> shift) | ((row[word + 1] << np.uint64(1)) << (np.uint64(63) - shift))


@kernel
def sift_settings(token, codes, theirs, matches, told, key, test, sums):  # type: ignore[no-untyped-def]
    """Append Alice's bits where she has one and the bases agree; write matches and their intensities; count matches."""
    key_sums, test_sums, matched = _row(sums, np.int64(0)), _row(sums, np.int64(1)), np.int64(0)
    padded = np.zeros(GROUP, np.uint8)
    at = np.int64(codes.ctypes.data)
    every = ~np.uint64(0)
    for group in range(len(matches)):
        rest = len(codes) - GROUP * group
        if rest < GROUP:
            for i in range(rest):
                padded[i] = codes[GROUP * group + i]
            at = np.int64(padded.ctypes.data)
            every = (np.uint64(1) << np.uint64(rest)) - np.uint64(1)
        value, low, high = plane_of_bytes(at, 0), plane_of_bytes(at, 2), plane_of_bytes(at, 3)
        same = ~(plane_of_bytes(at, 1) ^ theirs[group]) & ~plane_of_bytes(at, 4) & every
        at += GROUP
        matches[group] = same
        put(told[0], matched, gather(token, low, same))
        put(told[1], matched, gather(token, high, same))
        matched += np.int64(ones(same))
        key_sums = _keep(token, key, key_sums, value, low, high, same & ~theirs[group])
        test_sums = _keep(token, test, test_sums, value, low, high, same & theirs[group])
    for k in range(4):
        sums[0, k], sums[1, k] = key_sums[k], test_sums[k]
    return matched


@kernel
def sift_detections(token, values, bases, matches, told, key, test, sums):  # type: ignore[no-untyped-def]
    """Append Bob's bits where Alice says that the bases agree, with the intensities that she told."""
    key_sums, test_sums, matched = _row(sums, np.int64(0)), _row(sums, np.int64(1)), np.int64(0)
    for group in range(len(matches)):
        same, basis = matches[group], bases[group]
        low, high = spread(token, cut(told[0], matched), same), spread(token, cut(told[1], matched), same)
        matched += np.int64(ones(same))
        key_sums = _keep(token, key, key_sums, values[group], low, high, same & ~basis)
        test_sums = _keep(token, test, test_sums, values[group], low, high, same & basis)
    for k in range(4):
        sums[0, k], sums[1, k] = key_sums[k], test_sums[k]


@inner
def _row(sums, basis):  # type: ignore[no-untyped-def]
    """Return the sums of one basis, for the processor's registers: in memory, every word that is written is a doubt."""
    return sums[basis, 0], sums[basis, 1], sums[basis, 2], sums[basis, 3]


@inner
def _keep(token, rows, sums, value, low, high, chosen):  # type: ignore[no-untyped-def]
    """Append the chosen bits of a group to one basis' rows; return its sums with them."""
    put(rows[0], sums[0], gather(token, value, chosen))
    put(rows[1], sums[0], gather(token, low, chosen))
    put(rows[2], sums[0], gather(token, high, chosen))
    return (
        sums[0] + np.int64(ones(chosen)),
        sums[1] + np.int64(ones(chosen & low)),
        sums[2] + np.int64(ones(chosen & high)),
        sums[3] + np.int64(ones(chosen & low & high)),
    )
