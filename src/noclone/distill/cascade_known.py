"""What Cascade's search knows of a frame's blocks, a word or two for a whole way down the tree.

Blocks and tiles are those of `cascade_tiles`, kept a word for each tile of each frame. A frame has a row for each of
passes 0 and 1: first its `words` low tiles, then its mid tiles, with three words for each tile. Bit i of the first says
whether the left half of node i holds an odd number of errors not yet found (bit 0: the root itself); where that is not
known yet, how many of the errors found since the pass was opened lie in it, so that an outcome, told of the key as it
was when the pass was opened, only has to be added. Bit i of the second says whether the left half was asked for. The
third word is one party's secret: its own parities of left halves, which lie beside the rest because a search is as fast
as memory. An error that is found costs one word in each tile on its way, and the smallest known block that holds it is
a count of zeros away.

A query is the number of the tile in its row << 6 | node.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from noclone.distill.cascade_words import append, count, take, trailing_zeros

U1 = np.uint64(1)
U0 = np.uint64(0)
AHEAD = 1 << 30  # marks a query about half of a block that is asked about in the same round


def _tables() -> list[NDArray[np.uint64]]:
    """Return, for the leaves and nodes of a tile, masks of the elements that a leaf or a node's parity touches."""
    toggled, above, parity = [], [], [0, 1]
    for leaf in range(64):
        nodes = [(64 + leaf) >> up for up in range(1, 7)]
        above.append(sum(1 << node for node in nodes))
        toggled.append(1 | sum(1 << node for up, node in enumerate(nodes) if not (64 + leaf) >> up & 1))
    for node in range(2, 64):
        parity.append(1 << (node >> 1) | (parity[node >> 1] if node & 1 else 0))
    return [np.array(table, np.uint64) for table in (toggled, above, parity)]


# A leaf's left halves; a leaf's ancestors; the elements whose sum is a node's parity.
TOGGLED, ABOVE, PARITY = _tables()


@njit(cache=True, nogil=True)
def tell_roots(row, tile, node, words, deep):  # type: ignore[no-untyped-def]
    """Where the halves of a node are low tiles, let these know their roots' parities."""
    if deep and tile >= words and node > 31:
        left = row[tile, 0] >> np.uint64(node) & U1
        right = left ^ (count(row[tile, 0] & PARITY[node]) & U1)
        tile = (tile - words) << 6 | (2 * node & 62)
        row[tile, 0] = row[tile, 0] & ~U1 | left
        row[tile + 1, 0] = row[tile + 1, 0] & ~U1 | right


@njit(cache=True, nogil=True)
def flip(row, s, words, deep):  # type: ignore[no-untyped-def]
    """Enter an error at leaf s; return the smallest known block that holds it, as a query, or -1: a single position."""
    tile = s >> 6
    row[tile, 0] ^= TOGGLED[s & 63]
    unasked = ABOVE[s & 63] & ~row[tile, 1]
    if deep:
        upper = words + (s >> 12)
        row[upper, 0] ^= TOGGLED[tile & 63]
        unasked_above = ABOVE[tile & 63] & ~row[upper, 1]
        tile = upper if unasked_above else tile
        unasked = unasked_above if unasked_above else unasked
    return tile << 6 | np.int64(trailing_zeros(unasked)) if unasked else np.int64(-1)


@njit(cache=True, nogil=True)
def open_passes(outcomes, n_tops, height, k, lanes, rows, asked, active, counts):  # type: ignore[no-untyped-def]
    """Ask for the left half of each odd top block of pass 1; `rows` is the array `known`, all frames' rows of pass 1.

    Return how many queries there are, and of how many frames.
    """
    n = n_active = np.int64(0)
    at = 0
    low = height <= 6
    lo = 1 << ((6 if low else 12) - height)
    shift = 6 if low else 12
    words = 1 << (k - 6)
    top_words = np.empty(n_tops, np.uint64)
    mask = ~U0 if lanes == 64 else (U1 << np.uint64(lanes)) - U1
    for b in range(len(counts) // lanes):
        total = U0
        for top in range(n_tops - 1):
            top_words[top] = take(outcomes, at, lanes) & mask
            total ^= top_words[top]
            at += lanes
        top_words[n_tops - 1] = total
        for lane in range(lanes):
            f = b * lanes + lane
            before = n
            for top in range(n_tops):
                odd = (top_words[top] >> np.uint64(lane)) & U1
                node = lo + (top & (lo - 1))
                tile = (top << height >> shift) + (0 if low else words)
                asked[n] = tile << 6 | node
                rows[f, tile, 1] |= odd << np.uint64(node)
                n += np.int64(odd)
            counts[f] = n - before
            active[n_active] = f
            n_active += np.int64(n > before)
    return n, n_active


@njit(cache=True, nogil=True)
def ask(row, tile, node, wide, following, n, told, n_told):  # type: ignore[no-untyped-def]
    """Ask about a block and, if `wide`, about its halves too; return how many queries there are then."""
    for i in range(1 + 2 * wide):
        one = node if i == 0 else 2 * node + i - 1
        if one > 63 or n == len(following) or (row[tile, 1] >> np.uint64(one)) & U1:
            continue
        row[tile, 1] |= U1 << np.uint64(one)
        append(told, n_told + n, row[tile, 2] >> np.uint64(one) & U1)
        following[n] = tile << 6 | one | (AHEAD if i else 0)
        n += 1
    return n


@njit(cache=True, nogil=True)
def begin_wave(row, candidates, wide, following, told, n_told):  # type: ignore[no-untyped-def]
    """Ask about those candidates that are odd, once each; return how many."""
    n = np.int64(0)
    for i in range(len(candidates)):
        query = np.int64(candidates[i])
        tile = query >> 6
        if wide:
            if count(row[tile, 0] & PARITY[query & 63]) & ~(row[tile, 1] >> np.uint64(query & 63)) & U1:
                n = ask(row, tile, query & 63, 1, following, n, told, n_told)
            continue
        node = np.uint64(query & 63)
        odd = count(row[tile, 0] & PARITY[query & 63]) & ~(row[tile, 1] >> node) & U1
        row[tile, 1] |= odd << node
        append(told, n_told + n, row[tile, 2] >> node & odd)
        following[n] = query
        n += np.int64(odd)
    return n
