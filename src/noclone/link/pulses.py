"""First half of the light: which slots would make which detectors click, if all detectors were alive.

In: keys, thresholds, a segment of slots.  Out: clicks in order of time. No state passes from one segment to the next,
so segments are worked out in parallel and in any order.

Slots in which no detector clicks are never looked at: proposals come at the largest click probability of any setting,
by drawing the gap to the next one (a geometric law), and a proposal is kept with the probability that its own setting
asks for (thinning: Lewis, Shedler 1979). What a setting is does not depend on the proposals, so this is exact.

Proposals are worked on in batches, step by step: each step is a loop over arrays that stay in the nearest cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noclone.kernels import inner, kernel
from noclone.link.choices import BATCH, codes_of, eve_batch
from noclone.link.hits import add_clicks, arrivals, closer_words
from noclone.link.pulses_simd import COPIED, PLACE_BITS, proposals, sort_out
from noclone.link.sampling import TICKS

MAX_SEGMENT_BITS = 40  # times within a segment, with the detector's number, fit into 63 bits
ALICE, BOB, EVE, NATURE = range(4)  # rows of a table of keys
ROOM = BATCH + COPIED  # vectors read and write a little beyond the end
MOST = 4 * BATCH + COPIED  # clicks of a batch


@dataclass(frozen=True, eq=False)
class Law:
    """What the segments of a block have in common, for `would_be_clicks`; see there.

    Args:
        keys: Round keys.
        p_max: Largest probability that a slot makes any detector click: the rate of proposals.
        mean_negated: 1 / ln(1 - p_max).
        choosers: Limits of the choices.
        table: `clicktable.ClickTable.law`.
        jitter_ticks: Standard deviation of a photon's arrival.
        length: Slots of a segment.
    """

    keys: NDArray[np.uint64]
    p_max: float
    mean_negated: float
    choosers: tuple[Any, ...]
    table: tuple[Any, ...]
    jitter_ticks: float
    length: int


@inner
def find_cases(simd, keys, first_slot, at, choosers, words, signed, rows):  # type: ignore[no-untyped-def]
    """Set rows[BATCH] to the case of each proposal: what was sent, what Eve did, how Bob measured.

    Args:
        choosers: See `would_be_clicks`.
        words: uint64[2, BATCH]: for work.
        signed: int64[2, BATCH]: for work.
    """
    limits, eve_limits = choosers
    codes, outcomes = signed[0], signed[1]
    where = np.int64(at.ctypes.data)
    codes_of(simd, keys[ALICE], first_slot, np.int64(0), where, limits[ALICE], rows)
    if eve_limits.shape[1] > 1:
        for j in range(BATCH):
            words[0, j] = np.uint64(first_slot + at[j])
            codes[j] = rows[j]
        eve_batch(simd, keys[EVE], words[0], eve_limits, codes, words[1:], outcomes)
        for j in range(BATCH):
            rows[j] |= outcomes[j] << 4
    if len(limits) > 1:
        codes_of(simd, keys[BOB], first_slot, np.int64(0), where, limits[BOB], codes)
        for j in range(BATCH):
            rows[j] = (rows[j] << 1) | ((codes[j] >> 1) & 1)


@kernel
def would_be_clicks(  # type: ignore[no-untyped-def]
    simd, keys, segment, first_slot, n_slots, mean_negated, choosers, law, jitter_ticks, clicks
):
    """Write the segment's clicks, sorted, and return how many; -1 if there is no room.

    Args:
        simd: `aes_simd.AES`.
        keys: uint64[4, 30]: round keys of Alice, Bob and Eve (AES-256), and of nature (ARS).
        segment: Number of the segment: names its streams.
        first_slot: Number of the segment's first slot in the block.
        n_slots: Slots in the segment.
        mean_negated: 1 / ln(1 - p_max).
        choosers: The limits of Alice's settings, and of Bob's if he draws, as rows; those of Eve's outcomes: see
            `choices`.
        law: See `clicktable.ClickTable.law`.
        jitter_ticks: Standard deviation of a photon's arrival.
        clicks: int64, overwritten: `ticks since the segment's start << 2 | detector`.
    """
    unsigned, signed = np.zeros((6, ROOM), np.uint64), np.zeros((10, ROOM), np.int64)
    draws, rests, shares, entries = unsigned[0], unsigned[1], unsigned[2], unsigned[3]
    numbers, tails = unsigned[4], unsigned[5]
    at, rows, starts, ticks, spare = signed[0], signed[1], signed[2], signed[3], signed[4:6]
    words, closer_ticks = np.zeros((6, ROOM), np.uint64), signed[6:]
    limits = law[0]
    closer_ticks[:] = TICKS // 2
    nature, stream = keys[NATURE], np.uint64(segment << 2)  # and the next three, for proposals that need a closer look
    n, first, last = np.int64(0), np.int64(0), np.int64(-1)
    while last < n_slots:
        if n + MOST > len(clicks):
            return -1
        last = proposals(
            simd,
            nature.ctypes.data,
            stream,
            np.uint64(first),
            mean_negated,
            last,
            draws.ctypes.data,
            rests.ctypes.data,
            at.ctypes.data,
            BATCH,
        )
        find_cases(simd, keys, first_slot, at, choosers, words, spare, rows)
        both = sort_out(
            simd,
            at.ctypes.data,
            draws.ctypes.data,
            rests.ctypes.data,
            rows.ctypes.data,
            limits.ctypes.data,
            limits.shape[1],
            n_slots,
            starts.ctypes.data,
            shares.ctypes.data,
            entries.ctypes.data,
            BATCH,
        )
        found, listed = both & ((1 << PLACE_BITS) - 1), both >> PLACE_BITS
        closer_words(
            simd,
            nature,
            stream + np.uint64(1),
            first,
            entries,
            listed,
            jitter_ticks,
            numbers,
            tails,
            words,
            closer_ticks,
        )
        arrivals(simd, shares, found, jitter_ticks, tails, numbers, ticks)
        for k in range(found):
            ticks[k] = starts[k] + (ticks[k] << 2)
        n = add_clicks(starts, ticks, found, entries, listed, law, words, closer_ticks, jitter_ticks, clicks, n)
        first += BATCH
    return n
