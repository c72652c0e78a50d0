"""From proposals to clicks: which detectors, and when within the slot.

In: slots that were proposed, what was sent in each, random words.  Out: clicks in order of time. Steps of `pulses`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from noclone.link.aes_simd import MULTIPLE, ars7
from noclone.link.choices import BATCH
from noclone.link.sampling import TICK_BITS, TICKS, is_tail, photon_tick
from noclone.link.sampling_simd import central_ticks, tail_ticks

JITTER_SIGMAS = 6.5  # a 32-bit uniform number reaches 6.34 standard deviations
COLUMNS = 16  # of a table of sets of detectors
CELL_BITS = 10
SEVERAL = 31  # in a cell: not all of its draws give the same set of detectors
LOWER_HALF = np.uint64(0xFFFFFFFF)


@njit(cache=True, nogil=True)
def nature(simd, keys, stream, counters, n, words):  # type: ignore[no-untyped-def]
    """Set words[0, j] and words[1, j] to 128 random bits for each of the first n counters, and a few more."""
    n = -(-n // MULTIPLE) * MULTIPLE
    if n:
        ars7(simd, keys.ctypes.data, counters.ctypes.data, stream, words[0].ctypes.data, words[1].ctypes.data, n)


@njit(cache=True, nogil=True)
def keep(draws, at, n, rows, cells, dark_limits, first, kept, hits, starts, darks):  # type: ignore[no-untyped-def]
    """List those of the first n proposals that may make a detector click, without a branch; return how many.

    Args:
        draws: uint64[BATCH]: says which detectors click.
        at: int64[BATCH], the proposals' slots.
        rows: uint64[BATCH], each proposal's case.
        cells, dark_limits: See `clicktable.ClickTable.law`.
        first: Number of the batch's first proposal.
        kept, hits: uint64[BATCH], overwritten: the proposals' numbers, and what is in their cells.
        starts: int64[BATCH], overwritten: `ticks of the slot's start << 2 | detector`, if just one detector clicks.
        darks: uint64[BATCH], overwritten: its dark limit, then.
    """
    found = np.int64(0)
    for j in range(n):
        cell = np.uint64(cells[(rows[j] << np.uint64(CELL_BITS)) | (draws[j] >> np.uint64(64 - CELL_BITS))])
        place = np.uint64(found)
        kept[place] = np.uint64(first + j)
        hits[place] = cell
        d = (cell >> np.uint64(1)) - (cell >> np.uint64(3))  # of a set of one; anything up to 12 otherwise
        starts[place] = (at[j] << (TICK_BITS + 2)) + np.int64(d)
        darks[place] = dark_limits[(rows[j] << np.uint64(2)) + d]
        found += np.int64(cell != 0)
    return found


@njit(cache=True, nogil=True)
def arrivals(simd, words, n, jitter_ticks, tails, ticks):  # type: ignore[no-untyped-def]
    """Set ticks[:n] to where in (or outside) its slot each photon falls.

    Args:
        words: uint64[BATCH]: their upper halves choose the quantile of the normal law.
        tails: uint64[BATCH], for work.
        ticks: int64[2, BATCH]: the first row is the result, the second for work.
    """
    if jitter_ticks == 0.0:
        for k in range(BATCH):
            ticks[0, k] = TICKS // 2
        return
    central_ticks(simd, words.ctypes.data, jitter_ticks, ticks[0].ctypes.data, BATCH)
    found = np.int64(0)
    for k in range(n):
        tails[found] = np.uint64(k)
        found += np.int64(is_tail(words[k]))
    for k in range(found):
        ticks[1, k] = np.int64(words[tails[k]])
    if found:
        n = -(-found // MULTIPLE) * MULTIPLE
        tail_ticks(simd, ticks[1].ctypes.data, jitter_ticks, ticks[1].ctypes.data, n)
    for k in range(found):
        ticks[0, tails[k]] = ticks[1, k]


@njit(cache=True, nogil=True)
def insert(clicks, n, click):  # type: ignore[no-untyped-def]
    """Put a click where it belongs in clicks[:n]; it nearly always belongs at the end."""
    k = n
    while k > 0 and clicks[np.uint64(k - 1)] > click:
        clicks[np.uint64(k)] = clicks[np.uint64(k - 1)]
        k -= 1
    clicks[np.uint64(k)] = click


@njit(cache=True, nogil=True)
def set_hit(draw, cell, row, limits, masks):  # type: ignore[no-untyped-def]
    """Return which detectors click, one bit each, from what is in the draw's cell."""
    if cell != SEVERAL:
        return cell
    place = row * np.uint64(COLUMNS)
    if draw >= limits[place + np.uint64(COLUMNS - 1)]:
        return np.uint64(0)
    while draw >= limits[place]:
        place += np.uint64(1)
    return np.uint64(masks[place])


@njit(cache=True, nogil=True)
def clicks_of_one(left, slot, row, words, deep_words, k, dark_limits, jitter_ticks, clicks, n):  # type: ignore[no-untyped-def]
    """Insert the clicks of one proposal, the lowest detector's first; return how many there are in all then.

    Args:
        left: The detectors that click.
        slot: The proposal's slot, in quarter ticks.
        words, deep_words: uint64[2, BATCH]: column k has a word each for the first two clicks, and for the others.
    """
    for rank in range(4):
        if left == np.uint64(0):
            break
        one = left & (~left + np.uint64(1))
        left ^= one
        d = (one >> np.uint64(1)) - (one >> np.uint64(3))
        word = words[rank, k] if rank < 2 else deep_words[rank - 2, k]
        if word & LOWER_HALF < dark_limits[(row << np.uint64(2)) | d]:
            tick = np.int64(word >> np.uint64(64 - TICK_BITS))
        else:
            tick = photon_tick(word, jitter_ticks)
        insert(clicks, n, slot + (tick << 2) + np.int64(d))
        n += 1
    return n


@njit(cache=True, nogil=True)
def add_clicks(  # type: ignore[no-untyped-def]
    simd, keys, stream, draws, found, rows, first, kept, hits, starts, darks, law, words, ticks, jitter_ticks, clicks, n
):
    """Insert the clicks of the proposals that `keep` found; return how many there are in all then.

    Dark counts fall anywhere in their slot, photons near its centre. Nearly always there is one click, a photon's.

    Args:
        stream: Of the second block of a proposal's words, looked up when more than two detectors click.
        first, kept, hits, starts, darks: See `keep`.
        law: See `pulses.would_be_clicks`.
        words: uint64[4, BATCH]: of the kept proposals; the lower half of a word says whether there was a photon, the
            upper one where the click falls. The last two rows are for work.
        ticks: int64[BATCH]: where a photon falls by words[0].
    """
    _, limits, masks, dark_limits = law
    deep = False
    latest = clicks[n - 1] if n > 0 else np.int64(-(1 << 62))
    for k in range(found):
        cell, word = hits[k], words[0, k]
        if (cell & (cell - np.uint64(1))) == 0 and (word & LOWER_HALF) >= darks[k]:
            click = starts[k] + (ticks[k] << 2)
            if click >= latest:  # nearly always; a call would cost more than all the rest
                clicks[np.uint64(n)] = click
                latest = click
            else:
                insert(clicks, n, click)
            n += 1
            continue
        j = kept[k] - np.uint64(first)
        left = set_hit(draws[j], cell, rows[j], limits, masks)
        but_one = left & (left - np.uint64(1))
        if but_one & (but_one - np.uint64(1)) and not deep:
            nature(simd, keys, stream, kept, found, words[2:])
            deep = True
        slot = (starts[k] >> (TICK_BITS + 2)) << (TICK_BITS + 2)
        n = clicks_of_one(left, slot, rows[j], words, words[2:], k, dark_limits, jitter_ticks, clicks, n)
        latest = clicks[n - 1] if n > 0 else latest
    return n
