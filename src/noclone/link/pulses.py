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
from noclone.link.sampling import log_of_parts, normal_quantiles

TICK_BITS = 20  # time is counted in 2^-20 of a slot, whatever the clock rate: nothing can drift
TICKS = 1 << TICK_BITS
MAX_SEGMENT_BITS = 40  # times within a segment, with the detector's number, fit into 63 bits
JITTER_SIGMAS = 6.5  # a 32-bit uniform number reaches 6.34 standard deviations


@njit(cache=True, nogil=True)
def gaps(x, first, inverse_rate, numbers, bits, out):  # type: ignore[no-untyped-def]
    """Turn words `first` and `first` + 1 of each lane into the number of slots to the next proposal, 1 or more.

    With u uniform in (0, 1], 1 + floor(ln u / ln(1 - p)) is geometric: P(gap > k) = (1 - p)^k.

    Args:
        inverse_rate: -1 / ln(1 - p), at most 1e15, so that no sum of 64 gaps overflows.
        numbers: float64[LANES], for work.
        bits: The same memory as int64.
    """
    for j in range(LANES):
        word = (np.uint64(x[first + 1, j]) << np.uint64(32)) | np.uint64(x[first, j])
        numbers[j] = (np.float64(np.int64(word >> np.uint64(11))) + 1.0) * 1.1102230246251565e-16
    for j in range(LANES):
        out[j] = (bits[j] >> 52) - 1023
        bits[j] = (bits[j] & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000
    for j in range(LANES):
        out[j] = np.int64(-log_of_parts(numbers[j], np.float64(out[j])) * inverse_rate) + 1


@njit(cache=True, nogil=True)
def detectors_hit(x, first, n, rows, limits, masks, n_masks, dark_limits, kept, which, places):  # type: ignore[no-untyped-def]
    """List the clicks of the first n lanes; return how many.

    Args:
        x: Random words: of each lane, `first` + 2 and 3 say which detectors click; then come a word per detector for
            the cause (below the limit, no photon caused the click) and one for the place in time.
        rows: int64[LANES], each lane's case.
        kept: int64[LANES], for work.
        which: int64[4 * LANES], overwritten: `lane << 3 | no photon << 2 | detector`.
        places: uint32[4 * LANES], overwritten: the words for the place.
    """
    lanes = np.int64(0)
    for j in range(n):  # without a branch, which would be guessed wrong for every sixth lane
        draw = (np.uint64(x[first + 3, j]) << np.uint64(32)) | np.uint64(x[first + 2, j])
        kept[lanes] = j
        lanes += np.int64(draw < limits[rows[j], n_masks - 1])
    detectors = 2 if n_masks == 3 else 4
    count = 0
    for k in range(lanes):
        j = kept[k]
        row = rows[j]
        draw = (np.uint64(x[first + 3, j]) << np.uint64(32)) | np.uint64(x[first + 2, j])
        m = np.int64(draw >= limits[row, 0]) + np.int64(draw >= limits[row, 1])
        while draw >= limits[row, m]:
            m += 1
        left = np.int64(masks[row, m])
        while left:
            # One detector after the other, the lowest first: nearly always there is just one.
            one = left & -left
            left ^= one
            d = (one >> 1) - (one >> 3)
            dark = np.int64(x[first + 4 + d, j] < dark_limits[row, d])
            which[count] = (j << 3) | (dark << 2) | d
            places[count] = x[first + 4 + detectors + d, j]
            count += 1
    return count


@njit(cache=True, nogil=True)
def arrivals(which, places, n, jitter_ticks, shares, bits, numbers, where, deviates, ticks):  # type: ignore[no-untyped-def]
    """Set ticks[:n] to where in (or outside) its slot each click falls: dark counts anywhere, photons near the centre.

    Args:
        which, places: See `detectors_hit`.
        shares, bits, numbers, where, deviates: For work; numbers and bits share memory.
    """
    if jitter_ticks > 0.0:
        for k in range(n):
            shares[k] = (np.float64(places[k]) + 0.5) * 2.3283064365386963e-10
        normal_quantiles(shares, n, bits, numbers, where, deviates)
        for k in range(n):
            ticks[k] = np.int64(TICKS // 2) + np.int64(np.floor(deviates[k] * jitter_ticks + 0.5))
    else:
        for k in range(n):
            ticks[k] = np.int64(TICKS // 2)
    for k in range(n):
        if which[k] & 4:
            ticks[k] = np.int64(places[k] >> np.uint32(32 - TICK_BITS))


@njit(cache=True, nogil=True)
def insert(clicks, n, click):  # type: ignore[no-untyped-def]
    """Put a click where it belongs in clicks[:n]; it nearly always belongs at the end."""
    k = n
    while k > 0 and clicks[k - 1] > click:
        clicks[k] = clicks[k - 1]
        k -= 1
    clicks[k] = click


@njit(cache=True, nogil=True)
def physics_words(key, segment, batch, n_masks, counters, x):  # type: ignore[no-untyped-def]
    """Make batch number `batch` of LANES proposals ready in x; return which word is their first.

    A proposal takes 4 words and 2 more for each detector: with two detectors, 64 blocks serve two batches.
    """
    shared = 2 if n_masks == 3 else 1
    if batch % shared == 0:
        for j in range(LANES):
            counters[j] = np.uint64(batch // shared * LANES + j)
        blocks(key, np.uint32(segment), np.uint32(segment >> 32), counters, ROUNDS_PHYSICS, x)
    return batch % shared * (WORDS // 2)


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
    numbers = np.empty((3, 4 * LANES), np.float64)
    bits = numbers[0].view(np.int64)
    at = np.empty(LANES, np.int64)
    slots = np.empty(LANES, np.uint64)
    codes = np.empty(LANES, np.int64)
    bases = np.zeros(LANES, np.int64)
    outcomes = np.zeros(LANES, np.int64)
    rows = np.empty(LANES, np.int64)
    work = np.empty((3, 4 * LANES), np.int64)
    which, ticks = work[0], work[1]
    places = np.empty(4 * LANES, np.uint32)
    n = 0
    batch = 0
    last = -1
    while last < n_slots:
        if n + 4 * LANES > len(clicks):
            return -1
        first = physics_words(keys[3], segment, batch, n_masks, counters, x)
        batch += 1
        gaps(x, first, inverse_rate, numbers[0], bits, at)
        inside = np.int64(0)
        for j in range(LANES):
            last += at[j]
            at[j] = last
            slots[j] = np.uint64(first_slot + last)
            inside += np.int64(last < n_slots)
        alice_lanes(keys[0], slots, setting_limits, counters, y, codes)
        if choices == 2:
            bob_lanes(keys[1], slots, bob_limit, counters, y, bases)
        if eve_limits.shape[1] > 1:
            eve_lanes(keys[2], slots, eve_limits, codes, counters, y, outcomes)
        for j in range(LANES):
            rows[j] = (outcomes[j] * 16 + codes[j]) * choices + bases[j]
        count = detectors_hit(x, first, inside, rows, limits, masks, n_masks, dark_limits, work[2], which, places)
        arrivals(which, places, count, jitter_ticks, numbers[1], bits, numbers[0], work[2], numbers[2], ticks)
        for k in range(count):
            insert(clicks, n, (((at[which[k] >> 3] << TICK_BITS) + ticks[k]) << 2) | (which[k] & 3))
            n += 1
    return n
