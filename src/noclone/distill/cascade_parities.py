"""Cascade's secret half in loops: one party's key, cut and ordered for its parities.

A batch is up to 64 frames of m positions, kept *sliced*: bit `lane` of word j is position j of frame `lane`, so that
one operation on words serves a whole batch. Positions are numbered in the order of pass 0, which is a random one.

Of passes 0 and 1 the parities of left halves are kept, a word for each tile of each frame (`cascade_tiles`), of the key
as it stood when the pass was opened: the search itself keeps account of what was corrected since.

The order of a late pass is affine: place t holds position (a t + c) mod m, for random a and c.
"""

from __future__ import annotations

import numpy as np

from noclone.kernels import kernel

_U1 = np.uint64(1)
_U0 = np.uint64(0)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel
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


@kernel
def place_leaves(order, k, leaf):  # type: ignore[no-untyped-def]
    """Note the leaf that holds each position, in passes 0 and 1: the largest s with s m >> k <= its place."""
    m = order.shape[0]
    for i in range(m):
        s = i if m == 1 << k else (((i + 1) << k) - 1) // m
        leaf[0, i] = s
        leaf[1, order[i]] = s


@kernel
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


@kernel
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
