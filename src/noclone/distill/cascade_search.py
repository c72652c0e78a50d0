"""Cascade's public half in loops: the search that both parties run alike, fed with the same outcomes.

Blocks are those of `cascade_parities`. One word speaks for all frames of a batch. `odd[pass, batch, node]`, with node =
top << (d + 1) | heap index, says in which frames the block is known to hold an odd number of errors not yet found;
where the block is not known yet, how many of the errors found since the pass was opened lie in it. So an outcome
that comes later, told of the key as it was when the pass was opened, only has to be added.
`split[pass, batch, top << d | heap index]` says in which frames the left half was asked for: both halves are known, or
will be with the next outcomes. Of late passes only the top blocks are kept: `late[batch, pass - 2, block]`.

A query is a node and the frames that ask: `asked[t] = (batch << 20 | pass << 18 | node, frames)`, ordered by batch.
A contradiction ends the search: a position found twice is, by then, a block of its own that is known to be right.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from noclone.distill.cascade_words import count, leading_zeros, spread, take, trailing_zeros

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
    mask = ~_U0 if lanes == 64 else (_U1 << np.uint64(lanes)) - _U1
    at = 0
    n = 0
    for b in range(len(odd) >> (k + 2)):
        total = _U0
        for top in range(blocks):
            if p == 0 or top < blocks - 1:
                word = take(outcomes, at, lanes) & mask
                at += lanes
                total ^= word
            else:
                word = total
            odd[(2 * b + p) << (k + 1) | top << (d + 1) | 1] = word
            split[(2 * b + p) << k | top << d | 1] = word
            asked[n, 0] = np.uint64((2 * b + p) << (k + 1) | top << (d + 1) | 1)
            asked[n, 1] = word
            n += word != _U0
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
        code = np.int64(asked[t, 0])
        if code >> (k + 2) != b:
            break
        mask = asked[t, 1]
        p = code >> (k + 1) & 1
        d = d1 if p else d0
        i = code & ((2 << d) - 1)
        c = np.int64(count(mask))
        code += i
        x = odd[code] ^ spread(take(outcomes, at, c), mask)
        at += c
        t += 1
        left = x & mask
        right = left ^ mask
        odd[code] = x
        odd[code + 1] = odd[code + 1] & ~mask | right
        if i < 1 << (d - 1) and not ragged:
            fresh[n, 0] = np.uint64(code)
            fresh[n, 1] = left
            n += left != _U0
            fresh[n, 0] = np.uint64(code + 1)
            fresh[n, 1] = right
            n += right != _U0
            continue
        for half in range(2):
            frames = right if half else left
            if frames == _U0:
                continue
            low, size = _place(code + half, d, m, k)
            if size == 1:
                found[errors, 0] = np.uint64(code + half)
                found[errors, 1] = np.uint64(perm[p, low])
                found[errors, 2] = frames
                errors += 1
            else:
                fresh[n, 0] = np.uint64(code + half)
                fresh[n, 1] = frames
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
        left = np.int64(take(outcomes, at, 1) & _U1)
        at += 1
        p = query >> 32
        v = ((query >> 26) & _LEVEL_MASK) + 1
        s = (query & _START_MASK) + ((1 - left) << (k - v))
        low = s * m >> k
        if ((s + (1 << (k - v))) * m >> k) - low == 1:
            late_search[b * lanes + lane] = _U0
            found[errors, 0] = np.uint64(_LATE)
            found[errors, 1] = np.uint64((orders[p - 2, 0] * low + orders[p - 2, 1]) % m)
            found[errors, 2] = _U1 << np.uint64(lane)
            errors += 1
        else:
            late_search[b * lanes + lane] = np.uint64(p << 32 | v << 26 | s)
    return at, errors


@njit(cache=True, nogil=True)
def _flip(b, o, frames, opened, depths, k, m, leaf, odd, split, fresh, n):  # type: ignore[no-untyped-def]
    """Enter an error at position o: every block that holds it changes sides, and the smallest known one may be odd."""
    for p in range(min(opened, 2)):
        d = k - depths[p]
        s = np.int64(leaf[p, o])
        inner = 1 << d | (s & ((1 << d) - 1))
        first = (2 * b + p) << k | s >> d << d
        known = frames
        for j in range(d, -1, -1):
            i = inner >> j
            x = odd[2 * first + i] ^ frames
            odd[2 * first + i] = x
            if known == _U0:
                continue
            stop = known if j == 0 else known & ~split[first + i]
            known ^= stop
            x &= stop
            if x != _U0:
                if j == 0 or (m != 1 << k and _place(2 * first | i, d, m, k)[1] == 1):
                    return -1  # a single position, known to be right, would have become wrong
                fresh[n, 0] = np.uint64(2 * first | i)
                fresh[n, 1] = x
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
    for i in range(n):
        if t == room:
            break
        code = np.int64(fresh[i, 0])
        d = k - depths[code >> (k + 1) & 1]
        x = code >> (d + 1) << d | (code & ((1 << d) - 1))
        mask = fresh[i, 1] & odd[code] & ~split[x]
        split[x] |= mask
        asked[t, 0] = fresh[i, 0]
        asked[t, 1] = mask
        t += mask != _U0
        busy |= mask
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
    pass. `flips` lists the errors found as (batch << 20 | position, frames); `following` are the next queries;
    `result` holds the numbers of next tree queries, of their parities with the late ones, of flips and of errors.
    """
    m = perm.shape[1]
    t = at = n_next = n_flips = 0
    errors_found = parities = np.int64(0)
    room = 2 << k  # queries of one batch
    for b in range(len(late_asked)):
        t, at, n, errors = _enter(b, t, at, asked, outcomes, depths, k, perm, odd, fresh, found)
        at, errors = _enter_late(b, at, outcomes, lanes, k, orders, m, late_asked, late_search, found, errors)
        for e in range(errors):
            code = np.int64(found[e, 0])
            o = np.int64(found[e, 1])
            frames = found[e, 2]
            if code != _LATE:
                frames &= odd[code]  # another pass may have found it in this round too
            if frames == _U0:
                continue
            if n + 2 * lanes > len(fresh) or n_flips == len(flips):
                return QUEUE_FULL
            n = _flip(b, o, frames, opened, depths, k, m, leaf, odd, split, fresh, n)
            if n < 0:
                return FLIPPED_TWICE
            if opened > 2:
                _flip_late(b, o, frames, orders, m, late)
            flips[n_flips, 0] = np.uint64(b << 20 | o)
            flips[n_flips, 1] = frames
            n_flips += 1
            errors_found += np.int64(count(frames))
        before = n_next
        n_next, busy = _collect(fresh, n, depths, k, odd, split, following, n_next, before + room)
        if n_next == before + room:
            return QUEUE_FULL
        for i in range(before, n_next):
            parities += np.int64(count(following[i, 1]))
        late_asked[b] = _U0
        if opened > 2:
            late_asked[b] = _collect_late(b, busy, lanes, depths[2], k, late, late_search)
            parities += np.int64(count(late_asked[b]))
    result[0] = n_next
    result[1] = parities
    result[2] = n_flips
    result[3] = errors_found
    return OK
