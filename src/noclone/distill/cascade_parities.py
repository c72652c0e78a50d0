"""Cascade's secret half in loops: one party's key, cut and ordered for its parities.

A batch is up to 64 frames of m positions, kept *sliced*: bit `lane` of word j is position j of frame `lane`, so that
one operation on words serves a whole batch. Positions are numbered in the order of pass 0, which is a random one.

Of passes 0 and 1 the parities of left halves are kept, a word for each tile of each frame (`cascade_tiles`), of the key
as it stood when the pass was opened: the search itself keeps account of what was corrected since.

The order of a late pass is affine: place t holds position (a t + c) mod m, for random a and c.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from noclone.distill.cascade_tail import late_queries
from noclone.distill.cascade_words import append, put

_U1 = np.uint64(1)
_U0 = np.uint64(0)
_START_MASK = (1 << 26) - 1
_LEVEL_MASK = 63
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def draw_permutations(seeds, perm):  # type: ignore[no-untyped-def]
    """Fill each row with a permutation: Fisher-Yates driven by SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    for p in range(perm.shape[0]):
        row = perm[p]
        m = row.shape[0]
        for i in range(m):
            row[i] = i
        state = seeds[p]
        for i in range(m - 1, 0, -1):
            state += _GOLDEN
            z = state
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
            j = np.int64(((z >> np.uint64(32)) * np.uint64(i + 1)) >> np.uint64(32))
            held = row[i]
            row[i] = row[j]
            row[j] = held


@njit(cache=True, nogil=True)
def place_leaves(order, k, leaf):  # type: ignore[no-untyped-def]
    """Note the leaf that holds each position, in passes 0 and 1: the largest s with s m >> k <= its place."""
    m = order.shape[0]
    for i in range(m):
        s = i if m == 1 << k else (((i + 1) << k) - 1) // m
        leaf[0, i] = s
        leaf[1, order[i]] = s


@njit(cache=True, nogil=True)
def slice_key(words, lanes, order, sliced):  # type: ignore[no-untyped-def]
    """Deal the key out: place order[i] of a batch, which is position i, holds the key's next `lanes` bits there."""
    batches, m = sliced.shape
    mask = ~_U0 if lanes == 64 else (_U1 << np.uint64(lanes)) - _U1
    for b in range(batches):
        for i in range(m):
            at = (b * m + np.int64(order[i])) * lanes
            w = at >> 6
            shift = at & 63
            value = words[w] >> np.uint64(shift) if w < len(words) else _U0
            if shift + lanes > 64 and w + 1 < len(words):
                value |= words[w + 1] << np.uint64(64 - shift)
            sliced[b, i] = value & mask


@njit(cache=True, nogil=True)
def join_key(sliced, lanes, order, words):  # type: ignore[no-untyped-def]
    """Undo `slice_key`; `words` begin as zeros."""
    batches, m = sliced.shape
    for b in range(batches):
        for i in range(m):
            at = (b * m + np.int64(order[i])) * lanes
            w = at >> 6
            shift = at & 63
            if w < len(words):
                words[w] |= sliced[b, i] << np.uint64(shift)
            if shift + lanes > 64 and w + 1 < len(words):
                words[w + 1] |= sliced[b, i] >> np.uint64(64 - shift)


@njit(cache=True, nogil=True)
def _late_sum(source, a, c, low, high):  # type: ignore[no-untyped-def]
    m = len(source)
    position = (a * low + c) % m
    x = _U0
    for _ in range(low, high):
        x ^= source[position]
        position += a
        position -= m if position >= m else 0
    return x


@njit(cache=True, nogil=True)
def _late_parity(source, a, c, chunk, low, high):  # type: ignore[no-untyped-def]
    first = (low + 63) >> 6
    last = high >> 6
    if first >= last:
        return _late_sum(source, a, c, low, high)
    x = _late_sum(source, a, c, low, first << 6) ^ _late_sum(source, a, c, last << 6, high)
    for w in range(first, last):
        x ^= chunk[w]
    return x


@njit(cache=True, nogil=True)
def _sum_chunks(source, orders, chunk):  # type: ignore[no-untyped-def]
    """Add each position to the sums of 64 places that hold it, two passes at a time: the sums are at hand, keys not."""
    m = len(source)
    for p in range(0, len(orders), 2):
        other = min(p + 1, len(orders) - 1)
        step, step2 = orders[p, 2], orders[other, 2]
        place = step * (m - orders[p, 1]) % m
        place2 = step2 * (m - orders[other, 1]) % m
        one, two = chunk[p], chunk[other]
        for o in range(m):
            value = source[o]
            one[place >> 6] ^= value
            two[place2 >> 6] ^= value if other > p else _U0
            place += step
            place -= m if place >= m else 0
            place2 += step2
            place2 -= m if place2 >= m else 0


@njit(cache=True, nogil=True)
def late_parities(sliced, orders, depth, lanes, chunks, at, out):  # type: ignore[no-untyped-def]
    """Sum the late passes 64 places at a time into `chunks`, zeros before; write all top parities but each pass's last.

    They begin at bit `at` of `out`, which holds zeros from there on.
    """
    batches, m = sliced.shape
    for b in range(batches):
        _sum_chunks(sliced[b], orders, chunks[b])
        for p in range(len(orders)):
            for i in range((1 << depth) - 1):
                low, high = i * m >> depth, (i + 1) * m >> depth
                put(out, at, _late_parity(sliced[b], orders[p, 0], orders[p, 1], chunks[b, p], low, high), lanes)
                at += lanes


@njit(cache=True, nogil=True)
def first_parities(asked, active, counts, known, out):  # type: ignore[no-untyped-def]
    """Write one party's parities for the first wave, all of it in pass 1."""
    t = 0
    for f in active:
        row = known[f, 1]
        for _ in range(counts[f]):
            query = np.int64(asked[t])
            append(out, t, row[query >> 6, 2] >> np.uint64(query & 63) & _U1)
            t += 1


@njit(cache=True, nogil=True)
def searched_parities(at, active, modes, lanes, k, sliced, orders, chunks, late_search, out):  # type: ignore[no-untyped-def]
    """Write one party's parity for each late search behind the `at` parities that stand in `out`."""
    m = sliced.shape[1]
    for f in active:
        if modes[f] < 2:
            continue
        b = np.int64(f) // lanes
        query = np.int64(late_search[f])
        p = (query >> 32) - 2
        s = query & _START_MASK
        asked = late_queries(query, k)
        size = 1 << (k - 1 - asked // 3 - ((query >> 26) & _LEVEL_MASK))
        for i in range(asked):
            low = (s + i * size) * m >> k
            high = (s + (i + 1) * size) * m >> k
            x = _late_parity(sliced[b], orders[p, 0], orders[p, 1], chunks[b, p], low, high)
            append(out, at, (x >> np.uint64(np.int64(f) - b * lanes)) & _U1)
            at += 1


@njit(cache=True, nogil=True)
def correct(flips, orders, late_opened, sliced, chunks):  # type: ignore[no-untyped-def]
    """Flip the positions found: batch << 22 | position << 6 | lane."""
    m = sliced.shape[1]
    for flip in flips:
        b = flip >> 22
        o = flip >> 6 & 0xFFFF
        frame = _U1 << np.uint64(flip & 63)
        sliced[b, o] ^= frame
        if late_opened:
            for p in range(orders.shape[0]):
                chunks[b, p, (orders[p, 2] * (o - orders[p, 1] + m) % m) >> 6] ^= frame
