"""From proposals to clicks: which detectors, and when within the slot.

In: proposals that are kept (`pulses_simd.sort_out`), random words.  Out: clicks in order of time. Steps of `pulses`.
"""

from __future__ import annotations

import numpy as np

from noclone.kernels import inner, kernel, within
from noclone.link.aes_simd import MULTIPLE, ars7
from noclone.link.pulses_simd import PLACE_BITS, copy_words, disorder
from noclone.link.sampling import TICK_BITS, TICKS
from noclone.link.sampling_simd import central_ticks, tail_ticks

JITTER_SIGMAS = 6.5  # a 32-bit uniform number reaches 6.34 standard deviations
COLUMNS = 16  # of a table of sets of detectors
LOWER_HALF = np.uint64(0xFFFFFFFF)
PLACES = np.uint64((1 << PLACE_BITS) - 1)


@kernel
def arrivals(simd, words, n, jitter_ticks, tails, numbers, ticks):  # type: ignore[no-untyped-def]
    """Set ticks[:n] to where in (or outside) its slot each photon falls.

    Args:
        words: uint64[n + 8]: their upper halves choose the quantile of the normal law.
        tails, numbers: uint64[n + 8], for work.
        ticks: int64[n + 8].
    """
    if jitter_ticks == 0.0 or n == 0:
        for k in range(n):
            ticks[k] = TICKS // 2
        return
    out, rare = ticks.ctypes.data, tails.ctypes.data
    found = central_ticks(simd, words.ctypes.data, jitter_ticks, out, rare, numbers.ctypes.data, n)
    if found:
        tail_ticks(simd, rare, jitter_ticks, rare, found)
    for k in range(found):
        ticks[numbers[k]] = np.int64(tails[k])


@inner
def insert(clicks, n, click):  # type: ignore[no-untyped-def]
    """Put a click where it belongs in clicks[:n]; it nearly always belongs at the end."""
    k = n
    while k > 0 and clicks[np.uint64(k - 1)] > click:
        clicks[np.uint64(k)] = clicks[np.uint64(k - 1)]
        k -= 1
    clicks[np.uint64(k)] = click


@within
def set_of(draw, row, closer, masks):  # type: ignore[no-untyped-def]
    """Return which detectors click, one bit each, by the second draw."""
    place, column = row * np.uint64(COLUMNS), np.uint64(0)
    for k in range(COLUMNS - 1):
        column += np.uint64(draw >= closer[place + np.uint64(k)])
    return np.uint64(masks[place + column])


@within
def clicks_of_one(left, slot, row, words, ticks, k, dark_limits, clicks, n):  # type: ignore[no-untyped-def]
    """Add the clicks of one proposal, the lowest detector's first, without a branch; return how many there are in all.

    Dark counts fall anywhere in their slot, photons near its centre.

    Args:
        left: The detectors that click.
        slot: The proposal's slot, in quarter ticks.
        words: uint64[6, :]: column k has, from its second row on, a word for each click: the lower half says whether
            there was a photon, the upper one where the click falls.
        ticks: int64[4, :]: where it falls if there was.
    """
    several = np.uint64((left & (left - np.uint64(1))) != 0)
    limits = (row << np.uint64(3)) | (several << np.uint64(2))
    for rank in range(4):
        one = left & (~left + np.uint64(1))
        left ^= one
        d = (one >> np.uint64(1)) - (one >> np.uint64(3))
        word = words[rank + 1, k]
        dark = word & LOWER_HALF < dark_limits[limits | d]
        tick = np.int64(word >> np.uint64(64 - TICK_BITS)) if dark else ticks[rank, k]
        clicks[np.uint64(n)] = slot + (tick << 2) + np.int64(d)
        n += np.int64(one != 0)
    return n


@inner
def closer_words(simd, keys, stream, first, entries, n, jitter_ticks, numbers, tails, words, ticks):  # type: ignore[no-untyped-def]
    """Set the first n columns of words, and a few more, to what is drawn for entries: three blocks each.

    Args:
        numbers, tails: uint64[BATCH and more], for work.
        words: uint64[6, BATCH and more], overwritten.
        ticks: int64[4, BATCH and more]: when photons arrive by words[1:5]; left as it is if there is no jitter.
    """
    for i in range(n):
        numbers[i] = np.uint64(first) + (entries[i] & PLACES)
    padded = -(-n // MULTIPLE) * MULTIPLE
    for part in range(3 if n else 0):
        low, high = words[2 * part], words[2 * part + 1]
        counter = stream + np.uint64(part)
        ars7(simd, keys.ctypes.data, numbers.ctypes.data, counter, low.ctypes.data, high.ctypes.data, padded)
    if jitter_ticks > 0.0:
        for rank in range(4):
            arrivals(simd, words[rank + 1], n, jitter_ticks, tails, numbers, ticks[rank])


@inner
def add_clicks(starts, timed, found, entries, listed, law, words, ticks, jitter_ticks, clicks, n):  # type: ignore[no-untyped-def]
    """Add the clicks of the kept proposals; return how many there are in all then.

    Args:
        starts, timed: int64[found or more]: of each kept proposal the start of its slot, and its click if it needs no
            closer look.
        entries: uint64: the `listed` ones that do; see `pulses_simd.PLACE_BITS`.
        law: See `clicktable.ClickTable.law`.
        words, ticks: Of these; see `closer_words`.
    """
    _, closer, masks, dark_limits = law
    before, done = n, np.int64(0)
    for i in range(listed + 1):
        place = np.int64((entries[i] >> np.uint64(PLACE_BITS)) & PLACES) if i < listed else found
        if place > done:
            copy_words(timed.ctypes.data + 8 * done, clicks.ctypes.data + 8 * n, place - done)
            n += place - done
        done = place + 1
        if i < listed:
            row = entries[i] >> np.uint64(2 * PLACE_BITS)
            slot = (starts[place] >> (TICK_BITS + 2)) << (TICK_BITS + 2)
            left = set_of(words[0, i], row, closer, masks)
            n = clicks_of_one(left, slot, row, words, ticks, i, dark_limits, clicks, n)
    start = max(before, 1)  # nothing comes before the first
    if (jitter_ticks > 0.0 or listed > 0) and n > start and disorder(clicks.ctypes.data + 8 * start, n - start):
        for k in range(start, n):
            insert(clicks, k, clicks[k])
    return n
