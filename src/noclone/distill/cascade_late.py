"""Late passes of Cascade's search: large blocks of many passes, opened once little is left to find.

Of late passes only the top blocks are kept, sliced: late[batch, pass - 2, block] has a bit for each frame, set if the
block holds an odd number of errors. A frame searches one block at a time: pass << 32 | level << 26 | first leaf. It
asks for three quarters of a block at once, which goes down two levels a round for three bits.

The order of a late pass is affine: place t holds position (a t + c) mod m, for random a and c; orders[pass - 2] is a,
c, and the inverse of a. One party's secret, `chunks`, has its sums of 64 places each.
"""

from __future__ import annotations

import numpy as np

from noclone.distill import cascade_desk as on
from noclone.distill.cascade_known import U0, U1
from noclone.distill.cascade_words import load, load_byte, load_int, put, store, store_byte, take
from noclone.kernels import inner, kernel

_START_MASK = (1 << 26) - 1
_LEVEL_MASK = 63
_ORDER_BYTES = 24
LATE = 2


@inner
def late_queries(search, k):  # type: ignore[no-untyped-def]
    """Return how many parities a late search asks for: all quarters but the last, or one half."""
    return 3 if (search >> 26) & _LEVEL_MASK < k - 1 else 1


@kernel
def open_late(desk, outcomes, known, late, active, counts):  # type: ignore[no-untyped-def]
    """Enter the top blocks of all late passes, as `late_parities` writes them, and wake idle frames.

    What a frame's last block holds follows from whether it has an odd number of errors left, as pass 1 knows.
    """
    lanes, words, at = desk[on.LANES], desk[on.WORDS], desk[on.N_ASKED]
    batches, passes, blocks = late.shape
    first, last = (words, known.shape[2]) if desk[on.DEEP_1] else (0, words)
    mask = ~U0 if lanes == 64 else (U1 << np.uint64(lanes)) - U1
    for b in range(batches):
        odd = U0
        for lane in range(lanes):
            for tile in range(first, last):
                odd ^= (known[b * lanes + lane, 1, tile, 0] & U1) << np.uint64(lane)
        for p in range(passes):
            total = odd
            for i in range(blocks - 1):
                word = take(outcomes, at, lanes) & mask
                at += lanes
                late[b, p, i] = word
                total ^= word
            late[b, p, blocks - 1] = total
    for f in range(len(counts)):
        active[desk[on.N_ACTIVE] + desk[on.N_IDLE]] = f
        desk[on.N_IDLE] += 1 if counts[f] == 0 else 0
    desk[on.LATE_OPEN] = 1


@kernel
def flip_late(desk, b, o, frame):  # type: ignore[no-untyped-def]
    """Enter an error at position o of one frame of batch b in late passes: in top blocks, and in sums if one's own."""
    m, passes, blocks = desk[on.FRAME_BITS], desk[on.LATE_PASSES], desk[on.LATE_BLOCKS]
    words = (m + 63) >> 6
    for p in range(passes):
        order = desk[on.ORDERS] + _ORDER_BYTES * p
        place = load(order + 16) * (o - load(order + 8) + m) % m
        i = 0
        while place >= ((i + 1) * m) // blocks:
            i += 1
        at = desk[on.LATE] + 8 * ((b * passes + p) * blocks + i)
        store(at, load(at) ^ frame)
        if desk[on.CORRECTS]:
            at = desk[on.CHUNKS] + 8 * ((b * passes + p) * words + (place >> 6))
            store(at, load(at) ^ frame)


@kernel
def first_odd(desk, f):  # type: ignore[no-untyped-def]
    """Return a frame's first odd block of a late pass, as a search; or 0."""
    b, k = f // desk[on.LANES], desk[on.LEVELS]
    lane, blocks = f - b * desk[on.LANES], desk[on.LATE_BLOCKS]
    late = desk[on.LATE] + 8 * b * desk[on.LATE_PASSES] * blocks
    for block in range(desk[on.LATE_PASSES] * blocks):
        if load(late + 8 * block) >> lane & 1:
            p, i, depth = block // blocks, block % blocks, 0
            while 1 << depth < blocks:
                depth += 1
            return (p + 2) << 32 | depth << 26 | i << (k - depth)
    return 0


@inner
def enter_late(desk, search, outcomes):  # type: ignore[no-untyped-def]
    """Enter a late search's outcomes, a byte each; return the search, 0 at its end, and then the position found."""
    m, k = desk[on.FRAME_BITS], desk[on.LEVELS]
    p = search >> 32
    s = search & _START_MASK
    asked = late_queries(search, k)
    v = ((search >> 26) & _LEVEL_MASK) + 1 + asked // 3
    part = 0
    while part < asked and not load_byte(outcomes + part):
        part += 1
    s += part << (k - v)
    low = s * m >> k
    if v == k or ((s + (1 << (k - v))) * m >> k) - low == 1:
        order = desk[on.ORDERS] + _ORDER_BYTES * (p - 2)
        return 0, (load(order) * low + load(order + 8)) % m
    return p << 32 | v << 26 | s, -1


@inner
def _late_sum(source, m, a, c, low, high):  # type: ignore[no-untyped-def]
    position = (a * low + c) % m
    x = 0
    for _ in range(low, high):
        x ^= load(source + 8 * position)
        position += a
        position -= m if position >= m else 0
    return x


@inner
def _late_parity(source, m, a, c, chunk, low, high):  # type: ignore[no-untyped-def]
    """Add up places low .. high of a late pass; `source` is a batch of the key, `chunk` its sums, by address."""
    first = (low + 63) >> 6
    last = high >> 6
    if first >= last:
        return _late_sum(source, m, a, c, low, high)
    x = _late_sum(source, m, a, c, low, first << 6) ^ _late_sum(source, m, a, c, last << 6, high)
    for w in range(first, last):
        x ^= load(chunk + 8 * w)
    return x


@kernel
def searched_parities(desk, out):  # type: ignore[no-untyped-def]
    """Write one party's parities, a byte each, for all late searches of the round at hand."""
    m, k, lanes = desk[on.FRAME_BITS], desk[on.LEVELS], desk[on.LANES]
    words = (m + 63) >> 6
    for i in range(desk[on.N_ACTIVE]):
        f = load_int(desk[on.ACTIVE] + 4 * i)
        if load_byte(desk[on.MODES] + f) < LATE:
            continue
        b = f // lanes
        search = load(desk[on.SEARCHES] + 8 * f)
        p = (search >> 32) - 2
        s = search & _START_MASK
        asked = late_queries(search, k)
        size = 1 << (k - 1 - asked // 3 - ((search >> 26) & _LEVEL_MASK))
        order = desk[on.ORDERS] + _ORDER_BYTES * p
        source = desk[on.SLICED] + 8 * b * m
        chunk = desk[on.CHUNKS] + 8 * (b * desk[on.LATE_PASSES] + p) * words
        for part in range(asked):
            low, high = (s + part * size) * m >> k, (s + (part + 1) * size) * m >> k
            x = _late_parity(source, m, load(order), load(order + 8), chunk, low, high)
            store_byte(out, x >> (f - b * lanes) & 1)
            out += 1


@inner
def _sum_chunks(source, orders, chunk):  # type: ignore[no-untyped-def]
    """Add each position to the sums of 64 places that hold it, two passes at a time: the sums are at hand, keys not."""
    m = len(source)
    for p in range(0, len(orders), 2):
        other = min(p + 1, len(orders) - 1)
        step, step2 = orders[p, 2], orders[other, 2]
        place = step * (m - orders[p, 1]) % m
        place2 = step2 * (m - orders[other, 1]) % m
        one, two = chunk[p], chunk[other]
        for o in range(m):
            value = source[o]
            one[place >> 6] ^= value
            two[place2 >> 6] ^= value if other > p else U0
            place += step
            place -= m if place >= m else 0
            place2 += step2
            place2 -= m if place2 >= m else 0


@kernel
def late_parities(sliced, orders, depth, lanes, chunks, at, out):  # type: ignore[no-untyped-def]
    """Sum the late passes 64 places at a time into `chunks`, zeros before; write all top parities but each pass's last.

    They begin at bit `at` of `out`, which holds zeros from there on.
    """
    batches, m = sliced.shape
    for b in range(batches):
        _sum_chunks(sliced[b], orders, chunks[b])
        source = np.int64(sliced[b].ctypes.data)
        for p in range(len(orders)):
            chunk = np.int64(chunks[b, p].ctypes.data)
            for i in range((1 << depth) - 1):
                low, high = i * m >> depth, (i + 1) * m >> depth
                x = _late_parity(source, m, orders[p, 0], orders[p, 1], chunk, low, high)
                put(out, at, np.uint64(x), lanes)
                at += lanes
