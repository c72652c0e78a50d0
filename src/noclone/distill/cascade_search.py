"""Cascade's public half in loops: the search that both parties run alike, fed with the same outcomes.

Blocks and queries are those of `cascade_parities`. For the blocks of passes 0 and 1 the search keeps two bits, side by
side in `tree[pass, frame, cell >> 6]`: 0, whether the block's parities are known; 1, whether Alice's and Bob's differ.
The second bit of a left half that is not yet known says that its parent stands in a queue. Of later passes only the top
blocks are kept, sliced: `late[batch, pass - 2, block]` has a bit for each frame where the parities differ.

A contradiction ends the search: a position found twice is, by then, a block of its own that is known to be right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_U1 = np.uint64(1)
_U0 = np.uint64(0)
_START_MASK = (1 << 26) - 1
_LEVEL_MASK = 63
_PASS_MASK = 15

OK, FLIPPED_TWICE, QUEUE_FULL = 0, 1, 2


def _prefetch(_context: Any, address: Any) -> Any:  # noqa: ARG001 - Numba reads the name
    """Ask for the cache line at an address, which will be written soon."""

    def emit(context: Any, b: Any, _signature: Any, args: Any) -> Any:
        pointer, i32 = ir.PointerType(ir.IntType(8)), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
        function = b.module.globals.get("llvm.prefetch.p0") or ir.Function(b.module, kind, "llvm.prefetch.p0")
        b.call(function, [b.inttoptr(args[0], pointer), *(ir.Constant(i32, value) for value in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(types.intp), emit


prefetch: Any = intrinsic(_prefetch)


@njit(cache=True, nogil=True)
def _cell(v, s, depth, k):  # type: ignore[no-untyped-def]
    """Return where the tree keeps node (v, s): top block by top block, a heap in each, for the sake of the cache."""
    below = v - depth
    return (s >> (k - depth)) << (k - depth + 1) | 1 << below | (s >> (k - v)) & ((1 << below) - 1)


@njit(cache=True, nogil=True)
def _enqueue(queue, length, f, p, v, s):  # type: ignore[no-untyped-def]
    """Append a query to the queue of pass p and say whether there was room."""
    n = length[p]
    if n == queue.shape[1]:
        return False
    queue[p, n] = np.uint64(f << 36 | p << 32 | v << 26 | s)
    length[p] = n + 1
    return True


@njit(cache=True, nogil=True)
def open_tree(p, outcomes, depth, k, tree, queue, length):  # type: ignore[no-untyped-def]
    """Enter the top blocks of pass 0 or 1: outcome 1 means that the parities differ.

    In pass 1 the last block of each frame was not asked for: all differences of a frame add up to zero by then.
    """
    blocks = 1 << depth
    asked = blocks if p == 0 else blocks - 1
    t = 0
    for f in range(tree.shape[1]):
        cells = tree[p, f]
        total = np.int64(0)
        for i in range(blocks):
            if i < asked:
                odd = np.int64(outcomes[t])
                t += 1
                total ^= odd
            else:
                odd = total
            x = _cell(depth, i << (k - depth), depth, k)
            cells[x >> 6, 0] |= _U1 << np.uint64(x & 63)
            if odd:
                cells[x >> 6, 1] |= np.uint64(3) << np.uint64(x & 63)  # x is odd: its left child is the next bit
                if not _enqueue(queue, length, f, p, depth, i << (k - depth)):
                    return QUEUE_FULL
    return OK


@njit(cache=True, nogil=True)
def open_late(outcomes, lanes, late):  # type: ignore[no-untyped-def]
    """Enter the top blocks of all late passes, laid out as `late_parities` writes them."""
    batches, passes, blocks = late.shape
    t = 0
    for b in range(batches):
        for p in range(passes):
            total = _U0
            for i in range(blocks - 1):
                word = _U0
                for lane in range(lanes):
                    word |= np.uint64(outcomes[t]) << np.uint64(lane)
                    t += 1
                late[b, p, i] = word
                total ^= word
            late[b, p, blocks - 1] = total


@njit(cache=True, nogil=True)
def collect(turn, depths, k, lanes, tree, queue, length, late, late_search, marks, asked):  # type: ignore[no-untyped-def]
    """Choose this round's queries and return how many.

    A frame searches all its odd blocks of passes 0 and 1 at once. Only when there are none does it search in a late
    pass, one block at a time: those blocks are large, and each error found there may settle others.
    """
    n = 0
    for p in range(2):
        for t in range(length[p]):
            query = queue[p, t]
            f = np.int64(query >> np.uint64(36))
            v = np.int64(query >> np.uint64(26)) & _LEVEL_MASK
            cells = tree[p, f]
            x = _cell(v, np.int64(query) & _START_MASK, depths[p], k)
            if cells[x >> 6, 1] >> np.uint64(x & 63) & _U1:
                marks[f] = turn
                asked[n] = query
                n += 1
            else:  # another pass has settled this block meanwhile
                x += x & ((2 << (k - depths[p])) - 1)
                cells[x >> 6, 1] &= ~(_U1 << np.uint64(x & 63))
        length[p] = 0
    batches, passes, blocks = late.shape
    for b in range(batches):
        odd = _U0
        for p in range(passes):
            for i in range(blocks):
                odd |= late[b, p, i]
        for lane in range(lanes):
            f = b * lanes + lane
            if marks[f] == turn:
                continue
            bit = _U1 << np.uint64(lane)
            if late_search[f] == _U0 and odd & bit:
                late_search[f] = _first_odd(late[b], bit, depths[2], k)
            if late_search[f] != _U0:
                asked[n] = np.uint64(f << 36) | late_search[f]
                n += 1
    return n


@njit(cache=True, nogil=True)
def _first_odd(words, bit, depth, k):  # type: ignore[no-untyped-def]
    for p in range(words.shape[0]):
        for i in range(words.shape[1]):
            if words[p, i] & bit:
                return np.uint64((p + 2) << 32 | depth << 26 | i << (k - depth))
    return _U0


@njit(cache=True, nogil=True)
def _flip(f, o, opened, depths, k, lanes, leaf, inverse, tree, queue, length, late):  # type: ignore[no-untyped-def]
    """Enter an error at position o of frame f: every known block that holds it changes sides."""
    m = leaf.shape[1]
    for p in range(min(opened, 2)):
        cells = tree[p, f]
        s = np.int64(leaf[p, o])
        v = depths[p]
        x = _cell(v, s, v, k)
        while True:
            cells[x >> 6, 1] ^= _U1 << np.uint64(x & 63)
            if v == k:
                break
            child = _cell(v + 1, s, depths[p], k)
            if not cells[child >> 6, 0] >> np.uint64(child & 63) & _U1:
                break
            x = child
            v += 1
        if cells[x >> 6, 1] >> np.uint64(x & 63) & _U1:
            s = s >> (k - v) << (k - v)
            if ((s + (1 << (k - v))) * m >> k) - (s * m >> k) == 1:
                return FLIPPED_TWICE  # a single position, known to be right, would have become wrong
            x += x & ((2 << (k - depths[p])) - 1)
            waiting = _U1 << np.uint64(x & 63)
            if not cells[x >> 6, 1] & waiting:
                cells[x >> 6, 1] |= waiting
                if not _enqueue(queue, length, f, p, v, s):
                    return QUEUE_FULL
    b = f // lanes
    bit = _U1 << np.uint64(f - b * lanes)
    for p in range(2, opened):
        s = (((np.int64(inverse[p, o]) + 1) << k) - 1) // m
        late[b, p - 2, s >> (k - depths[2])] ^= bit
    return OK


@njit(cache=True, nogil=True)
def _split(asked, outcomes, opened, depths, k, perm, leaf, tree, late_search):  # type: ignore[no-untyped-def]
    """Enter both halves of each block asked about: its parities differ in the left half, or in the right one.

    Where that ends a search, fetch the line that the error will change in the other pass's tree: without this, most
    of Cascade's time would go by in waiting for memory.
    """
    m = leaf.shape[1]
    other_bytes = tree[0, 0].nbytes
    base = tree.ctypes.data
    for t in range(len(asked)):
        query = np.int64(asked[t])
        f = query >> 36
        p = (query >> 32) & _PASS_MASK
        v = (query >> 26) & _LEVEL_MASK
        s = query & _START_MASK
        left = np.int64(outcomes[t])
        if p < 2:
            x = _cell(v + 1, s, depths[p], k)
            shift = np.uint64(x & 63)
            cells = tree[p, f]
            cells[x >> 6, 0] |= np.uint64(3) << shift
            cells[x >> 6, 1] = cells[x >> 6, 1] & ~(np.uint64(3) << shift) | np.uint64(2 - left) << shift
            if v + 1 == k and opened > 1:
                o = perm[p, (s + 1 - left) * m >> k]
                at = np.int64(leaf[1 - p, o])
                row = base + ((1 - p) * tree.shape[1] + f) * other_bytes
                d = depths[1 - p]
                prefetch(row + (_cell(d, at, d, k) >> 6) * 16)
                prefetch(row + (_cell(k - 1, at, d, k) >> 6) * 16)
        else:
            late_search[f] = np.uint64(p << 32 | (v + 1) << 26 | s + ((1 - left) << (k - v - 1)))


@njit(cache=True, nogil=True)
def apply(  # type: ignore[no-untyped-def]
    asked, outcomes, opened, depths, k, lanes, perm, leaf, inverse, tree, queue, length, late, late_search, flips
):  # fmt: skip
    """Enter the outcome of each query: 1 if the left half's parities differ, 0 if the right half's do.

    All halves are entered first, for the outcomes are older than the errors that they reveal. Return a status and how
    many errors were found; `flips` lists them as frame << 32 | position.
    """
    _split(asked, outcomes, opened, depths, k, perm, leaf, tree, late_search)
    m = leaf.shape[1]
    n = 0
    for t in range(len(asked)):
        query = np.int64(asked[t])
        f = query >> 36
        p = (query >> 32) & _PASS_MASK
        v = ((query >> 26) & _LEVEL_MASK) + 1
        s = query & _START_MASK
        width = 1 << (k - v)
        if p < 2:
            cells = tree[p, f]
            x = _cell(v, s, depths[p], k)
            pair = cells[x >> 6, 1] >> np.uint64(x & 63) & np.uint64(3)
            if pair == _U0:  # an error found this round has settled this half already
                continue
            right = np.int64(pair >> _U1)
            x += right
            s += right * width
        else:
            s = np.int64(late_search[f]) & _START_MASK
        low = (s * m) >> k
        if (((s + width) * m) >> k) - low == 1:
            if p >= 2:
                late_search[f] = _U0
            o = np.int64(perm[p, low])
            status = _flip(f, o, opened, depths, k, lanes, leaf, inverse, tree, queue, length, late)
            if status != OK:
                return status, n
            flips[n] = np.uint64(f << 32 | o)
            n += 1
        elif p < 2:
            x += x & ((2 << (k - depths[p])) - 1)
            waiting = _U1 << np.uint64(x & 63)
            if not cells[x >> 6, 1] & waiting:
                cells[x >> 6, 1] |= waiting
                if not _enqueue(queue, length, f, p, v, s):
                    return QUEUE_FULL, n
    return OK, n
