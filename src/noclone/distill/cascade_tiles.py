"""Cascade's trees of blocks, 64 frames abreast: how they are built, and how pass 0 searches them level by level.

A batch is up to 64 frames of m positions, kept *sliced*: bit `lane` of a word belongs to frame `lane`. Each pass splits
a frame into a binary tree of blocks: the block of height h that begins at leaf s, of 2^k leaves, covers the places s m
>> k .. (s + 2^h) m >> k of the pass, where 2^(k-1) < m <= 2^k. So frames need no power of two: a block of height 1
holds one position or two, and where it holds one (`singles`), there is nothing to ask.

The tree is cut into *tiles* of six levels. A tile is a heap: node 1 is its root, nodes 2 i and 2 i + 1 are the halves
of node i, and element i is the parity of the left half of node i, which is all that is ever asked; element 0 is the
parity of the root. `low` tiles have positions as leaves (heights 1 to 6), `mid` tiles have the roots of 64 low tiles as
leaves (heights 7 to 12). Top blocks are lower than 13.

In pass 0 every odd top block is searched to its end in step, one level a round, before anything else happens. So all
that a party does for a node is a few instructions for 64 frames: `wanted`, shaped like the tiles, says in which frames
the left half is asked for; these bits of the parities are gathered into the message.
"""

from __future__ import annotations

import numpy as np

from noclone.distill.bit_kernels import gather, spread
from noclone.distill.cascade_words import count, prefetch, put, take, transpose64
from noclone.kernels import inner, kernel

_U1 = np.uint64(1)
_U0 = np.uint64(0)
_FETCHED = 8  # tiles ahead of the one at hand, whose records are fetched before they are written


@inner
def _heap(part, n, tile):  # type: ignore[no-untyped-def]
    """Fill a tile's upper nodes from the parities of n neighbours, a power of two; `part` is overwritten."""
    half = n >> 1
    while half:
        for i in range(half):
            left = part[2 * i]
            tile[half + i] = left
            part[i] = left ^ part[2 * i + 1]
        half >>= 1
    tile[0] = part[0]


@kernel
def build_tiles(source, order, k, low, mid):  # type: ignore[no-untyped-def]
    """Write one batch's tiles of one pass; `order` is empty for pass 0, whose places are the positions."""
    m = len(source)
    part = np.empty(64, np.uint64)
    for w in range(len(low)):
        for i in range(64):
            s = w << 6 | i
            place = s
            if m != 1 << k:
                place = s * m >> k
                if (s + 1) * m >> k == place:
                    part[i] = _U0
                    continue
            part[i] = source[order[place]] if len(order) else source[place]
        _heap(part, np.int64(64), low[w])
    for j in range(len(mid)):
        for i in range(64):
            w = j << 6 | i
            part[i] = low[w, 0] if w < len(low) else _U0
        _heap(part, np.int64(64), mid[j])


@kernel
def find_singles(m, k, singles):  # type: ignore[no-untyped-def]
    """Mark the blocks of height 1 that hold one position: bit 32 + i of word w for leaves 64 w + 2 i and the next."""
    for w in range(len(singles)):
        for i in range(32):
            s = w << 6 | 2 * i
            if ((s + 2) * m >> k) - (s * m >> k) == 1:
                singles[w] |= _U1 << np.uint64(32 + i)


@kernel
def top_parities(tiles, lo, told, lanes, out):  # type: ignore[no-untyped-def]
    """Write each batch's first `told` top blocks, one bit for each frame; they are nodes lo .. 2 lo - 1."""
    at = np.int64(0)
    for b in range(len(tiles)):
        for top in range(told):
            tile = tiles[b, top // lo]
            i = lo + top % lo
            x = _U0
            while i & 1 and i > 1:
                x ^= tile[i >> 1]
                i >>= 1
            x ^= tile[i >> 1]
            put(out, at, x, lanes)
            at += lanes


@kernel
def want_tops(outcomes, lo, n_tops, lanes, wanted):  # type: ignore[no-untyped-def]
    """Want the left half of every odd top block of pass 0; return how many there are."""
    mask = ~_U0 if lanes == 64 else (_U1 << np.uint64(lanes)) - _U1
    at = np.int64(0)
    total = np.int64(0)
    for b in range(len(wanted)):
        for top in range(n_tops):
            word = take(outcomes, at, lanes) & mask
            at += lanes
            wanted[b, top // lo, lo + top % lo] = word
            total += np.int64(count(word))
    return total


@kernel
def ask_level(bits, tiles, wanted, lo, out):  # type: ignore[no-untyped-def]
    """Write the wanted parities of nodes lo .. 2 lo - 1 of all tiles."""
    w = 0
    fill = np.int64(0)
    word = _U0
    for n in range(len(tiles)):
        for i in range(lo, 2 * lo):
            lanes = wanted[n, i]
            if lanes == _U0:
                continue
            found = gather(bits, tiles[n, i], lanes)
            word |= found << np.uint64(fill)
            fill += np.int64(count(lanes))
            if fill >= 64:
                out[w] = word
                w += 1
                fill -= 64
                kept = np.int64(count(lanes)) - fill
                word = found >> np.uint64(kept) if kept < 64 else _U0
    out[w] = word


@kernel
def enter_level(bits, outcomes, lo, per, stride, offset, wanted, below):  # type: ignore[no-untyped-def]
    """Enter the outcomes of one level of pass 0: of each odd block one half is odd, and wanted next.

    Halves of a tile's last level are its leaves: leaf i of tile n is below[(n * per + i) * stride + offset].
    """
    at = np.int64(0)
    for n in range(len(wanted)):
        for i in range(lo, 2 * lo):
            lanes = wanted[n, i]
            if lanes == _U0:
                continue
            width = np.int64(count(lanes))
            left = spread(bits, take(outcomes, at, width), lanes)
            at += width
            if lo < 32:
                wanted[n, 2 * i] = left
                wanted[n, 2 * i + 1] = lanes ^ left
            else:
                x = (n * per + 2 * i - 64) * stride + offset
                below[x] = left
                below[x + stride] = lanes ^ left


@kernel
def settle_singles(singles, wanted, found):  # type: ignore[no-untyped-def]
    """Note as found what is wanted in blocks of one position; return how many queries that saves."""
    saved = np.int64(0)
    for n in range(len(wanted)):
        if singles[n % len(singles)] == _U0:
            continue
        for i in range(32, 64):
            if singles[n % len(singles)] >> np.uint64(i) & _U1:
                found[64 * n + 2 * i - 64] = wanted[n, i]
                saved += np.int64(count(wanted[n, i]))
                wanted[n, i] = _U0
    return saved


@kernel
def correct_found(found, k, sliced):  # type: ignore[no-untyped-def]
    """Flip what pass 0 found, leaf by leaf."""
    batches, m = sliced.shape
    for b in range(batches):
        for s in range(1 << k):
            sliced[b, s if m == 1 << k else s * m >> k] ^= found[b << k | s]


@kernel
def fill_rows(odd, asked, own, above, singles, rows):  # type: ignore[no-untyped-def]
    """Turn one batch's tiles into records of single frames, rows[lane, tile], of which each is touched but once.

    Args:
        odd: Tiles for the first word of each record, or none, for zeros; `asked` the same for the second.
        above: Bits to add to each second word, and `singles` those to add tile by tile, or none.
        own: Tiles for the third word.
    """
    columns = np.zeros((3, 64), np.uint64)
    at, row_bytes, tile_bytes = np.int64(rows.ctypes.data), np.int64(rows.strides[0]), np.int64(rows.strides[1])
    for w in range(len(own)):
        for i in range(64):
            columns[2, i] = own[w, i]
            if len(odd):
                columns[0, i] = odd[w, i]
            if len(asked):
                columns[1, i] = asked[w, i]
        for column, tiles in ((0, odd), (1, asked), (2, own)):
            if len(tiles):
                transpose64(columns[column])
        more = above | (singles[w] if len(singles) else _U0)
        for lane in range(len(rows)):
            prefetch(at + lane * row_bytes + (w + _FETCHED) * tile_bytes)
            rows[lane, w, 0] = columns[0, lane]
            rows[lane, w, 1] = columns[1, lane] | more
            rows[lane, w, 2] = columns[2, lane]
            rows[lane, w, 3] = _U0


@kernel
def open_rows(outcomes, lo, n_tops, lanes, tiles):  # type: ignore[no-untyped-def]
    """Fill tiles' upper nodes from the outcomes of pass 1's top blocks, which are nodes lo .. 2 lo - 1.

    The last block of each frame was not asked for: all differences of a frame add up to zero by then.
    """
    mask = ~_U0 if lanes == 64 else (_U1 << np.uint64(lanes)) - _U1
    part = np.empty(64, np.uint64)
    at = np.int64(0)
    for b in range(len(tiles)):
        total = _U0
        for first in range(0, n_tops, lo):
            part[:lo] = _U0
            for i in range(min(lo, n_tops - first)):
                word = total
                if first + i < n_tops - 1:
                    word = take(outcomes, at, lanes) & mask
                    at += lanes
                    total ^= word
                part[i] = word
            _heap(part, lo, tiles[b, first // lo])
