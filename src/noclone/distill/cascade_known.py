"""What Cascade's search knows of a frame's blocks, a word or two for a whole way down the tree.

Blocks and tiles are those of `cascade_tiles`, kept as a record for each tile of each frame. A frame has a row for each
of passes 0 and 1: first its `words` low tiles, then its mid tiles, 32 bytes each, of which three words are used. Bit i
of the first says whether the left half of node i holds an odd number of errors not yet found (bit 0: the root itself);
where that is not known yet, how many of the errors found since the pass was opened lie in it, so that an outcome, told
of the key as it was when the pass was opened, only has to be added. Bit i of the second says whether the left half was
asked for. The third word is one party's secret: its own parities of left halves, which lie beside the rest because a
search is as fast as memory. An error that is found costs one word in each tile on its way, and the smallest known block
that holds it is a count of zeros away.

A query is the number of the tile in its row << 6 | node. Rows, lists of queries and what is told (a byte for each
query) are given by their addresses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noclone.distill.cascade_words import count, load, load_int, store, store_byte, store_int, take, trailing_zeros
from noclone.kernels import inner, kernel

RECORD_WORDS = 4
RECORD = 8 * RECORD_WORDS
ASKED, OWN = 8, 16  # where a record's second and third word begin
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


# A leaf's left halves; a leaf's ancestors; the elements whose sum is a node's parity. They lie on every desk.
TOGGLED, ABOVE, PARITY = _tables()


@kernel
def flip(row, s, words, deep, toggled, above):  # type: ignore[no-untyped-def]
    """Enter an error at leaf s; return the smallest known block that holds it, as a query, or -1: a single position."""
    tile = s >> 6
    at = row + RECORD * tile
    store(at, load(at) ^ load(toggled + 8 * (s & 63)))
    unasked = load(above + 8 * (s & 63)) & ~load(at + ASKED)
    if deep:
        upper = words + (s >> 12)
        at = row + RECORD * upper
        store(at, load(at) ^ load(toggled + 8 * (tile & 63)))
        unasked_above = load(above + 8 * (tile & 63)) & ~load(at + ASKED)
        tile = upper if unasked_above else tile
        unasked = unasked_above if unasked_above else unasked
    return tile << 6 | trailing_zeros(unasked) if unasked else -1


@inner
def tell_roots(row, tile, node, words, deep, parity):  # type: ignore[no-untyped-def]
    """Where the halves of a node are low tiles, let these know their roots' parities."""
    if deep and tile >= words and node > 31:
        at = row + RECORD * tile
        left = load(at) >> node & 1
        right = left ^ count(load(at) & load(parity + 8 * node)) & 1
        at = row + RECORD * ((tile - words) << 6 | (2 * node & 62))
        store(at, load(at) & ~1 | left)
        store(at + RECORD, load(at + RECORD) & ~1 | right)


@kernel
def open_passes(outcomes, n_tops, height, k, lanes, known, asked, active, counts, told):  # type: ignore[no-untyped-def]
    """Ask for the left half of each odd top block of pass 1; `known` is the array of all records.

    Return how many queries there are, and of how many frames; their parities go into `told`, a byte each.
    """
    n = n_active = np.int64(0)
    at = np.int64(0)
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
                told[n] = known[f, 1, tile, 2] >> np.uint64(node) & odd
                known[f, 1, tile, 1] |= odd << np.uint64(node)
                n += np.int64(odd)
            counts[f] = n - before
            active[n_active] = f
            n_active += np.int64(n > before)
    return n, n_active


@inner
def begin_wave(row, candidates, n_candidates, parity, following, told):  # type: ignore[no-untyped-def]
    """Ask about those candidates that are odd, once each; return how many."""
    n = 0
    for i in range(n_candidates):
        query = load_int(candidates + 4 * i)
        node = query & 63
        at = row + (query >> 6) * RECORD
        asked = load(at + ASKED)
        odd = count(load(at) & load(parity + 8 * node)) & ~(asked >> node) & 1
        store(at + ASKED, asked | odd << node)
        store_byte(told + n, load(at + OWN) >> node & odd)
        store_int(following + 4 * n, query)
        n += odd
    return n
