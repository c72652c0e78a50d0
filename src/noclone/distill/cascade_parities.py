"""Cascade's secret half in loops: one party's key, cut and ordered for its parities.

A batch is up to 64 frames of m positions, kept *sliced*: bit `lane` of word j is position j of frame `lane`, so that
one operation on words serves a whole batch. Positions are numbered in the order of pass 0, which is a random one.

Each pass splits a frame into a binary tree of blocks: level v has 2^v of them, level k has 2^k leaves, where
2^(k-1) < m <= 2^k. The block of level v that begins at leaf s covers the places s m >> k .. (s + 2^(k-v)) m >> k:
frames need no power of two, and blocks of one level differ by at most one place.

Passes 0 and 1 begin at 2^depth top blocks. Below a top block the tree is a heap: node 1 is the top block, nodes 2 i and
2 i + 1 are the halves of node i. Element top << d | i of a tree, where d = k - depth, is the parity of the left half
of node i, which is all that is ever asked; node 0 stands for the whole top block. Trees are computed sliced, for all
frames at once, and kept as rows of bits: row (2 batch + pass) << 6 | lane. The parities are those of the key as
it stood when the pass was opened: the search itself keeps account of what was corrected since.

The order of a late pass is affine: place t holds position (a t + c) mod m, for random a and c.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from noclone.distill.cascade_words import put, trailing_zeros

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
def build_tree(source, order, depth, k, left):  # type: ignore[no-untyped-def]
    """Write one batch's parities of all left halves in one pass; `order` is empty for pass 0."""
    m = source.shape[0]
    d = k - depth
    size = 1 << d
    part = np.empty(size, np.uint64)
    for top in range(1 << depth):
        first = top << d
        for i in range(size):
            if m == 1 << k:
                place = first + i
            else:
                place = (first + i) * m >> k
                if (first + i + 1) * m >> k == place:
                    part[i] = _U0
                    continue
            part[i] = source[order[place]] if len(order) else source[place]
        half = size >> 1
        while half:
            row = left[first + half : first + 2 * half]
            for i in range(half):
                value = part[2 * i]
                row[i] = value
                part[i] = value ^ part[2 * i + 1]
            half >>= 1
        left[first] = part[0]


@njit(cache=True, nogil=True)
def _transpose64(a):  # type: ignore[no-untyped-def]
    """Transpose 64 x 64 bits (Warren, Hacker's Delight, 2nd ed., section 7-3)."""
    width = 32
    mask = np.uint64(0x00000000FFFFFFFF)
    while width:
        shift = np.uint64(width)
        for base in range(0, 64, 2 * width):
            for i in range(base, base + width):
                swap = ((a[i] >> shift) ^ a[i + width]) & mask
                a[i] ^= swap << shift
                a[i + width] ^= swap
        width >>= 1
        mask ^= mask << np.uint64(width)


@njit(cache=True, nogil=True)
def pack_rows(left, lanes, rows):  # type: ignore[no-untyped-def]
    """Turn one batch's sliced parities into a row of bits for each frame."""
    tile = np.empty(64, np.uint64)
    for w in range(len(left) >> 6):
        tile[:] = left[w << 6 : (w + 1) << 6]
        _transpose64(tile)
        for lane in range(lanes):
            rows[lane, w] = tile[lane]


@njit(cache=True, nogil=True)
def top_parities(left, lanes, depth, asked_blocks, out):  # type: ignore[no-untyped-def]
    """Write the parities of the first `asked_blocks` top blocks, all frames of a batch together."""
    at = 0
    for b in range(len(left)):
        for top in range(asked_blocks):
            put(out, at, left[b, top * (left.shape[1] >> depth)], lanes)
            at += lanes


@njit(cache=True, nogil=True)
def late_parities(sliced, orders, depth, lanes, chunks, out):  # type: ignore[no-untyped-def]
    """Sum the late passes 64 places at a time into `chunks`; write all top parities but the last of each pass."""
    batches, m = sliced.shape
    blocks = 1 << depth
    at = 0
    for b in range(batches):
        source = sliced[b]
        for p in range(orders.shape[0]):
            step = orders[p, 0]
            position = orders[p, 1]
            total = _U0
            before = _U0
            block = 1
            w = 0
            place = 0
            start = _U0
            while place < m:
                edge = (block * m) >> depth
                here = min((w + 1) << 6, edge)
                for _ in range(place, here):
                    total ^= source[position]
                    position += step
                    position -= m if position >= m else 0
                place = here
                if place == edge:
                    if block < blocks:
                        put(out, at, total ^ before, lanes)
                        at += lanes
                    before = total
                    block += 1
                if place == (w + 1) << 6 or place == m:
                    chunks[b, p, w] = start ^ total
                    start = total
                    w += 1


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
def asked_parities(  # type: ignore[no-untyped-def]
    asked, depths, lanes, k, left, sliced, orders, chunks, late_asked, late_search, out
):  # fmt: skip
    """Write one party's parity for each query: first those of a batch in its trees, then those in late passes."""
    m = sliced.shape[1]
    d0 = k - depths[0]
    d1 = k - depths[1]
    at = 0
    t = 0
    for b in range(sliced.shape[0]):
        while t < len(asked):
            node = asked[t]
            if node >> (k + 8) != b:
                break
            d = d1 if node >> (k + 7) & 1 else d0
            x = node >> (d + 1) << d | (node & ((1 << d) - 1))
            out[at >> 6] |= ((left[x >> 6] >> np.uint64(x & 63)) & _U1) << np.uint64(at & 63)
            at += 1
            t += 1
        waiting = late_asked[b]
        while waiting != _U0:
            lane = trailing_zeros(waiting)
            waiting &= waiting - _U1
            query = np.int64(late_search[b * lanes + np.int64(lane)])
            p = (query >> 32) - 2
            v = (query >> 26) & _LEVEL_MASK
            s = query & _START_MASK
            low = (s * m) >> k
            high = ((s + (1 << (k - v - 1))) * m) >> k
            x = _late_parity(sliced[b], orders[p, 0], orders[p, 1], chunks[b, p], low, high)
            put(out, at, (x >> lane) & _U1, 1)
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
