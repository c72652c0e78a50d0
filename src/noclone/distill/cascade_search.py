"""Cascade's public search in loops, from pass 1 on: both parties run it alike, fed with the same outcomes.

A frame searches in *waves*: all its odd blocks in one of the first two passes, in step, until each has given its error.
These errors make blocks of the other pass odd, which is the next wave. Nothing found in a wave touches the blocks that
it still searches, and a wave of s blocks finds s errors; hence no later wave has more than s, but for what is found
ahead (`cascade_tail`). When both passes are even, one odd block of one late pass is searched: these are large, and each
error found there may settle others.

What is known is kept as `cascade_known` says, and all of it lies on a desk (`cascade_desk`). A contradiction ends the
search: a position that both passes single out is known to be right once it is corrected.
"""

from __future__ import annotations

import numpy as np

from noclone.distill import cascade_desk as on
from noclone.distill.cascade_known import ASKED, OWN, RECORD, begin_wave, flip
from noclone.distill.cascade_late import (
    enter_late,
    first_odd,
    flip_late,
    late_queries,
    searched_parities,
)
from noclone.distill.cascade_tail import begin_tail_wave, enter_tail
from noclone.distill.cascade_words import (
    bits_of_bytes,
    bytes_of_bits,
    load,
    load_byte,
    load_int,
    load_short,
    prefetch,
    store,
    store_byte,
    store_int,
)
from noclone.kernels import inner, kernel

LATE = 2  # what a frame searches in: pass 0, pass 1, or a late one
OK, FLIPPED_TWICE, QUEUE_FULL = 0, 1, 2


@inner
def _enter(row, queries, n_queries, outcomes, words, deep, singles, following, told, found):  # type: ignore[no-untyped-def]
    """Enter a wave's outcomes: the odd half of each block is searched next, or is an error at leaf found[..].

    Return how many queries follow and how many errors came out. Both are written always and counted where they are
    real: a branch that nobody can foresee costs more than all the rest.
    """
    n = 0
    errors = 0
    for t in range(n_queries):
        prefetch(row + (load_int(queries + 4 * (t + on.FETCHED)) >> 6) * RECORD)
        query = load_int(queries + 4 * t)
        tile = query >> 6
        node = query & 63
        at = row + tile * RECORD
        word = load(at) ^ load_byte(outcomes + t) << node
        store(at, word)
        left = word >> node & 1
        child = 2 * node + 1 - left
        if deep and child > 63 and tile >= words:  # down into a low tile: both its neighbours' parities are known now
            tile = (tile - words) << 6 | (child & 62)
            at = row + tile * RECORD
            store(at, load(at) & ~1 | left)
            store(at + RECORD, load(at + RECORD) & ~1 | (1 - left))
            tile += child & 1
            at += (child & 1) * RECORD
            child = 1
        inner = 1 if child < 64 else 0
        if singles and inner and tile < words and load(singles + 8 * tile) >> child & 1:
            inner = 0
            child *= 2
        child &= 63
        store(at + ASKED, load(at + ASKED) | inner << child)
        store_byte(told + n, load(at + OWN) >> child & inner)
        store_int(following + 4 * n, tile << 6 | child)
        store_int(found + 4 * errors, tile << 6 | child)
        n += inner
        errors += 1 - inner
    return n, errors


@inner
def _enter_errors(desk, f, p, errors):  # type: ignore[no-untyped-def]
    """Enter the errors that one frame found in one wave of pass p, and note the blocks that they make odd in the other.

    Loops are short and free of branches, so that many errors wait for memory together. Return a status.
    """
    m, k, words, room = desk[on.FRAME_BITS], desk[on.LEVELS], desk[on.WORDS], desk[on.ROOM]
    toggled, above, found = desk[on.TOGGLED], desk[on.ABOVE], desk[on.FOUND]
    row_size = RECORD * desk[on.TILES]
    q = 1 - p
    row, other = desk[on.KNOWN] + (2 * f + p) * row_size, desk[on.KNOWN] + (2 * f + q) * row_size
    deep, deep_other = desk[on.DEEP + p], desk[on.DEEP + q]
    perm, leaf = desk[on.PERM] + 2 * p * m, desk[on.LEAF] + 2 * q * m
    b = f // desk[on.LANES]
    sliced = desk[on.SLICED] + 8 * b * m
    frame, corrects = 1 << (f - b * desk[on.LANES]), desk[on.CORRECTS]
    n = load(desk[on.N_CANDIDATES] + 8 * (2 * f + q))
    if n + errors > room:
        return QUEUE_FULL
    candidates = desk[on.CANDIDATES] + 4 * ((2 * f + q) * room + n)
    for e in range(errors):
        s = load_int(found + 4 * e)
        at = row + (s >> 6) * RECORD
        store(at, load(at) ^ load(toggled + 8 * (s & 63)))
        if deep:
            at = row + (words + (s >> 12)) * RECORD
            store(at, load(at) ^ load(toggled + 8 * (s >> 6 & 63)))
        o = load_short(perm + 2 * (s if m == 1 << k else s * m >> k))
        if corrects:
            store(sliced + 8 * o, load(sliced + 8 * o) ^ frame)
        if desk[on.LATE_OPEN]:
            flip_late(desk, b, o, frame)
        s = load_short(leaf + 2 * o)
        store_int(found + 4 * e, s)
        prefetch(other + (s >> 6) * RECORD)
    worst = 0
    for e in range(errors):
        query = flip(other, load_int(found + 4 * e), words, deep_other, toggled, above)
        worst = min(worst, query)
        store_int(candidates + 4 * e, query)
    store(desk[on.N_CANDIDATES] + 8 * (2 * f + q), n + errors)
    return OK if worst == 0 else FLIPPED_TWICE


@inner
def _enter_late_error(desk, f, o):  # type: ignore[no-untyped-def]
    """Enter an error at position o that a late search found; return a status."""
    m, room = desk[on.FRAME_BITS], desk[on.ROOM]
    b = f // desk[on.LANES]
    frame = 1 << (f - b * desk[on.LANES])
    if desk[on.CORRECTS]:
        at = desk[on.SLICED] + 8 * (b * m + o)
        store(at, load(at) ^ frame)
    flip_late(desk, b, o, frame)
    for q in range(2):
        row = desk[on.KNOWN] + (2 * f + q) * RECORD * desk[on.TILES]
        s = load_short(desk[on.LEAF] + 2 * (q * m + o))
        query = flip(row, s, desk[on.WORDS], desk[on.DEEP + q], desk[on.TOGGLED], desk[on.ABOVE])
        if query < 0:
            return FLIPPED_TWICE
        n_at = desk[on.N_CANDIDATES] + 8 * (2 * f + q)
        n = load(n_at)
        if n == room:
            return QUEUE_FULL
        store_int(desk[on.CANDIDATES] + 4 * ((2 * f + q) * room + n), query)
        store(n_at, n + 1)
    return OK


@inner
def _next_wave(desk, f, following, told, end):  # type: ignore[no-untyped-def]
    """Let a frame whose wave has ended begin the next one or a late search; return the queries in trees, and all."""
    mode_at = desk[on.MODES] + f
    mode = load_byte(mode_at)
    for turn in range(2):
        q = turn ^ (1 - mode if mode < LATE else 0)
        row = desk[on.KNOWN] + (2 * f + q) * RECORD * desk[on.TILES]
        n_at = desk[on.N_CANDIDATES] + 8 * (2 * f + q)
        candidates, n = desk[on.CANDIDATES] + 4 * (2 * f + q) * desk[on.ROOM], load(n_at)
        store(n_at, 0)
        if desk[on.LATE_OPEN]:
            n = begin_tail_wave(row, candidates, n, desk[on.PARITY], following, told, end)
        else:
            n = begin_wave(row, candidates, n, desk[on.PARITY], following, told)
        if n:
            store_byte(mode_at, q)
            return n, n
    if desk[on.LATE_OPEN]:
        search = first_odd(desk, f)
        store(desk[on.SEARCHES] + 8 * f, search)
        if search:
            store_byte(mode_at, LATE)
            return 0, late_queries(search, desk[on.LEVELS])
    return 0, 0


@inner
def _enter_late(desk, f, outcomes):  # type: ignore[no-untyped-def]
    """Enter the outcomes of one frame's late search; return how many queries follow, how many errors, and a status."""
    at = desk[on.SEARCHES] + 8 * f
    search, o = enter_late(desk, load(at), outcomes)
    store(at, search)
    if search:
        return late_queries(search, desk[on.LEVELS]), 0, OK
    return 0, 1, _enter_late_error(desk, f, o)


@inner
def _enter_wave(desk, f, p, queries, n, outcomes, following, told, end):  # type: ignore[no-untyped-def]
    """Enter one frame's outcomes in pass p; return how many queries follow, how many errors, and a status."""
    row = desk[on.KNOWN] + (2 * f + p) * RECORD * desk[on.TILES]
    words, deep, singles, found = desk[on.WORDS], desk[on.DEEP + p], desk[on.SINGLES], desk[on.FOUND]
    if desk[on.LATE_OPEN]:
        n, errors = enter_tail(desk, row, queries, n, outcomes, deep, following, told, end)
        if n < 0:
            return 0, 0, QUEUE_FULL
    else:
        n, errors = _enter(row, queries, n, outcomes, words, deep, singles, following, told, found)
    return n, errors, _enter_errors(desk, f, p, errors) if errors else OK


@kernel
def advance(desk, raw):  # type: ignore[no-untyped-def]
    """Enter the outcomes of all queries, 1 where the left half's parities differ; correct the key; choose what is next.

    The outcomes are in `SAID`; if it holds the peer's parities instead (`raw`), they become outcomes first.
    `ACTIVE` lists the frames that ask, `COUNTS` says how many queries each has, `MODES` what they are about; those in
    trees stand in `ASKED`, in the same order, and their outcomes come first. The next queries in trees become `ASKED`,
    and one's parities for all next queries are written. Return a status, how many queries come next, and errors found.
    """
    told, following, asked = desk[on.TOLD], desk[on.FOLLOWING], desk[on.ASKED]
    active, counts = desk[on.ACTIVE], desk[on.COUNTS]
    end = following + 4 * desk[on.FRAMES] * desk[on.ROOM]
    outcome, late_outcome = desk[on.OUTCOMES], desk[on.OUTCOMES] + desk[on.N_ASKED]
    said, tells = desk[on.SAID], desk[on.TELLS]
    if raw:
        for at in range(0, (desk[on.N_QUERIES] + 63) // 64 * 8, 8):
            store(said + at, load(said + at) ^ load(tells + at))
    bytes_of_bits(said, desk[on.N_QUERIES], outcome)
    n_next = n_all = n_errors = n_on = np.int64(0)
    for i in range(desk[on.N_ACTIVE] + desk[on.N_IDLE]):
        f = load_int(active + 4 * i)
        more = n_here = errors = status = np.int64(0)
        if i < desk[on.N_ACTIVE]:
            n, p = load_int(counts + 4 * f), load_byte(desk[on.MODES] + f)
            if p == LATE:
                n_here, errors, status = _enter_late(desk, f, late_outcome)
                late_outcome += n
            else:
                more, errors, status = _enter_wave(
                    desk, f, p, asked, n, outcome, following + 4 * n_next, told + n_next, end
                )
                n_here = more
                outcome += n
                asked += 4 * n
            if status != OK:
                return status, 0, 0
            n_errors += errors
        if n_here == 0:
            more, n_here = _next_wave(desk, f, following + 4 * n_next, told + n_next, end)
        n_next += more
        n_all += n_here
        store_int(counts + 4 * f, n_here)
        store_int(active + 4 * n_on, f)
        n_on += 1 if n_here > 0 else 0
    desk[on.ASKED], desk[on.FOLLOWING] = following, desk[on.ASKED]
    desk[on.N_ASKED], desk[on.N_QUERIES], desk[on.N_ERRORS] = n_next, n_all, n_errors
    desk[on.N_ACTIVE], desk[on.N_IDLE] = n_on, 0
    if n_all > n_next:
        searched_parities(desk, told + n_next)
    bits_of_bytes(told, n_all, tells)
    return OK, n_all, n_errors
