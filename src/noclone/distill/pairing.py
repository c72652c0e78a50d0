"""Pairing of bits before they are compared (AOPP), and phases that fit: what sending or not sending adds to sifting.

In: a party's sifted bits, Bob's pairs.  Out: one bit for each pair that is unlike at both ends, in the same `Sieve`.
Bob pairs his zeros with his ones at random, as many as he can, and tells the pairs, not which is which; Alice tells
which of them are unlike in her bits, too. The bit of the earlier of the two is kept (Xu, Yu, Jiang, Hu, Wang, Phys.
Rev. A 101, 042330 (2020)). On the wire, after the answers to the announcement:

    pairs     count u32 | number of the earlier bit, rising, u32 each | number of the later one, u32 each
    unlike    one bit each
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words, pack, unpack
from noclone.counts import Paired
from noclone.distill.messages import Kind, Misbehaved, Steps
from noclone.distill.side import Side
from noclone.distill.sifting import Sieve
from noclone.protocols import PHASE_SLICES, phases_fit, promised_detector
from noclone.records import U8, Basis

COUNT = struct.Struct(">I")
BITS_MAX = 1 << 32
DECOY, UNFIT = 1, 3  # indices of Alice's intensities
Places = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Places of the two bits of each pair.

    Args:
        earlier: Rising.
        later: Of the same pair.
        raw: How many bits there are in all.
    """

    earlier: Places = field(repr=False)
    later: Places = field(repr=False)
    raw: int

    @classmethod
    def draw(cls, bits: Words, raw: int, entropy: Callable[[int], bytes]) -> Pairs:
        """Pair zeros with ones at random, as many as possible; nobody may be able to foretell how."""
        assert raw < BITS_MAX
        order = np.argsort(np.frombuffer(entropy(8 * raw), np.uint64))
        values = unpack(bits, raw)[order]
        zeros, ones = order[values == 0], order[values == 1]
        count = min(len(zeros), len(ones))
        both = np.sort(np.stack([zeros[:count], ones[:count]]).astype(np.uint32), axis=0)
        both = both[:, np.argsort(both[0])]
        return cls(both[0], both[1], raw)

    @classmethod
    def read(cls, data: bytes, raw: int) -> Pairs:
        """Read what Bob told.

        Raises:
            Misbehaved: It is malformed, or a bit is in two pairs.
        """
        count = COUNT.unpack_from(data)[0] if len(data) >= COUNT.size else 0
        if len(data) != COUNT.size + 8 * count or 2 * count > raw:
            raise Misbehaved("the peer's pairs are truncated, or more than there are bits for")
        both = np.frombuffer(data, "<u4", 2 * count, COUNT.size).astype(np.uint32)
        earlier, later = both[:count], both[count:]
        if count and ((earlier[1:] <= earlier[:-1]).any() or (later <= earlier).any() or int(later.max()) >= raw):
            raise Misbehaved("the peer's pairs are not in order, or name bits that there are not")
        seen = np.zeros(raw, bool)
        seen[both] = True
        if int(seen.sum()) != 2 * count:
            raise Misbehaved("the peer's pairs have a bit in common")
        return cls(earlier, later, raw)

    def to_bytes(self) -> bytes:
        """Return them as they are told."""
        rows = (row.astype("<u4").tobytes() for row in (self.earlier, self.later))
        return b"".join((COUNT.pack(len(self.earlier)), *rows))

    def unlike(self, bits: Words) -> U8:
        """Return 1 for each pair whose bits differ."""
        values = unpack(bits, self.raw)
        return np.asarray(values[self.earlier] ^ values[self.later], np.uint8)

    def keep(self, sieve: Sieve, unlike: U8) -> Paired:
        """Replace the key's bits by those of unlike pairs; return the numbers that the proof needs."""
        kept = unpack(sieve.bits(Basis.KEY), self.raw)[self.earlier[unlike == 1]]
        sieve.replace_key(pack(kept), len(kept))
        return Paired(self.raw, len(self.earlier))


def alices_part(side: Side, sieve: Sieve) -> Steps[None]:
    """Hear Bob's pairs, tell which are unlike, and keep those."""
    raw = int(sieve.n[Basis.KEY])
    _, data = yield from side.talk.receive(Kind.PAIRS, bytes_max=pairs_bytes_max(raw))
    pairs = Pairs.read(data, raw)
    unlike = pairs.unlike(sieve.bits(Basis.KEY))
    yield from side.talk.send(Kind.PAIRS, pack_unlike(unlike))
    side.paired = pairs.keep(sieve, unlike)


def bobs_part(side: Side, sieve: Sieve, entropy: Callable[[int], bytes]) -> Steps[None]:
    """Tell the pairs, and keep those that Alice says are unlike at her end, too."""
    pairs = Pairs.draw(sieve.bits(Basis.KEY), int(sieve.n[Basis.KEY]), entropy)
    yield from side.talk.send(Kind.PAIRS, pairs.to_bytes())
    count = len(pairs.earlier)
    _, data = yield from side.talk.receive(Kind.PAIRS, bytes_max=(count + 7) // 8)
    side.paired = pairs.keep(sieve, read_unlike(data, count))


def pairs_bytes_max(raw: int) -> int:
    """Return the longest that Bob's message may be."""
    return COUNT.size + 8 * (raw // 2)


def pack_unlike(unlike: U8) -> bytes:
    """Return Alice's answer."""
    return np.packbits(unlike, bitorder="little").tobytes()


def read_unlike(data: bytes, count: int) -> U8:
    """Read it.

    Raises:
        Misbehaved: It has another length, or ones behind its end.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if len(data) != (count + 7) // 8 or bits[count:].any():
        raise Misbehaved("the peer's answer to the pairs does not hold one bit for each")
    return bits[:count]


def split_told(told: U8) -> tuple[U8, U8]:
    """Return Bob's intensities and the slices of his phases.

    Raises:
        Misbehaved: An intensity is none of three.
    """
    levels, slices = np.asarray(told & 3, np.uint8), np.asarray(told >> 2, np.uint8)
    if len(levels) and levels.max() == UNFIT:
        raise Misbehaved("an announcement names an intensity that is none of 3")
    return levels, slices


def refuse_told_bits(bases: Words, told: U8) -> None:
    """Refuse an announcement that says something of Bob's pulses in the key basis: that is his bit.

    Raises:
        Misbehaved: It does.
    """
    if told[unpack(bases, len(told)) == Basis.KEY].any():
        raise Misbehaved("an announcement says what the peer sent in the key basis, where that is the key")


def choose_phases(codes: U8, levels: U8, slices: U8) -> U8:
    """Return Alice's codes as sifting takes them, once Bob's intensities and slices are known.

    In the test basis her value is the detector that the two phases promise; decoys at both ends whose phases do not fit
    are an intensity of their own.
    """
    tested = codes >> 1 & 1 == Basis.TEST
    apart = ((codes >> 4).astype(np.int64) - slices) % PHASE_SLICES
    unfit = (codes >> 2 & 3 == DECOY) & (levels == DECOY) & ~phases_fit(apart)
    level = np.where(unfit, UNFIT, codes >> 2 & 3)
    return np.where(tested, promised_detector(apart) | Basis.TEST << 1 | level << 2, codes & 1).astype(np.uint8)
