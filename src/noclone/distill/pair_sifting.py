"""What sifting has to do beyond `sifting` where Bob sends, too: he announces his intensities, and both sort by pairs.

In: Bob's intensities of one announcement.  Out: on the wire, a row of bits for each bit of their index behind the
announcement; in each party's sieve, the same rows beside Alice's, for the bits that match.
"""

from __future__ import annotations

import numpy as np

from noclone.bits import Words
from noclone.distill.bit_kernels import BITS
from noclone.distill.sifting import COUNT, Announced, Sieve, level_bits, sift_detections, sift_settings
from noclone.errors import Aborted
from noclone.records import U8, U64, Detections

LEVEL_SHIFT = np.uint64(Detections.ARRIVAL_SHIFT)


def peer_levels_of(events: U64, *, of_tests: bool = False) -> U8:
    """Return the index of Bob's intensity of each detection.

    Args:
        of_tests: Of those in the test basis alone, and 0 for others: where sending or not is the bit, the intensity
            tells it, and must not be announced.
    """
    levels = (events >> LEVEL_SHIFT).astype(np.uint8)
    return np.where(events & np.uint64(Detections.BASIS), levels, 0).astype(np.uint8) if of_tests else levels


def pack_levels(levels: U8, peer_levels: int) -> bytes:
    """Return Bob's intensities as they follow an announcement."""
    rows = range(level_bits(peer_levels))
    return b"".join(np.packbits(levels >> k & 1, bitorder="little").tobytes() for k in rows)


def split_levels(data: memoryview, peer_levels: int) -> tuple[memoryview, U8]:
    """Return the announcement itself, and Bob's intensities behind it.

    Raises:
        Aborted: They are not there, or not all exist.
    """
    rows = level_bits(peer_levels)
    if not rows:
        return data, np.zeros(0, np.uint8)
    count = COUNT.unpack_from(data)[0] if len(data) >= COUNT.size else 0
    size = (count + 7) // 8
    end = len(data) - rows * size
    if end < COUNT.size:
        raise _misbehaved("an announcement is too short for the intensities behind it")
    levels = np.zeros(count, np.uint8)
    for k in range(rows):
        row = np.frombuffer(data, np.uint8, size, end + k * size)
        bits = np.unpackbits(row, bitorder="little")
        if bits[count:].any():
            raise _misbehaved("a row of bits has ones behind its end")
        levels |= bits[:count] << k
    if count and levels.max() >= peer_levels:
        raise _misbehaved(f"an announcement names an intensity that is none of {peer_levels}")
    return data[:end], levels


def sift_sent(codes: U8, bases: Words, levels: U8, sieve: Sieve) -> None:
    """Put Bob's intensities into Alice's second sieve, where her codes match his bases."""
    sieve.reserve(len(levels))
    told = np.zeros((2, len(bases) + 2), np.uint64)
    beside = np.require(codes & 0x12 | levels << 2, np.uint8, ("C", "W"))
    key, test = sieve.rows
    sift_settings(BITS, beside, bases, np.zeros(len(bases), np.uint64), told, key, test, sieve.sums)


def sift_received(announced: Announced, levels: U8, answer: bytes | memoryview, sieve: Sieve) -> None:
    """Put his own intensities into Bob's second sieve, where Alice's answer (already checked) has matches."""
    count = announced.count
    raw = np.frombuffer(answer, np.uint8, (count + 7) // 8)
    matches = np.unpackbits(raw, bitorder="little")[:count].astype(bool)
    sieve.reserve(count)
    told = np.zeros((2, len(announced.bases) + 2), np.uint64)
    for k in (0, 1):
        told[k] = _words(levels[matches] >> k & 1, len(told[k]))
    nothing, agreed = np.zeros_like(announced.values), _words(matches, len(announced.bases))
    key, test = sieve.rows
    sift_detections(BITS, nothing, announced.bases, agreed, told, key, test, sieve.sums)


def _words(bits: U8 | np.ndarray[tuple[int], np.dtype[np.bool_]], words: int) -> Words:
    packed = np.zeros(8 * words, np.uint8)
    some = np.packbits(bits, bitorder="little")
    packed[: len(some)] = some
    return packed.view("<u8").astype(np.uint64, copy=False)


def _misbehaved(message: str) -> Aborted:
    return Aborted("peer-misbehaved", message, hint="the other end runs different software, or somebody is between")
