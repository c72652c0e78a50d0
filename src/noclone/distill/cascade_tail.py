"""The tail of Cascade's search: waves whose queries come together with those about the halves of what they ask about.

Once few queries are left, a round costs more than a bit. So the late passes are opened beside the last waves
(`cascade_late`), and a query in a tree goes together with those about the block's halves, where they lie in the same
tile. An even half asked about ahead may turn out to hold two errors: then both its halves are searched.
"""

from __future__ import annotations

import numpy as np

from noclone.distill import cascade_desk as on
from noclone.distill.cascade_known import AHEAD, ASKED, OWN, RECORD, tell_roots
from noclone.distill.cascade_words import count, load, load_byte, load_int, store, store_byte, store_int
from noclone.kernels import inner


@inner
def _ask(row, tile, node, following, told, n, end):  # type: ignore[no-untyped-def]
    """Ask about a block and about its halves; return how many queries there are then, at most up to address `end`."""
    at = row + tile * RECORD
    for i in range(3):
        one = node if i == 0 else 2 * node + i - 1
        if one > 63 or following + 4 * n >= end or load(at + ASKED) >> one & 1:
            continue
        store(at + ASKED, load(at + ASKED) | 1 << one)
        store_byte(told + n, load(at + OWN) >> one & 1)
        store_int(following + 4 * n, tile << 6 | one | (AHEAD if i else 0))
        n += 1
    return n


@inner
def begin_tail_wave(row, candidates, n_candidates, parity, following, told, end):  # type: ignore[no-untyped-def]
    """Ask about those candidates that are odd, once each, and about their halves; return how many queries follow."""
    n = np.int64(0)
    for i in range(n_candidates):
        query = load_int(candidates + 4 * i)
        at, node = row + (query >> 6) * RECORD, query & 63
        if count(load(at) & load(parity + 8 * node)) & ~(load(at + ASKED) >> node) & 1:
            n = _ask(row, query >> 6, node, following, told, n, end)
    return n


@inner
def _descend(desk, row, tile, node, deep, following, told, n, end, errors):  # type: ignore[no-untyped-def]
    """From an odd block go down as far as parities are known; ask there, or note the error at the end."""
    words, singles = desk[on.WORDS], desk[on.SINGLES]
    while True:
        if node > 63 and deep and tile >= words:
            tile = (tile - words) << 6 | (node & 63)
            node = 1
        if node < 64 and singles and tile < words and load(singles + 8 * tile) >> node & 1:
            node *= 2
        if node > 63:
            if errors > desk[on.ROOM]:
                return -1, -1
            store_int(desk[on.FOUND] + 4 * errors, tile << 6 | (node & 63))
            return n, errors + 1
        at = row + tile * RECORD
        if not load(at + ASKED) >> node & 1:
            before = n
            n = _ask(row, tile, node, following, told, n, end)
            return (n, errors) if n > before else (-1, -1)
        node = 2 * node + 1 - (load(at) >> node & 1)


@inner
def enter_tail(desk, row, queries, n_queries, outcomes, deep, following, told, end):  # type: ignore[no-untyped-def]
    """Enter a wave's outcomes where halves were asked about ahead; return queries and errors, or -1, -1: no room."""
    words, parity = desk[on.WORDS], desk[on.PARITY]
    for t in range(n_queries):
        query = load_int(queries + 4 * t) & ~AHEAD
        at = row + (query >> 6) * RECORD
        store(at, load(at) ^ load_byte(outcomes + t) << (query & 63))
        tell_roots(row, query >> 6, query & 63, words, deep, parity)
    n = np.int64(0)
    errors = np.int64(0)
    for t in range(n_queries):
        ahead = load_int(queries + 4 * t) & AHEAD
        query = load_int(queries + 4 * t) & ~AHEAD
        tile, node = query >> 6, query & 63
        word = load(row + tile * RECORD)
        left = word >> node & 1
        odd = count(word & load(parity + 8 * node)) & 1
        for half in range(2):
            # An odd block asked about ahead is on the way of the one above it. An even one may hold two errors.
            wanted = left and not odd if ahead else half == 1 - left
            if wanted:
                n, errors = _descend(desk, row, tile, 2 * node + half, deep, following, told, n, end, errors)
                if n < 0:
                    return n, errors
    return n, errors
