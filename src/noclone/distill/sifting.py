"""Sifting: from what each party holds to the bits where both chose the same basis.

In: Bob's `Detections`, Alice's `Settings`.  Out: a `Sieve` each: key-basis bits, test-basis bits, and the intensity of
every one of them. What crosses: Bob's slots and bases (never a value), then Alice's matches and intensities.
Announcements go in chunks of 2^20 detections, so memory beyond the result stays small however long the block is:

    announcement    count u32 | gaps: one varint each | bases: one bit each
    answer          matches: one bit each | intensities: two bits for each match

A gap is this slot minus the one before, minus 1; the first counts from slot -1 (of the block, not of the chunk).
A varint has seven bits to the byte, lowest first, the top bit set on all bytes but the last.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from noclone.bits import Words, word_count
from noclone.errors import Aborted
from noclone.records import MAX_INTENSITIES, U8, U64, Basis

CHUNK = 1 << 20
COUNT = struct.Struct(">I")
VARINT_BYTES_MAX = 7  # 48-bit slot numbers
ANNOUNCEMENT_BYTES_MAX = COUNT.size + CHUNK * VARINT_BYTES_MAX + CHUNK // 8


@dataclass(slots=True)
class Sieve:
    """One party's sifted bits, growing chunk by chunk. The first `n` of each array count.

    Args:
        words: Packed bits by basis: key, test.
        intensity: Alice's intensity index of each bit, by basis.
        n: Bits so far, by basis.
        counts: How many of each intensity, by basis.
    """

    words: tuple[Words, Words] = field(repr=False)
    intensity: tuple[U8, U8] = field(repr=False)
    n: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, MAX_INTENSITIES), np.int64))

    @classmethod
    def empty(cls) -> Sieve:
        """Return a sieve that holds nothing yet."""
        return cls((np.zeros(0, np.uint64), np.zeros(0, np.uint64)), (np.zeros(0, np.uint8), np.zeros(0, np.uint8)))

    def reserve(self, more: int) -> None:
        """Make room for `more` bits in either basis."""
        for basis in Basis:
            need = int(self.n[basis]) + more
            if need > len(self.intensity[basis]):
                room = max(need, len(self.intensity[basis]) * 3 // 2)
                words, intensity = list(self.words), list(self.intensity)
                words[basis] = _grown(words[basis], word_count(room) + 1)
                intensity[basis] = _grown(intensity[basis], room)
                self.words = (words[0], words[1])
                self.intensity = (intensity[0], intensity[1])

    def bits(self, basis: Basis) -> Words:
        """Return the packed bits of one basis; unused high bits are zero."""
        return self.words[basis][: word_count(int(self.n[basis]))]

    def tally(self, basis: Basis, intensities: int) -> tuple[int, ...]:
        """Return how many bits of one basis came from each intensity."""
        return tuple(int(count) for count in self.counts[basis, :intensities])


def announce(events: U64, start: int) -> bytes:
    """Return Bob's announcement of up to `CHUNK` detections from number `start` on."""
    stop = min(start + CHUNK, len(events))
    count = stop - start
    previous = int(events[start - 1] >> np.uint64(16)) if start else -1
    gaps = np.empty(VARINT_BYTES_MAX * count, np.uint8)
    bases = np.zeros(word_count(count), np.uint64)
    size = encode_events(events[start:stop], previous, gaps, bases)
    return COUNT.pack(count) + gaps[:size].tobytes() + _bytes(bases, count)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A chunk of Bob's announcement, read and checked."""

    slots: U64
    bases: Words

    @classmethod
    def read(cls, data: bytes, previous: int, n_slots: int) -> Announcement:
        """Read one chunk.

        Args:
            previous: Last slot of the chunk before, -1 at the start of the block.
            n_slots: Slots in the block.

        Raises:
            Aborted: It is malformed, or names slots that do not rise or do not exist.
        """
        count = COUNT.unpack_from(data)[0] if len(data) >= COUNT.size else CHUNK + 1
        if count > CHUNK:
            raise _misbehaved("an announcement of detections is malformed")
        base_bytes = (count + 7) // 8
        end = len(data) - base_bytes
        if end < COUNT.size + count:
            raise _misbehaved("an announcement of detections is truncated")
        slots = np.empty(count, np.uint64)
        used = decode_slots(np.frombuffer(data, np.uint8)[COUNT.size : end], previous, n_slots, slots)
        if used != end - COUNT.size:
            raise _misbehaved("an announcement names slots that do not rise or that were never sent")
        return cls(slots, _words(data[end:], count))


def answer(announcement: Announcement, codes: U8, sieve: Sieve) -> bytes:
    """Put Alice's matching bits into her sieve, and return her answer to one chunk."""
    count = len(announcement.slots)
    sieve.reserve(count)
    matches = np.zeros(word_count(count), np.uint64)
    intensities = np.zeros((count + 3) // 4, np.uint8)
    matched = sift_settings(
        codes,
        announcement.bases,
        matches,
        intensities,
        sieve.words[0],
        sieve.intensity[0],
        sieve.words[1],
        sieve.intensity[1],
        sieve.n,
        sieve.counts,
    )
    return _bytes(matches, count) + intensities[: (matched + 3) // 4].tobytes()


def apply_answer(events: U64, data: bytes, intensities: int, sieve: Sieve) -> None:
    """Put Bob's matching bits into his sieve as Alice's answer to one chunk says.

    Raises:
        Aborted: The answer is malformed.
    """
    count = len(events)
    match_bytes = (count + 7) // 8
    if len(data) < match_bytes:
        raise _misbehaved("the answer to an announcement is truncated")
    matches = _words(data[:match_bytes], count)
    matched = int(np.bitwise_count(matches).sum())
    packed = np.frombuffer(data, np.uint8)[match_bytes:]
    if len(packed) != (matched + 3) // 4:
        raise _misbehaved("the answer to an announcement does not hold one intensity for each match")
    sieve.reserve(count)
    largest = sift_detections(
        events,
        matches,
        packed,
        sieve.words[0],
        sieve.intensity[0],
        sieve.words[1],
        sieve.intensity[1],
        sieve.n,
        sieve.counts,
    )
    if largest >= intensities:
        raise _misbehaved(f"the answer to an announcement names intensity {largest} of {intensities}")


def _misbehaved(message: str) -> Aborted:
    return Aborted("peer-misbehaved", message, hint="the other end runs different software, or somebody is between")


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    out = np.zeros(size, array.dtype)
    out[: len(array)] = array
    return out


def _bytes(words: Words, count: int) -> bytes:
    return words.astype("<u8", copy=False).view(np.uint8)[: (count + 7) // 8].tobytes()


def _words(data: bytes, count: int) -> Words:
    """Read `count` packed bits; bits beyond must be zero, or the same bits could be said in two ways."""
    raw = np.zeros(8 * word_count(count), np.uint8)
    raw[: len(data)] = np.frombuffer(data, np.uint8)
    words: Words = raw.view("<u8").astype(np.uint64, copy=False)
    if count % 64 and int(words[-1]) >> (count % 64):
        raise _misbehaved("a row of bits has ones behind its end")
    return words


@njit(cache=True, nogil=True)
def encode_events(events, previous, gaps, bases):  # type: ignore[no-untyped-def]
    """Write each event's gap as a varint and its basis as a bit; return how many bytes the gaps took."""
    at = 0
    last = np.int64(previous)
    for i in range(len(events)):
        slot = np.int64(events[i] >> np.uint64(16))
        gap = slot - last - 1
        last = slot
        while gap >= 128:
            gaps[at] = np.uint8((gap & 127) | 128)
            gap >>= 7
            at += 1
        gaps[at] = np.uint8(gap)
        at += 1
        bases[i >> 6] |= ((events[i] >> np.uint64(1)) & np.uint64(1)) << np.uint64(i & 63)
    return at


@njit(cache=True, nogil=True)
def decode_slots(data, previous, n_slots, slots):  # type: ignore[no-untyped-def]
    """Read one slot for each element of `slots`; return how many bytes they took, or -1 if any is impossible."""
    at = 0
    slot = np.int64(previous)
    for i in range(len(slots)):
        gap = np.int64(0)
        shift = 0
        while True:
            if at >= len(data) or shift > 42:
                return -1
            byte = np.int64(data[at])
            at += 1
            gap |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        if byte == 0 and shift > 0:
            return -1
        slot += gap + 1
        if slot >= n_slots:
            return -1
        slots[i] = np.uint64(slot)
    return at


@njit(cache=True, nogil=True)
def sift_settings(  # type: ignore[no-untyped-def]
    codes, bases, matches, packed, key_words, key_intensity, test_words, test_intensity, n, counts
):
    """Append Alice's bits where the bases agree; write matches and packed intensities; return how many match.

    Free of branches: every slot is written to both sides, and only the cursor of the right one moves on.
    """
    n_key, n_test = n[0], n[1]
    matched = np.int64(0)
    for i in range(len(codes)):
        code = np.uint64(codes[i])
        value = code & np.uint64(1)
        basis = (code >> np.uint64(1)) & np.uint64(1)
        level = (code >> np.uint64(2)) & np.uint64(3)
        theirs = (bases[i >> 6] >> np.uint64(i & 63)) & np.uint64(1)
        same = np.uint64(1) ^ basis ^ theirs
        key = same & (np.uint64(1) ^ basis)
        test = same & basis
        matches[i >> 6] |= same << np.uint64(i & 63)
        packed[matched >> 2] |= np.uint8((level * same) << np.uint64(2 * (matched & 3)))
        matched += np.int64(same)
        key_words[n_key >> 6] |= (value & key) << np.uint64(n_key & 63)
        key_intensity[n_key] = np.uint8(level)
        n_key += np.int64(key)
        test_words[n_test >> 6] |= (value & test) << np.uint64(n_test & 63)
        test_intensity[n_test] = np.uint8(level)
        n_test += np.int64(test)
        counts[0, level] += np.int64(key)
        counts[1, level] += np.int64(test)
    n[0], n[1] = n_key, n_test
    return matched


@njit(cache=True, nogil=True)
def sift_detections(  # type: ignore[no-untyped-def]
    events, matches, packed, key_words, key_intensity, test_words, test_intensity, n, counts
):
    """Append Bob's bits where Alice says that the bases agree; return the largest intensity index she named."""
    n_key, n_test = n[0], n[1]
    matched = np.int64(0)
    largest = np.uint64(0)
    for i in range(len(events)):
        value = events[i] & np.uint64(1)
        basis = (events[i] >> np.uint64(1)) & np.uint64(1)
        same = (matches[i >> 6] >> np.uint64(i & 63)) & np.uint64(1)
        at = min(matched >> np.int64(2), np.int64(len(packed) - 1))  # past the last match nothing is left to read
        level = np.uint64(0)
        if at >= 0:
            level = same * ((np.uint64(packed[at]) >> np.uint64(2 * (matched & 3))) & np.uint64(3))
        matched += np.int64(same)
        largest = level if level > largest else largest
        key = same & (np.uint64(1) ^ basis)
        test = same & basis
        key_words[n_key >> 6] |= (value & key) << np.uint64(n_key & 63)
        key_intensity[n_key] = np.uint8(level)
        n_key += np.int64(key)
        test_words[n_test >> 6] |= (value & test) << np.uint64(n_test & 63)
        test_intensity[n_test] = np.uint8(level)
        n_test += np.int64(test)
        counts[0, level] += np.int64(key)
        counts[1, level] += np.int64(test)
    n[0], n[1] = n_key, n_test
    return largest
