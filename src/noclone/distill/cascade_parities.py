"""Cascade's secret half in loops: one party's key, cut and ordered for its parities.

A batch is up to 64 frames of m positions, kept *sliced*: bit `lane` of word j is position j of frame `lane`, so that
one load serves a whole batch. Passes 0 and 1 also keep each frame's permuted bits packed in a row of words, and later
passes the sums of 64 positions each.

Each pass splits a frame into a binary tree of blocks: level v has 2^v of them, level k has 2^k leaves, where
2^(k-1) < m <= 2^k. The block of level v that begins at leaf s covers the positions s m >> k .. (s + 2^(k-v)) m >> k:
frames need no power of two, and blocks of one level differ by at most one position.

A query is one number: frame << 36 | pass << 32 | level << 26 | first leaf; it asks for the parity of the left half of
that block.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_U1 = np.uint64(1)
_U0 = np.uint64(0)
_START_MASK = (1 << 26) - 1
_LEVEL_MASK = 63
_PASS_MASK = 15
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def draw_permutations(seeds, perm, inverse):  # type: ignore[no-untyped-def]
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
        for i in range(m):
            inverse[p, row[i]] = i


@njit(cache=True, nogil=True)
def slice_key(words, lanes, flat):  # type: ignore[no-untyped-def]
    """Deal the key out: bit `lane` of word j is key bit j lanes + lane."""
    mask = ~_U0 if lanes == 64 else (_U1 << np.uint64(lanes)) - _U1
    for j in range(len(flat)):
        at = j * lanes
        w = at >> 6
        shift = at & 63
        value = words[w] >> np.uint64(shift) if w < len(words) else _U0
        if shift + lanes > 64 and w + 1 < len(words):
            value |= words[w + 1] << np.uint64(64 - shift)
        flat[j] = value & mask


@njit(cache=True, nogil=True)
def join_key(flat, lanes, words):  # type: ignore[no-untyped-def]
    """Undo `slice_key`; `words` begin as zeros."""
    for j in range(len(flat)):
        at = j * lanes
        w = at >> 6
        shift = at & 63
        if w < len(words):
            words[w] |= flat[j] << np.uint64(shift)
        if shift + lanes > 64 and w + 1 < len(words):
            words[w + 1] |= flat[j] >> np.uint64(64 - shift)


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
def pack_pass(sliced, perm, rows):  # type: ignore[no-untyped-def]
    """Write each frame's permuted bits into its row of words."""
    batches, m = sliced.shape
    lanes = rows.shape[0] // batches
    tile = np.zeros(64, np.uint64)
    for b in range(batches):
        source = sliced[b]
        for w in range((m + 63) >> 6):
            first = w << 6
            here = min(64, m - first)
            for i in range(here):
                tile[i] = source[perm[first + i]]
            for i in range(here, 64):
                tile[i] = _U0
            _transpose64(tile)
            for lane in range(lanes):
                rows[b * lanes + lane, w] = tile[lane]


@njit(cache=True, nogil=True)
def _odd(x):  # type: ignore[no-untyped-def]
    """Return the parity of a word; LLVM turns this population count into one instruction where there is one."""
    x = x - ((x >> _U1) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return ((x * np.uint64(0x0101010101010101)) >> np.uint64(56)) & _U1


@njit(cache=True, nogil=True)
def _row_parity(row, low, high):  # type: ignore[no-untyped-def]
    """Return the parity of bits low .. high - 1 of a row; the range is not empty."""
    first = low >> 6
    last = (high - 1) >> 6
    head = ~_U0 << np.uint64(low & 63)
    tail = ~_U0 >> np.uint64(63 - ((high - 1) & 63))
    if first == last:
        return _odd(row[first] & head & tail)
    x = row[first] & head
    for w in range(first + 1, last):
        x ^= row[w]
    return _odd(x ^ (row[last] & tail))


@njit(cache=True, nogil=True)
def top_parities(rows, m, depth, asked_blocks, out):  # type: ignore[no-untyped-def]
    """Write the parities of the first `asked_blocks` blocks of level `depth` of every frame."""
    t = 0
    for f in range(rows.shape[0]):
        row = rows[f]
        for i in range(asked_blocks):
            out[t] = _row_parity(row, (i * m) >> depth, ((i + 1) * m) >> depth)
            t += 1


@njit(cache=True, nogil=True)
def late_parities(sliced, perm, first_pass, depth, lanes, chunks, out):  # type: ignore[no-untyped-def]
    """Sum the late passes 64 positions at a time into `chunks`; write all top parities but the last of each pass."""
    batches, m = sliced.shape
    blocks = 1 << depth
    t = 0
    for b in range(batches):
        source = sliced[b]
        for p in range(first_pass, perm.shape[0]):
            order = perm[p]
            total = _U0
            before = _U0
            block = 1
            edge = m >> depth
            for w in range((m + 63) >> 6):
                start = total
                for i in range(w << 6, min(m, (w + 1) << 6)):
                    total ^= source[order[i]]
                    if i + 1 == edge:
                        if block < blocks:
                            for lane in range(lanes):
                                out[t] = ((total ^ before) >> np.uint64(lane)) & _U1
                                t += 1
                        before = total
                        block += 1
                        edge = (block * m) >> depth
                chunks[b, p - first_pass, w] = start ^ total


@njit(cache=True, nogil=True)
def _late_parity(source, order, chunk, low, high, lane):  # type: ignore[no-untyped-def]
    first = (low + 63) >> 6
    last = high >> 6
    x = _U0
    if first >= last:
        for i in range(low, high):
            x ^= source[order[i]]
    else:
        for i in range(low, first << 6):
            x ^= source[order[i]]
        for w in range(first, last):
            x ^= chunk[w]
        for i in range(last << 6, high):
            x ^= source[order[i]]
    return (x >> np.uint64(lane)) & _U1


@njit(cache=True, nogil=True)
def asked_parities(asked, lanes, k, sliced, perm, rows, chunks, out):  # type: ignore[no-untyped-def]
    """Write one party's parity for each query."""
    m = sliced.shape[1]
    for t in range(len(asked)):
        query = np.int64(asked[t])
        f = query >> 36
        p = (query >> 32) & _PASS_MASK
        v = ((query >> 26) & _LEVEL_MASK) + 1
        s = query & _START_MASK
        low = (s * m) >> k
        high = ((s + (1 << (k - v))) * m) >> k
        if p < 2:
            out[t] = _row_parity(rows[p, f], low, high)
        else:
            b = f // lanes
            out[t] = _late_parity(sliced[b], perm[p], chunks[b, p - 2], low, high, f - b * lanes)


@njit(cache=True, nogil=True)
def correct(flips, lanes, inverse, opened, sliced, rows, chunks):  # type: ignore[no-untyped-def]
    """Flip the positions found in every copy of Bob's key that is in use."""
    for flip in flips:
        f = np.int64(flip >> np.uint64(32))
        o = np.int64(flip & np.uint64(0xFFFFFFFF))
        b = f // lanes
        bit = _U1 << np.uint64(f - b * lanes)
        sliced[b, o] ^= bit
        for p in range(min(opened, 2)):
            at = np.int64(inverse[p, o])
            rows[p, f, at >> 6] ^= _U1 << np.uint64(at & 63)
        for p in range(2, opened):
            chunks[b, p - 2, np.int64(inverse[p, o]) >> 6] ^= bit
