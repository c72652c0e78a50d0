"""Slots in which something happens, of light that two parties have a part in, and which detectors click there.

In: a `JointLaw`, and the keys of both parties' choices and of nature's.  Out: `slot << 16 | set of detectors`, rising.
Like the light of one sender (`pulses`), it jumps from one candidate to the next: gaps are geometric with the largest
probability that any pair of choices has, a candidate's two choices are looked up, and one uniform number decides
whether it stands and which detectors click. So the law is exact, and work grows with what happens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noclone.kernels import kernel
from noclone.link.aes_simd import AES, aes256
from noclone.link.choices import BATCH, codes_of
from noclone.link.sampling import RAREST, geometric

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

CODES = 16  # of a party's choices in a slot
NOTE_SHIFT = 8  # in a set: bits above tell what no detector does, for whoever works the light out again
STREAM_GAPS = 1 << 48  # above all other purposes of the same key
WHOLE = 2.0**64


@dataclass(frozen=True, slots=True)
class JointLaw:
    """Which detectors click, for each pair of choices.

    Args:
        rows: int64[16, 16]: the row of the table for Alice's code and Bob's; see `choices.setting`.
        p_max: The largest probability that anything happens in a slot.
        sets: int64[rows, k]: sets of detectors, one bit each, the likeliest first.
        limits: uint64[rows, k]: cumulative shares of 2^64 of `p_max`.
    """

    rows: I64
    p_max: float
    sets: I64
    limits: U64

    @classmethod
    def of(cls, rows: I64, table: F64, sets: I64 | None = None) -> JointLaw:
        """Return the law of a table of probabilities, one row for each case, one column for each set of detectors.

        What the first column holds, that nothing happens, is not used: sets that do not count may be left at 0.

        Args:
            sets: What each column stands for, where that is not its number; bits from `NOTE_SHIFT` on are notes.
        """
        happens = np.maximum(table, 0.0)
        happens[:, 0] = 0.0
        p_max = max(float(happens.sum(axis=1).max()), RAREST)
        used = max(1, int((happens > 0).sum(axis=1).max()))
        order = np.argsort(-happens, axis=1, kind="stable")[:, :used]
        shares = np.cumsum(np.take_along_axis(happens, order, 1), axis=1) / p_max
        limits = np.minimum(np.floor(shares * WHOLE), math.nextafter(WHOLE, 0.0)).astype(np.uint64)
        limits[shares >= 1.0] = np.uint64((1 << 64) - 1)
        named = order.astype(np.int64) if sets is None else sets[order]
        return cls(np.ascontiguousarray(rows, np.int64), p_max, named, limits)

    @property
    def mean_negated(self) -> float:
        """What `sampling.geometric` takes."""
        return 1.0 / math.log1p(-self.p_max) if self.p_max < 1.0 else 0.0


class JointSampler:
    """A block's light: what happens in any segment of it.

    Args:
        keys: uint64[3, 30]: round keys of Alice's choices, Bob's and nature's; see `aes.aes256_keys`.
        choosers: int64[2, 4]: the limits of both parties' choices; see `choices.codes_of`.
        purpose: Tells this light from another under the same key of nature's.
    """

    def __init__(self, law: JointLaw, keys: U64, choosers: I64, length: int, purpose: int = 0) -> None:
        self._law, self._keys, self._choosers = law, keys, choosers
        self.length = length
        self._purpose = purpose << 49

    def clicks(self, segment: int, n_slots: int, first_slot: int | None = None) -> I64:
        """Return what happens in a segment, as `(slot in the segment) << 16 | set`.

        Args:
            first_slot: Its first slot, where segments are not all of one length.
        """
        law = self._law
        first = segment * self.length if first_slot is None else first_slot
        expected = n_slots * law.p_max
        out = np.empty(int(expected + 8 * math.sqrt(expected)) + 2 * BATCH, np.int64)
        stream = np.uint64(STREAM_GAPS + self._purpose + segment)
        while True:
            n = happenings(
                AES,
                self._keys,
                stream,
                np.int64(first),
                np.int64(n_slots),
                law.mean_negated,
                self._choosers,
                law.rows,
                law.limits,
                law.sets,
                out,
            )
            if n >= 0:
                return out[:n]
            out = np.empty(2 * len(out), np.int64)


@kernel
def happenings(simd, keys, stream, first, n_slots, mean_negated, choosers, rows, limits, sets, out):  # type: ignore[no-untyped-def]
    """Fill out with what happens in a segment; return how much, or -1 where there is no room."""
    counters = np.empty(BATCH, np.uint64)
    gaps, draws = np.empty(BATCH, np.uint64), np.empty(BATCH, np.uint64)
    slots = np.zeros(BATCH, np.uint64)
    alice, bob = np.empty(BATCH, np.int64), np.empty(BATCH, np.int64)
    nature = keys[2].ctypes.data
    chosen = len(limits) > 1
    at, done, n = np.int64(-1), np.int64(0), np.int64(0)
    last = limits.shape[1] - 1
    while True:
        for j in range(BATCH):
            counters[j] = np.uint64(done + j)
        aes256(simd, nature, counters.ctypes.data, stream, gaps.ctypes.data, draws.ctypes.data, np.int64(BATCH))
        done += BATCH
        count = 0
        while count < BATCH:
            at += np.int64(1) if mean_negated == 0.0 else geometric(gaps[count], mean_negated)
            if at >= n_slots:
                break
            slots[count] = np.uint64(first + at)
            count += 1
        if chosen and count:
            where = slots.ctypes.data
            codes_of(simd, keys[0], np.int64(0), np.int64(0), np.int64(where), choosers[0], alice)
            codes_of(simd, keys[1], np.int64(0), np.int64(0), np.int64(where), choosers[1], bob)
        if n + count > len(out):
            return np.int64(-1)
        for j in range(count):
            row = rows[alice[j], bob[j]] if chosen else np.int64(0)
            draw = draws[j]
            if draw >= limits[row, last]:
                continue
            low, high = 0, last
            while low < high:
                middle = (low + high) >> 1
                if draw < limits[row, middle]:
                    high = middle
                else:
                    low = middle + 1
            out[n] = (np.int64(slots[j]) - first) << 16 | sets[row, low]
            n += 1
        if count < BATCH:
            return n
