"""Cascade's public search in loops, from pass 1 on: both parties run it alike, fed with the same outcomes.

A frame searches in *waves*: all its odd blocks in one of the first two passes, in step, until each has given its error.
These errors make blocks of the other pass odd, which is the next wave. Nothing found in a wave touches the blocks that
it still searches, and a wave of s blocks finds s errors; hence no later wave has more than s, but for what is found
ahead (`cascade_tail`). When both passes are even, one odd block of one late pass is searched: these are large, and each
error found there may settle others.

What is known is kept as `cascade_known` says: known[frame, pass, tile] has three words. A contradiction ends the
search: a position that both passes single out is known to be right once it is corrected.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from noclone.distill.cascade_known import AHEAD, TOGGLED, U1, begin_wave, flip
from noclone.distill.cascade_tail import enter_late, enter_tail, first_odd, flip_late, late_queries
from noclone.distill.cascade_words import append, prefetch

LATE = 2  # what a frame searches in: pass 0, pass 1, or a late one
OK, FLIPPED_TWICE, QUEUE_FULL = 0, 1, 2


@njit(cache=True, nogil=True)
def _enter(row, queries, outcomes, at, words, deep, singles, following, told, n_told, found):  # type: ignore[no-untyped-def]
    """Enter a wave's outcomes: the odd half of each block is searched next, or is an error at leaf found[..].

    Return how many queries follow and how many errors came out. Both are written always and counted where they are
    real: a branch that nobody can foresee costs more than all the rest.
    """
    n = np.int64(0)
    errors = np.int64(0)
    for t in range(len(queries)):
        query = np.int64(queries[t])
        tile = query >> 6
        node = query & 63
        differ = (outcomes[at >> 6] >> np.uint64(at & 63)) & U1
        at += 1
        word = row[tile, 0] ^ differ << np.uint64(node)
        row[tile, 0] = word
        left = np.int64((word >> np.uint64(node)) & U1)
        child = 2 * node + 1 - left
        if deep and child >= 64 and tile >= words:  # down into a low tile: both its neighbours' parities are known now
            tile = (tile - words) << 6 | (child & 62)
            row[tile, 0] = row[tile, 0] & ~U1 | np.uint64(left)
            row[tile + 1, 0] = row[tile + 1, 0] & ~U1 | np.uint64(1 - left)
            tile += child & 1
            child = np.int64(1)
        inner = np.int64(child < 64)
        if len(singles) and inner and tile < words and (singles[tile] >> np.uint64(child)) & U1:
            inner = np.int64(0)
            child *= 2
        child &= 63
        row[tile, 1] |= np.uint64(inner) << np.uint64(child)
        append(told, n_told + n, row[tile, 2] >> np.uint64(child) & np.uint64(inner))
        following[n] = tile << 6 | child
        n += inner
        found[errors] = tile << 6 | child
        errors += 1 - inner
    return n, errors


@njit(cache=True, nogil=True)
def _enter_errors(f, p, leaves, perm, leaf, k, words, deep, known, candidates, n_candidates, flips):  # type: ignore[no-untyped-def]
    """Enter the errors that one frame found in one wave of pass p, and note the blocks that they make odd in the other.

    Loops are short and free of branches, so that many errors wait for memory together. Return a status.
    """
    m = perm.shape[1]
    q = 1 - p
    n = n_candidates[f, q]
    if n + len(leaves) > candidates.shape[2]:
        return QUEUE_FULL
    for e in range(len(leaves)):
        s = np.int64(leaves[e])
        flips[e] = perm[p, s if m == 1 << k else s * m >> k]
    row = known[f, p]
    other = known[f, q]
    for e in range(len(leaves)):
        s = np.int64(leaves[e])
        row[s >> 6, 0] ^= TOGGLED[s & 63]
        if deep[p]:
            row[words + (s >> 12), 0] ^= TOGGLED[(s >> 6) & 63]
        s = np.int64(leaf[q, flips[e]])
        leaves[e] = s
        prefetch(other, 3 * (s >> 6))
    worst = np.int64(0)
    for e in range(len(leaves)):
        query = flip(other, np.int64(leaves[e]), words, deep[q])
        worst = min(worst, query)
        candidates[f, q, n + e] = query
    n_candidates[f, q] = n + len(leaves)
    return OK if worst == 0 else FLIPPED_TWICE


@njit(cache=True, nogil=True)
def _enter_late_error(f, o, leaf, words, deep, known, candidates, n_candidates):  # type: ignore[no-untyped-def]
    """Enter an error at position o that a late search found; return a status."""
    for q in range(2):
        query = flip(known[f, q], np.int64(leaf[q, o]), words, deep[q])
        if query < 0:
            return FLIPPED_TWICE
        if n_candidates[f, q] == candidates.shape[2]:
            return QUEUE_FULL
        candidates[f, q, n_candidates[f, q]] = query
        n_candidates[f, q] += 1
    return OK


@njit(cache=True, nogil=True)
def _fetch(known, f, modes, counts, queries):  # type: ignore[no-untyped-def]
    """Have what a frame's outcomes will touch fetched while another frame is at work."""
    if modes[f] < LATE:
        row = known[f, modes[f]]
        for t in range(counts[f]):
            prefetch(row, 3 * ((np.int64(queries[t]) & ~AHEAD) >> 6))


@njit(cache=True, nogil=True)
def _next_wave(  # type: ignore[no-untyped-def]
    f, shape, modes, known, late, late_search, candidates, n_candidates, following, told, n_told
):  # fmt: skip
    """Let a frame whose wave has ended begin the next one or a late search; return the queries in trees, and all."""
    lanes, k, depth, late_open = shape[:4]
    for turn in range(2):
        q = turn ^ (1 - modes[f] if modes[f] < LATE else 0)
        n = begin_wave(known[f, q], candidates[f, q, : n_candidates[f, q]], late_open, following, told, n_told)
        n_candidates[f, q] = 0
        if n:
            modes[f] = q
            return n, n
    if late_open:
        b = f // lanes
        late_search[f] = first_odd(late[b], U1 << np.uint64(f - b * lanes), depth, k)
        if late_search[f]:
            modes[f] = LATE
            return 0, late_queries(late_search[f], k)
    return 0, 0


@njit(cache=True, nogil=True)
def _enter_frame(  # type: ignore[no-untyped-def]
    f, p, queries, outcomes, at, late_at, shape, perm, leaf, singles, orders, known, late_search,
    candidates, n_candidates, found, following, told, n_told, flips,
):  # fmt: skip
    """Enter one frame's outcomes; return queries in trees, all queries, errors, and a status."""
    _, k, _, late_open, deep0, deep1 = shape
    deep = (deep0, deep1)
    words = 1 << (k - 6)
    if p == LATE:
        late_search[f], o = enter_late(late_search[f], outcomes, late_at, orders, perm.shape[1], k)
        if late_search[f]:
            return 0, late_queries(late_search[f], k), 0, OK
        flips[0] = o
        return 0, 0, 1, _enter_late_error(f, o, leaf, words, deep, known, candidates, n_candidates)
    if late_open:
        n, errors = enter_tail(
            known[f, p], queries, outcomes, at, words, deep[p], singles, following, told, n_told, found
        )
        if n < 0:
            return 0, 0, 0, QUEUE_FULL
    else:
        n, errors = _enter(known[f, p], queries, outcomes, at, words, deep[p], singles, following, told, n_told, found)
    if errors == 0:
        return n, n, 0, OK
    status = _enter_errors(f, p, found[:errors], perm, leaf, k, words, deep, known, candidates, n_candidates, flips)
    return n, n, errors, status


@njit(cache=True, nogil=True)
def advance(  # type: ignore[no-untyped-def]
    asked, outcomes, shape, active, counts, modes, perm, leaf, singles, orders, known, late, late_search,
    candidates, n_candidates, found, following, told, flips, result,
):  # fmt: skip
    """Enter the outcomes of all queries, 1 where the left half's parities differ, and choose the next queries.

    `active` lists the frames that ask, `counts` says how many queries each has, `modes` what they are about; those in
    trees stand in `asked`, in the same order, and their outcomes come first. `flips` lists the errors found,
    batch << 22 | position << 6 | lane; `following` are the next queries in trees, `told` one's parities for them.
    `result` holds their number, the number of all next queries, the number of errors, how many frames ask, and how
    many idle ones behind these in `active` have to look for work.
    """
    lanes = shape[0]
    m = perm.shape[1]
    t = n_next = n_all = n_flips = n_on = np.int64(0)
    at = np.int64(len(asked))
    for i in range(result[3] + result[4]):
        f = np.int64(active[i])
        n = np.int64(counts[f])
        b = f // lanes
        more = n_here = 0
        if i < result[3]:
            p = np.int64(modes[f])
            n_tree = np.int64(0) if p == LATE else n
            if i + 1 < result[3]:
                _fetch(known, active[i + 1], modes, counts, asked[t + n_tree :])
            more, n_here, errors, status = _enter_frame(
                f, p, asked[t : t + n_tree], outcomes, t, at, shape, perm, leaf, singles, orders, known, late_search,
                candidates, n_candidates, found, following[n_next:], told, n_next, flips[n_flips:],
            )  # fmt: skip
            if status != OK:
                return status
            t += n_tree
            at += n - n_tree
            for e in range(n_flips, n_flips + errors):
                if shape[3]:
                    flip_late(late[b], flips[e], U1 << np.uint64(f - b * lanes), orders, m)
                flips[e] = b << 22 | flips[e] << 6 | (f - b * lanes)
            n_flips += errors
        if n_here == 0:
            more, n_here = _next_wave(
                f, shape, modes, known, late, late_search, candidates, n_candidates, following[n_next:], told, n_next
            )
        n_next += more
        n_all += n_here
        counts[f] = n_here
        active[n_on] = f
        n_on += np.int64(n_here > 0)
    result[0] = n_next
    result[1] = n_all
    result[2] = n_flips
    result[3] = n_on
    result[4] = 0
    return OK
