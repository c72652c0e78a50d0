"""First half of the light: which slots would make which detectors click, if all detectors were alive.

In: keys, thresholds, a segment of slots.  Out: clicks in order of time. No state passes from one segment to the next,
so segments are worked out in parallel and in any order.

Slots in which no detector clicks are never looked at: proposals come at the largest click probability of any setting,
by drawing the gap to the next one (a geometric law), and a proposal is kept with the probability that its own setting
asks for (thinning: Lewis, Shedler 1979).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from noclone.link.chacha import LANES, ROUNDS_PHYSICS, WORDS, blocks
from noclone.link.choices import alice_lanes, bob_lanes, eve_lanes
from noclone.link.sampling import log_of_parts, normal_quantile

TICK_BITS = 20  # time is counted in 2^-20 of a slot, whatever the clock rate: nothing can drift
TICKS = 1 << TICK_BITS
MAX_SEGMENT_BITS = 40  # times within a segment, with the detector's number, fit into 63 bits
JITTER_SIGMAS = 6.5  # a 32-bit uniform number reaches 6.34 standard deviations


@njit(cache=True, nogil=True)
def gaps(x, inverse_rate, numbers, bits, out):  # type: ignore[no-untyped-def]
    """Turn words 0 and 1 of each lane into the number of slots to the next proposal, 1 or more.

    With u uniform in (0, 1], 1 + floor(ln u / ln(1 - p)) is geometric: P(gap > k) = (1 - p)^k.

    Args:
        inverse_rate: -1 / ln(1 - p), at most 1e15, so that no sum of 64 gaps overflows.
        numbers: float64[LANES], for work.
        bits: The same memory as int64.
    """
    for j in range(LANES):
        word = (np.uint64(x[1, j]) << np.uint64(32)) | np.uint64(x[0, j])
        numbers[j] = (np.float64(np.int64(word >> np.uint64(11))) + 1.0) * 1.1102230246251565e-16
    for j in range(LANES):
        out[j] = (bits[j] >> 52) - 1023
        bits[j] = (bits[j] & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000
    for j in range(LANES):
        out[j] = np.int64(-log_of_parts(numbers[j], np.float64(out[j])) * inverse_rate) + 1


@njit(cache=True, nogil=True)
def arrival(cause, place, dark_limit, jitter_ticks):  # type: ignore[no-untyped-def]
    """Return where in (or outside) its slot a click falls: a dark count anywhere, a photon around the centre.

    Args:
        cause: Random word: below dark_limit, no photon caused the click.
        place: Random word.
    """
    if cause < dark_limit:
        return np.int64(place >> np.uint32(32 - TICK_BITS))
    if jitter_ticks <= 0.0:
        return np.int64(TICKS // 2)
    deviate = normal_quantile((np.float64(place) + 0.5) * 2.3283064365386963e-10)
    return np.int64(TICKS // 2) + np.int64(np.floor(deviate * jitter_ticks + 0.5))


@njit(cache=True, nogil=True)
def insert(clicks, n, click):  # type: ignore[no-untyped-def]
    """Put a click where it belongs in clicks[:n]; it nearly always belongs at the end."""
    k = n
    while k > 0 and clicks[k - 1] > click:
        clicks[k] = clicks[k - 1]
        k -= 1
    clicks[k] = click


@njit(cache=True, nogil=True)
def would_be_clicks(  # type: ignore[no-untyped-def]
    keys,
    segment,
    first_slot,
    n_slots,
    inverse_rate,
    setting_limits,
    bob_limit,
    choices,
    eve_limits,
    limits,
    masks,
    n_masks,
    dark_limits,
    jitter_ticks,
    clicks,
):
    """Write the segment's clicks, sorted, and return how many; -1 if there is no room.

    Args:
        keys: uint32[4, 8]: Alice's, Bob's, Eve's, and that of the physics.
        segment: Number of the segment: names its stream.
        first_slot: Number of the segment's first slot in the block.
        n_slots: Slots in the segment.
        inverse_rate: -1 / ln(1 - p_max).
        setting_limits, bob_limit, eve_limits: See `choices`.
        choices, limits, masks, n_masks, dark_limits: See `clicktable.ClickTable`.
        jitter_ticks: Standard deviation of a photon's arrival.
        clicks: int64, overwritten: `ticks since the segment's start << 2 | detector`.
    """
    x = np.empty((WORDS, LANES), np.uint32)
    y = np.empty((WORDS, LANES), np.uint32)
    counters = np.empty(LANES, np.uint64)
    numbers = np.empty(LANES, np.float64)
    bits = numbers.view(np.int64)
    at = np.empty(LANES, np.int64)
    slots = np.empty(LANES, np.uint64)
    codes = np.empty(LANES, np.int64)
    bases = np.zeros(LANES, np.int64)
    outcomes = np.zeros(LANES, np.int64)
    stream_low = np.uint32(segment)
    stream_high = np.uint32(segment >> 32)
    n = 0
    proposals = 0
    last = -1
    while last < n_slots:
        if n + 4 * LANES > len(clicks):
            return -1
        for j in range(LANES):
            counters[j] = np.uint64(proposals + j)
        proposals += LANES
        blocks(keys[3], stream_low, stream_high, counters, ROUNDS_PHYSICS, x)
        gaps(x, inverse_rate, numbers, bits, at)
        for j in range(LANES):
            last += at[j]
            at[j] = last
            slots[j] = np.uint64(first_slot + last)
        alice_lanes(keys[0], slots, setting_limits, counters, y, codes)
        if choices == 2:
            bob_lanes(keys[1], slots, bob_limit, counters, y, bases)
        if eve_limits.shape[1] > 1:
            eve_lanes(keys[2], slots, eve_limits, codes, counters, y, outcomes)
        for j in range(LANES):
            if at[j] >= n_slots:
                break
            row = (outcomes[j] * 16 + codes[j]) * choices + bases[j]
            draw = (np.uint64(x[3, j]) << np.uint64(32)) | np.uint64(x[2, j])
            if draw >= limits[row, n_masks - 1]:
                continue
            m = 0
            while draw >= limits[row, m]:
                m += 1
            left = np.int64(masks[row, m])
            while left:
                # One detector after the other, the lowest first: nearly always there is just one.
                one = left & -left
                left ^= one
                d = (one >> 1) - (one >> 3)
                ticks = arrival(x[4 + d, j], x[8 + d, j], dark_limits[row, d], jitter_ticks)
                insert(clicks, n, (((at[j] << TICK_BITS) + ticks) << 2) | d)
                n += 1
    return n
