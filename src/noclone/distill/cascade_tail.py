"""The tail of Cascade's search: late passes, and blocks whose halves are asked about ahead.

Once few queries are left, a round costs more than a bit. So the late passes are opened beside the last waves; a late
search asks for three quarters of a block at once, which goes down two levels a round for three bits; and a query in a
tree goes together with those about the block's halves, where they lie in the same tile. An even half asked about ahead
may turn out to hold two errors: then both its halves are searched.

Of late passes only the top blocks are kept, sliced: late[batch, pass - 2, block] has a bit for each frame, set if the
block holds an odd number of errors. A frame searches one block at a time: pass << 32 | level << 26 | first leaf.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from noclone.distill.cascade_known import AHEAD, PARITY, U0, U1, ask, tell_roots
from noclone.distill.cascade_words import count, take

_START_MASK = (1 << 26) - 1
_LEVEL_MASK = 63


@njit(cache=True, nogil=True)
def late_queries(search, k):  # type: ignore[no-untyped-def]
    """Return how many parities a late search asks for: all quarters but the last, or one half."""
    return 3 if (search >> 26) & _LEVEL_MASK < k - 1 else 1


@njit(cache=True, nogil=True)
def open_late(outcomes, at, shape, known, late, active, counts, result):  # type: ignore[no-untyped-def]
    """Enter the top blocks of all late passes, from bit `at` on as `late_parities` writes them, and wake idle frames.

    What a frame's last block holds follows from whether it has an odd number of errors left, as pass 1 knows.
    """
    lanes, k, _, _, _, deep1 = shape
    batches, passes, blocks = late.shape
    words = 1 << (k - 6)
    first, last = (words, known.shape[2]) if deep1 else (0, words)
    mask = ~U0 if lanes == 64 else (U1 << np.uint64(lanes)) - U1
    for b in range(batches):
        odd = U0
        for lane in range(lanes):
            for tile in range(first, last):
                odd ^= (known[b * lanes + lane, 1, tile, 0] & U1) << np.uint64(lane)
        for p in range(passes):
            total = odd
            for i in range(blocks - 1):
                word = take(outcomes, at, lanes) & mask
                at += lanes
                late[b, p, i] = word
                total ^= word
            late[b, p, blocks - 1] = total
    for f in range(len(counts)):
        active[result[3] + result[4]] = f
        result[4] += np.int64(counts[f] == 0)


@njit(cache=True, nogil=True)
def flip_late(late, o, frame, orders, m):  # type: ignore[no-untyped-def]
    for p in range(late.shape[0]):
        place = orders[p, 2] * (o - orders[p, 1] + m) % m
        for i in range(late.shape[1]):
            if place < ((i + 1) * m) // late.shape[1]:
                late[p, i] ^= frame
                break


@njit(cache=True, nogil=True)
def first_odd(late, frame, depth, k):  # type: ignore[no-untyped-def]
    """Return a frame's first odd block of a late pass, as a search: pass << 32 | level << 26 | first leaf; or 0."""
    for p in range(late.shape[0]):
        for i in range(late.shape[1]):
            if late[p, i] & frame:
                return np.int64((p + 2) << 32 | depth << 26 | i << (k - depth))
    return np.int64(0)


@njit(cache=True, nogil=True)
def enter_late(search, outcomes, at, orders, m, k):  # type: ignore[no-untyped-def]
    """Enter the outcomes of a late search; return the search, 0 at its end, and then the position found."""
    p = search >> 32
    s = search & _START_MASK
    asked = late_queries(search, k)
    v = ((search >> 26) & _LEVEL_MASK) + 1 + asked // 3
    part = 0
    while part < asked and not (outcomes[(at + part) >> 6] >> np.uint64((at + part) & 63)) & U1:
        part += 1
    s += part << (k - v)
    low = s * m >> k
    if v == k or ((s + (1 << (k - v))) * m >> k) - low == 1:
        return np.int64(0), (orders[p - 2, 0] * low + orders[p - 2, 1]) % m
    return np.int64(p << 32 | v << 26 | s), -1


@njit(cache=True, nogil=True)
def _descend(row, tile, node, words, deep, singles, following, n, told, n_told, found, errors):  # type: ignore[no-untyped-def]
    """From an odd block go down as far as parities are known; ask there, or note the error at the end."""
    while True:
        if node > 63 and deep and tile >= words:
            tile = (tile - words) << 6 | (node & 63)
            node = 1
        if node < 64 and len(singles) and tile < words and (singles[tile] >> np.uint64(node)) & U1:
            node *= 2
        if node > 63:
            if errors == len(found):
                return -1, -1
            found[errors] = tile << 6 | (node & 63)
            return n, errors + 1
        if not (row[tile, 1] >> np.uint64(node)) & U1:
            before = n
            n = ask(row, tile, node, 1, following, n, told, n_told)
            return (n, errors) if n > before else (-1, -1)
        left = np.int64((row[tile, 0] >> np.uint64(node)) & U1)
        node = 2 * node + 1 - left


@njit(cache=True, nogil=True)
def enter_tail(row, queries, outcomes, at, words, deep, singles, following, told, n_told, found):  # type: ignore[no-untyped-def]
    """Enter a wave's outcomes where halves were asked about ahead; return as `_enter`, or -1, -1: no room."""
    for t in range(len(queries)):
        query = np.int64(queries[t]) & ~AHEAD
        differ = (outcomes[(at + t) >> 6] >> np.uint64((at + t) & 63)) & U1
        row[query >> 6, 0] ^= differ << np.uint64(query & 63)
        tell_roots(row, query >> 6, query & 63, words, deep)
    n = 0
    errors = 0
    for t in range(len(queries)):
        ahead = np.int64(queries[t]) & AHEAD
        query = np.int64(queries[t]) & ~AHEAD
        tile = query >> 6
        node = query & 63
        left = np.int64((row[tile, 0] >> np.uint64(node)) & U1)
        odd = np.int64(count(row[tile, 0] & PARITY[node]) & U1)
        for half in range(2):
            # An odd block asked about ahead is on the way of the one above it. An even one may hold two errors.
            wanted = left and not odd if ahead else half == 1 - left
            if wanted:
                n, errors = _descend(
                    row, tile, 2 * node + half, words, deep, singles, following, n, told, n_told, found, errors
                )
                if n < 0:
                    return n, errors
    return n, errors
