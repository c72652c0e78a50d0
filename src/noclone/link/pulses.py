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
from numba import njit
from numpy.typing import NDArray

from noclone.link.choices import BATCH, alice_batch, bob_batch, eve_batch
from noclone.link.hits import add_clicks, arrivals, keep, nature
from noclone.link.sampling_simd import gaps

MAX_SEGMENT_BITS = 40  # times within a segment, with the detector's number, fit into 63 bits
ALICE, BOB, EVE, NATURE = range(4)  # rows of a table of keys
MOST = 4 * BATCH  # clicks of a batch


@dataclass(frozen=True, eq=False)
class Law:
    """What the segments of a block have in common, for `would_be_clicks`; see there.

    Args:
        keys: Round keys.
        p_max: Largest probability that a slot makes any detector click: the rate of proposals.
        inverse_rate: -1 / ln(1 - p_max).
        choosers: Limits of the choices.
        table: `clicktable.ClickTable.law`.
        jitter_ticks: Standard deviation of a photon's arrival.
        length: Slots of a segment.
    """

    keys: NDArray[np.uint64]
    p_max: float
    inverse_rate: float
    choosers: tuple[Any, ...]
    table: tuple[Any, ...]
    jitter_ticks: float
    length: int


@njit(cache=True, nogil=True)
def proposals(simd, keys, stream, first, inverse_rate, last, n_slots, counters, words, at):  # type: ignore[no-untyped-def]
    """Set at[BATCH] to the slots of the next proposals after slot `last`; return the last one and how many lie inside.

    Args:
        first: Number of the batch's first proposal.
        words: uint64[2, BATCH], overwritten: the second row is left for the choice of detectors.
    """
    for j in range(BATCH):
        counters[j] = np.uint64(first + j)
    nature(simd, keys, stream, counters, BATCH, words)
    gaps(simd, words[0].ctypes.data, inverse_rate, at.ctypes.data, BATCH)
    for j in range(BATCH):
        last += at[j]
        at[j] = last
    inside = BATCH
    while inside > 0 and at[inside - 1] >= n_slots:
        inside -= 1
    return last, inside


@njit(cache=True, nogil=True)
def find_cases(simd, keys, first_slot, at, choosers, words, signed, slots, rows):  # type: ignore[no-untyped-def]
    """Set rows[BATCH] to the case of each proposal: what was sent, what Eve did, how Bob measured.

    Args:
        choosers: See `would_be_clicks`.
        signed: int64[3, BATCH], zero at first: for work.
        words, slots: For work.
    """
    setting_limits, bob_limit, choices, eve_limits = choosers
    codes, bases, outcomes = signed[0], signed[1], signed[2]
    for j in range(BATCH):
        slots[j] = np.uint64(first_slot + at[j])
    alice_batch(simd, keys[ALICE], slots, setting_limits, words, codes)
    if choices == 2:
        bob_batch(simd, keys[BOB], slots, bob_limit, words, bases)
    if eve_limits.shape[1] > 1:
        eve_batch(simd, keys[EVE], slots, eve_limits, codes, words, outcomes)
    active = choices - 1
    for j in range(BATCH):
        rows[j] = np.uint64((((outcomes[j] << 4) | codes[j]) << active) | bases[j])


@njit(cache=True, nogil=True)
def would_be_clicks(  # type: ignore[no-untyped-def]
    simd, keys, segment, first_slot, n_slots, inverse_rate, choosers, law, jitter_ticks, clicks
):
    """Write the segment's clicks, sorted, and return how many; -1 if there is no room.

    Args:
        simd: `aes_simd.AES`.
        keys: uint64[4, 30]: round keys of Alice, Bob and Eve (AES-256), and of nature (ARS).
        segment: Number of the segment: names its streams.
        first_slot: Number of the segment's first slot in the block.
        n_slots: Slots in the segment.
        inverse_rate: -1 / ln(1 - p_max).
        choosers: The limits of Alice's settings and of Bob's basis, Bob's settings per slot, the limits of Eve's
            outcomes: see `choices`.
        law: See `clicktable.ClickTable.law`.
        jitter_ticks: Standard deviation of a photon's arrival.
        clicks: int64, overwritten: `ticks since the segment's start << 2 | detector`.
    """
    words, draws = np.empty((2, BATCH), np.uint64), np.empty((2, BATCH), np.uint64)
    places = np.empty((4, BATCH), np.uint64)
    unsigned, signed = np.zeros((7, BATCH), np.uint64), np.zeros((3, BATCH), np.int64)
    counters, slots, rows = unsigned[0], unsigned[1], unsigned[2]
    kept, hits, tails, darks = unsigned[3], unsigned[4], unsigned[5], unsigned[6]
    at, starts, ticks = np.empty(BATCH, np.int64), np.empty(BATCH, np.int64), np.empty((2, BATCH), np.int64)
    stream = np.uint64(segment << 2)  # and the next one and the one after it, for where in their slots the clicks fall
    n, first, last = 0, 0, np.int64(-1)
    while last < n_slots:
        if n + MOST > len(clicks):
            return -1
        last, inside = proposals(simd, keys[NATURE], stream, first, inverse_rate, last, n_slots, counters, draws, at)
        find_cases(simd, keys, first_slot, at, choosers, words, signed, slots, rows)
        found = keep(draws[1], at, inside, rows, law[0], law[3], first, kept, hits, starts, darks)
        nature(simd, keys[NATURE], stream + np.uint64(1), kept, found, places)
        arrivals(simd, places[0], found, jitter_ticks, tails, ticks)
        n = add_clicks(
            simd,
            keys[NATURE],
            stream + np.uint64(2),
            draws[1],
            found,
            rows,
            first,
            kept,
            hits,
            starts,
            darks,
            law,
            places,
            ticks[0],
            jitter_ticks,
            clicks,
            n,
        )
        first += BATCH
    return n
