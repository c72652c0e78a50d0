"""Cascade's public half in loops: the search that both parties run alike, fed with the same outcomes.

Blocks are those of `cascade_parities`, and so are rows: one for each batch, pass (0 or 1) and lane.
Bit row << (k + 1) | top << (d + 1) | heap index of `odd` says whether the block is known to hold an odd number of
errors not yet found; where it is not known yet, how many of the errors found since the pass was opened lie in it. So an
outcome that comes later, told of the key as it was when the pass was opened, only has to be added.
Bit row << k | top << d | heap index of `split` says whether the left half was asked for: both halves are known, or will
be with the next outcomes. Of late passes only the top blocks are kept, sliced: `late[batch, pass - 2, block]` has a bit
for each frame.

A query in passes 0 and 1 is the number of the block's bit in `odd`; queries are ordered by batch.
A contradiction ends the search: a position found twice is, by then, a block of its own that is known to be right.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from noclone.distill.cascade_words import count, leading_zeros, take, trailing_zeros

_U1 = np.uint64(1)
_U0 = np.uint64(0)
_START_MASK = (1 << 26) - 1
_LEVEL_MASK = 63
_LATE = 0  # no node has this number: found in a late pass

OK, FLIPPED_TWICE, QUEUE_FULL = 0, 1, 2


@njit(cache=True, nogil=True)
def open_tree(p, outcomes, lanes, depth, k, odd, split, asked):  # type: ignore[no-untyped-def]
    """Enter the top blocks of pass 0 or 1, and ask for the left half of each odd one; return how many queries.

    In pass 1 the last block of each frame was not asked for: all differences of a frame add up to zero by then.
    """
    d = k - depth
    blocks = 1 << depth
    told = blocks - p
    n = np.int64(0)
    for b in range(len(split) >> (k + 1)):
        for lane in range(lanes):
            row = (2 * b + p) << 6 | lane
            total = _U0
            at = b * told * lanes + lane
            for top in range(blocks):
                if top < told:
                    bit = (outcomes[at >> 6] >> np.uint64(at & 63)) & _U1
                    at += lanes
                    total ^= bit
                else:
                    bit = total
                node = row << (k + 1) | top << (d + 1) | 1
                half = row << k | top << d | 1
                odd[node >> 6] |= bit << np.uint64(node & 63)
                split[half >> 6] |= bit << np.uint64(half & 63)
                asked[n] = node
                n += np.int64(bit)
    return n


@njit(cache=True, nogil=True)
def open_late(outcomes, lanes, late):  # type: ignore[no-untyped-def]
    """Enter the top blocks of all late passes, laid out as `late_parities` writes them."""
    batches, passes, blocks = late.shape
    mask = ~_U0 if lanes == 64 else (_U1 << np.uint64(lanes)) - _U1
    at = 0
    for b in range(batches):
        for p in range(passes):
            total = _U0
            for i in range(blocks - 1):
                word = take(outcomes, at, lanes) & mask
                at += lanes
                late[b, p, i] = word
                total ^= word
            late[b, p, blocks - 1] = total


@njit(cache=True, nogil=True)
def _place(node, d, m, k):  # type: ignore[no-untyped-def]
    """Return the first place of a block and how many it has."""
    node &= (2 << k) - 1
    i = node & ((2 << d) - 1)
    below = 63 - np.int64(leading_zeros(np.uint64(i)))
    s = (node >> (d + 1) << d) + ((i - (1 << below)) << (d - below))
    low = s * m >> k
    return low, ((s + (1 << (d - below))) * m >> k) - low


@njit(cache=True, nogil=True)
def _enter(b, t, at, asked, outcomes, depths, k, perm, odd, fresh, found):  # type: ignore[no-untyped-def]
    """Enter one batch's outcomes: each odd block has one odd half, which is searched next or is an error.

    Return how many queries and bits were used, and how many blocks and errors came out.
    """
    m = perm.shape[1]
    ragged = m != 1 << k
    d0 = k - depths[0]
    d1 = k - depths[1]
    n = 0
    errors = 0
    while t < len(asked):
        node = asked[t]
        if node >> (k + 8) != b:
            break
        p = node >> (k + 7) & 1
        d = d1 if p else d0
        i = node & ((2 << d) - 1)
        node += i
        shift = np.uint64(node & 63)
        word = odd[node >> 6]
        left = (word >> shift ^ outcomes[at >> 6] >> np.uint64(at & 63)) & _U1
        odd[node >> 6] = word & ~(np.uint64(3) << shift) | (np.uint64(2) - left) << shift
        node += 1 - np.int64(left)
        at += 1
        t += 1
        if i < 1 << (d - 1) and not ragged:
            fresh[n] = node
            n += 1
            continue
        low, size = _place(node, d, m, k)
        if size == 1:
            found[errors, 0] = node
            found[errors, 1] = perm[p, low]
            found[errors, 2] = node >> (k + 1) & 63
            errors += 1
        else:
            fresh[n] = node
            n += 1
    return t, at, n, errors


@njit(cache=True, nogil=True)
def _enter_late(b, at, outcomes, lanes, k, orders, m, late_asked, late_search, found, errors):  # type: ignore[no-untyped-def]
    """Enter the outcomes of one batch's searches in late passes."""
    waiting = late_asked[b]
    while waiting != _U0:
        lane = np.int64(trailing_zeros(waiting))
        waiting &= waiting - _U1
        query = np.int64(late_search[b * lanes + lane])
        left = np.int64((outcomes[at >> 6] >> np.uint64(at & 63)) & _U1)
        at += 1
        p = query >> 32
        v = ((query >> 26) & _LEVEL_MASK) + 1
        s = (query & _START_MASK) + ((1 - left) << (k - v))
        low = s * m >> k
        if ((s + (1 << (k - v))) * m >> k) - low == 1:
            late_search[b * lanes + lane] = _U0
            found[errors, 0] = _LATE
            found[errors, 1] = (orders[p - 2, 0] * low + orders[p - 2, 1]) % m
            found[errors, 2] = lane
            errors += 1
        else:
            late_search[b * lanes + lane] = np.uint64(p << 32 | v << 26 | s)
    return at, errors


@njit(cache=True, nogil=True)
def _flip(b, o, lane, opened, depths, k, m, leaf, odd, split, fresh, n):  # type: ignore[no-untyped-def]
    """Enter an error at position o: every block that holds it changes sides, and the smallest known one may be odd."""
    for p in range(min(opened, 2)):
        d = k - depths[p]
        s = np.int64(leaf[p, o])
        inner = 1 << d | (s & ((1 << d) - 1))
        first = ((2 * b + p) << 6 | lane) << k | s >> d << d
        start = 2 * first
        below = max(d - 5, 0)
        path = _U0  # the six highest levels of a tree lie in one word
        for j in range(below, d + 1):
            path |= _U1 << np.uint64(inner >> j)
        odd[start >> 6] ^= path << np.uint64(start & 63)
        for j in range(below):
            x = start + (inner >> j)
            odd[x >> 6] ^= _U1 << np.uint64(x & 63)
        j = d
        while j > 0:
            x = first + (inner >> j)
            if not (split[x >> 6] >> np.uint64(x & 63)) & _U1:
                break
            j -= 1
        x = start + (inner >> j)
        if (odd[x >> 6] >> np.uint64(x & 63)) & _U1:
            if j == 0 or (m != 1 << k and _place(x, d, m, k)[1] == 1):
                return -1  # a single position, known to be right, would have become wrong
            fresh[n] = x
            n += 1
    return n


@njit(cache=True, nogil=True)
def _flip_late(b, o, frames, orders, m, late):  # type: ignore[no-untyped-def]
    for p in range(late.shape[1]):
        place = orders[p, 2] * (o - orders[p, 1] + m) % m
        for i in range(late.shape[2]):
            if place < ((i + 1) * m) // late.shape[2]:
                late[b, p, i] ^= frames
                break


@njit(cache=True, nogil=True)
def _collect(fresh, n, depths, k, odd, split, asked, t, room):  # type: ignore[no-untyped-def]
    """Ask for the left half of each block in `fresh` that is still odd and not yet asked about."""
    busy = _U0
    d0 = k - depths[0]
    d1 = k - depths[1]
    for i in range(n):
        if t == room:
            break
        node = fresh[i]
        d = d1 if node >> (k + 7) & 1 else d0
        x = node >> (d + 1) << d | (node & ((1 << d) - 1))
        shift = np.uint64(x & 63)
        bit = (odd[node >> 6] >> np.uint64(node & 63)) & ~(split[x >> 6] >> shift) & _U1
        split[x >> 6] |= bit << shift
        asked[t] = node
        t += np.int64(bit)
        busy |= bit << np.uint64(node >> (k + 1) & 63)
    return t, busy


@njit(cache=True, nogil=True)
def _collect_late(b, busy, lanes, depth, k, late, late_search):  # type: ignore[no-untyped-def]
    """Return the frames that search in a late pass: those that have no odd block in passes 0 and 1.

    They search one block at a time: these are large, and each error found there may settle others.
    """
    passes, blocks = late.shape[1:]
    unsettled = _U0
    for p in range(passes):
        for i in range(blocks):
            unsettled |= late[b, p, i]
    waiting = unsettled & ~busy
    chosen = _U0
    while waiting != _U0:
        lane = trailing_zeros(waiting)
        waiting &= waiting - _U1
        f = b * lanes + np.int64(lane)
        if late_search[f] == _U0:
            late_search[f] = _first_odd(late[b], _U1 << lane, depth, k)
        chosen |= _U1 << lane
    return chosen


@njit(cache=True, nogil=True)
def _first_odd(words, bit, depth, k):  # type: ignore[no-untyped-def]
    for p in range(words.shape[0]):
        for i in range(words.shape[1]):
            if words[p, i] & bit:
                return np.uint64((p + 2) << 32 | depth << 26 | i << (k - depth))
    return _U0


@njit(cache=True, nogil=True)
def advance(  # type: ignore[no-untyped-def]
    asked, outcomes, opened, lanes, depths, k, perm, leaf, orders, odd, split, late, late_asked, late_search,
    fresh, found, following, flips, result,
):  # fmt: skip
    """Enter the outcomes of all queries, 1 where the left half's parities differ, and choose the next queries.

    A frame searches all its odd blocks of passes 0 and 1 at once; only when there are none does it search in a late
    pass. `flips` lists the errors found, batch << 22 | position << 6 | lane; `following` are the next queries in
    trees; `result` holds their number, the number of all next queries, and the number of errors.
    """
    m = perm.shape[1]
    t = at = n_next = n_flips = 0
    late_parities = np.int64(0)
    room = (len(following) - 1) // len(late_asked)  # queries of one batch
    for b in range(len(late_asked)):
        t, at, n, errors = _enter(b, t, at, asked, outcomes, depths, k, perm, odd, fresh, found)
        at, errors = _enter_late(b, at, outcomes, lanes, k, orders, m, late_asked, late_search, found, errors)
        for e in range(errors):
            node = found[e, 0]
            o = found[e, 1]
            lane = found[e, 2]
            if node != _LATE and not (odd[node >> 6] >> np.uint64(node & 63)) & _U1:
                continue  # another pass has found it in this round too
            n = _flip(b, o, lane, opened, depths, k, m, leaf, odd, split, fresh, n)
            if n < 0:
                return FLIPPED_TWICE
            if opened > 2:
                _flip_late(b, o, _U1 << np.uint64(lane), orders, m, late)
            flips[n_flips] = b << 22 | o << 6 | lane
            n_flips += 1
        before = n_next
        n_next, busy = _collect(fresh, n, depths, k, odd, split, following, n_next, before + room)
        if n_next == before + room:
            return QUEUE_FULL
        late_asked[b] = _U0
        if opened > 2:
            late_asked[b] = _collect_late(b, busy, lanes, depths[2], k, late, late_search)
            late_parities += np.int64(count(late_asked[b]))
    result[0] = n_next
    result[1] = n_next + late_parities
    result[2] = n_flips
    return OK
