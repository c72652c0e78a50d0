"""The LDPC decoder on the card: a frame for each block of threads, a base row's checks side by side, one a thread.

In: what `ldpc_search.find_errors` takes.  Out: what it returns, to the last bit.

The checks of one base row are a circulant for each of its edges, so no two of them share a position: that the CPU takes
them 64 at a time, one after the other, changes nothing. Base rows follow each other. What a check told its edges is
kept in brief: all got the same magnitude but the edge that was the least certain, and each a sign of its own. That is
a fifth of the memory, and still the same messages. Levels wrap around at a column's end, so they are kept once only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from noclone import gpu
from noclone.bits import Words
from noclone.distill.ldpc_codes import Code
from noclone.distill.ldpc_decoder import FALL, KNOWN, LARGEST, PATIENCE
from noclone.gpu import inlined, kernel

I8, I32, I64, U32, U64 = np.int8, np.int32, np.int64, np.uint32, np.uint64
MOST_BLOCKS = 1 << 10  # at a time; each has memory of its own
NOBODY = U32(255)  # edge that was the least certain
_HALVES = 2  # rows of `told` before the signs: what the check, or its first half, and its second half told


@inlined
def _message(told, negative, edge):  # type: ignore[no-untyped-def]
    """Return what a check told one of its edges: told is `others | own << 8 | own edge << 16`."""
    size = I32((told >> U32(8)) & U32(255)) if edge == told >> U32(16) else I32(told & U32(255))
    return I32((size ^ I32(-I32(negative))) + I32(negative))


@inlined
def _level(levels, edge, i, edges):  # type: ignore[no-untyped-def]
    """Return where the level of check i's edge stands, and the level; indices that are unsigned cost less."""
    table, last = edges
    entry = table[edge]
    place = U32((entry & U32(0xFFFF)) + ((i + (entry >> U32(16))) & last))
    return place, I32(levels[place])


@inlined
def _saturated(level):  # type: ignore[no-untyped-def]
    return I32(max(I32(-128), min(I32(127), I32(level))))


@inlined
def _scaled(size, alpha):  # type: ignore[no-untyped-def]
    return I32(min(I32(LARGEST), I32(I32(size * alpha + I32(128)) >> I32(8))))


@inlined
def _treat(levels, memory, row, half, first, end, start, i, edges, told_bit, alpha, fresh):  # type: ignore[no-untyped-def]
    """Treat one check's edges first .. end - 1; return 1 if it did not fit as the levels stood before.

    Args:
        memory: uint32[rows, 2 + signs, circulant]: see `_message`; the signs of edge k, from `start` on, in row
            2 + k // 32.
        edges: `column's first position | shift << 16` of each edge, and the last place in a circulant.
        fresh: Whether nothing has been told yet.
    """
    told = U32(0) if fresh else memory[row, half, i]
    least, second, sign, parity, own_edge = I32(127), I32(127), U32(told_bit), U32(told_bit), NOBODY
    for word in range(U32(first - start) >> U32(5), (U32(end - start) + U32(31)) >> U32(5)):
        signs = U32(0) if fresh else memory[row, U32(_HALVES + word), i]
        begin = U32(start + 32 * word)
        edge, stop = U32(max(first, begin)), U32(min(end, U32(begin + U32(32))))
        while edge < stop:  # a range would count in 64 bits
            _, level = _level(levels, edge, i, edges)
            k = U32(edge - start)
            message = _message(told, U32((signs >> U32(edge - begin)) & U32(1)), k)
            without = _saturated(level - message)
            size = I32(abs(without))
            own_edge = k if size < least else own_edge
            second = I32(min(second, max(least, size)))
            least = I32(min(least, size))
            sign = U32(sign ^ U32(without < 0))
            parity = U32(parity ^ U32(level < 0))
            edge = U32(edge + U32(1))
    now = U32(U32(_scaled(least, alpha)) | U32(U32(_scaled(second, alpha)) << U32(8)) | U32(own_edge << U32(16)))
    for word in range(U32(first - start) >> U32(5), (U32(end - start) + U32(31)) >> U32(5)):
        begin = U32(start + 32 * word)
        signs = U32(0)
        if not fresh or first > begin:  # the first half has told its part of this word
            signs = memory[row, U32(_HALVES + word), i]
        edge, stop = U32(max(first, begin)), U32(min(end, U32(begin + U32(32))))
        while edge < stop:
            place, level = _level(levels, edge, i, edges)
            k, bit = U32(edge - start), U32(edge - begin)
            was = U32((signs >> bit) & U32(1))
            without = _saturated(level - _message(told, was, k))
            flip = U32(sign ^ U32(without < 0))
            signs = U32(signs ^ U32(U32(flip ^ was) << bit))
            levels[place] = I8(_saturated(without + _message(now, flip, k)))
            edge = U32(edge + U32(1))
        memory[row, U32(_HALVES + word), i] = signs
    memory[row, half, i] = now
    return parity


@inlined
def _bit(words, frame, word, i):  # type: ignore[no-untyped-def]
    return U32((words[frame, word] >> U64(i & U32(63))) & U64(1))


@inlined
def _parity(levels, first, end, i, edges):  # type: ignore[no-untyped-def]
    """Return the sum of the signs of some edges."""
    total = U32(0)
    for edge in range(first, end):
        total = U32(total ^ U32(_level(levels, edge, i, edges)[1] < 0))
    return total


@inlined
def _next_alpha(pace, wrong, first):  # type: ignore[no-untyped-def]
    last = len(pace) - 1
    return pace[min(last * wrong // max(first, I64(1)), I64(last - 1))]


@kernel
def decode(  # type: ignore[no-untyped-def]
    ends, table, split, pace, most, prior, syndromes, chosen, levels, memory, patterns, iterations
):
    """Look for the error patterns of the chosen frames: as many threads a block as a circulant has checks.

    Args:
        ends: uint32[rows, 3]: a row's first edge, the first of its second half, where it ends.
        table: uint32[edges]: see `_treat`.
        split: int32[rows, stretches]: the syndrome's word that tells a stretch's first half, or -1.
        pace: int32[n + 1], and most: see `ldpc_decoder.decode`.
        prior: int8[positions].
        syndromes: uint64[frames, words].
        levels, memory: int8[blocks, positions], uint32[blocks, rows, 2 + signs, circulant]: for work.
        patterns: uint32[frames, positions / 32], overwritten for the chosen frames; so are iterations.
    """
    i, block, threads = U32(cuda.threadIdx.x), U32(cuda.blockIdx.x), U32(cuda.blockDim.x)
    mine, told = levels[block], memory[block]
    edges = table, U32(threads - U32(1))
    stretch, stretches = U32(i >> U32(6)), U32(split.shape[1])
    totals = cuda.shared.array(2, I32)  # checks that do not fit: now, and at the start
    for number in range(block, len(chosen), cuda.gridDim.x):
        frame = U64(chosen[number])
        for place in range(i, U32(len(prior)), threads):
            mine[place] = prior[place]
        found, iteration, alpha = 0, 0, I32(pace[len(pace) - 1])
        least, stalled = I64(1 << 40), 0
        while found == 0:
            cuda.syncthreads()
            fresh, wrong, begun = iteration == 0, U32(0), U32(0)
            if i == U32(0):  # everybody has read them, and nobody adds before a row's end
                totals[0] = I32(0)
                if fresh:
                    totals[1] = I32(0)
            for row in range(U32(len(ends))):
                first, middle, end = ends[row, U32(0)], ends[row, U32(1)], ends[row, U32(2)]
                extra = split[row, stretch]
                bit = _bit(syndromes, frame, U32(row * stretches + stretch), i)
                for half in range(U32(2)):
                    begin = first if half == 0 else middle
                    until = middle if half == 0 and extra >= 0 else end
                    if half == 0 or extra >= 0:
                        due = bit
                        if extra >= 0:
                            due = _bit(syndromes, frame, U32(extra), i)
                            if half == 1:
                                due = U32(due ^ bit)
                        begun = U32(begun + due)
                        misfit = _treat(mine, told, row, half, begin, until, first, i, edges, due, alpha, fresh)
                        wrong = U32(wrong + misfit)
                cuda.syncthreads()
            cuda.atomic.add(totals, 0, I32(wrong))
            if fresh:
                cuda.atomic.add(totals, 1, I32(begun))
            cuda.syncthreads()
            wrong_now, at_first = I64(totals[0]), I64(totals[1])
            alpha = I32(_next_alpha(pace, wrong_now, at_first))
            iteration += 1
            stalled = 0 if FALL * (least - wrong_now) > at_first else stalled + 1
            least = wrong_now if stalled == 0 else least
            last = stalled > PATIENCE or iteration == most
            if wrong_now > 0 and not last:
                continue
            wrong = U32(0)
            for row in range(U32(len(ends))):
                first, middle, end = ends[row, U32(0)], ends[row, U32(1)], ends[row, U32(2)]
                extra = split[row, stretch]
                half_sum = _parity(mine, first, middle, i, edges)
                rest = _parity(mine, middle, end, i, edges)
                wrong |= half_sum ^ rest ^ _bit(syndromes, frame, U32(row * stretches + stretch), i)
                if extra >= 0:
                    wrong |= half_sum ^ _bit(syndromes, frame, U32(extra), i)
            if cuda.syncthreads_or(wrong) == 0:
                found = iteration
            elif last:
                found = -iteration
        for word in range(i, U32(patterns.shape[1]), threads):
            bits = U32(0)
            for j in range(32):
                bits = U32(bits | (U32(mine[U32(32 * word + j)] < 0) << U32(j)))
            patterns[frame, word] = bits
        if i == U32(0):
            iterations[frame] = found
        cuda.syncthreads()


def _row_ends(code: Code) -> NDArray[np.uint32]:
    """Return for each base row its first edge, the first of its second half, and where it ends."""
    rows = np.arange(code.rows)
    first, end = np.searchsorted(code.row, rows), np.searchsorted(code.row, rows, side="right")
    firsts = np.array([int(np.sum(code.half[a:b] == 0)) for a, b in zip(first, end, strict=True)])
    return np.stack((first, first + firsts, end), 1).astype(np.uint32)


def _split_words(code: Code, splits: int) -> NDArray[np.int32]:
    """Return the syndrome's word that tells each stretch's first half, or -1."""
    split = np.full(code.whole_words, -1, np.int32)
    split[code.split_order()[:splits]] = code.whole_words + np.arange(splits)
    return split.reshape(code.rows, code.chunks)


def find_errors(
    code: Code, splits: int, known: NDArray[np.bool_], syndromes: Words, frames: NDArray[np.int64]
) -> tuple[Words, NDArray[np.int64]]:
    """Return packed error patterns, and iterations, -n where none was found in n; of the given `frames` alone."""
    found = np.zeros((len(syndromes), len(known) // 64), np.uint64)
    iterations = np.zeros(len(syndromes), np.int64)
    if len(frames):
        with gpu.in_plain_words():
            decoder = Decoder(code, splits, known, len(frames))
            patterns, counts = decoder.decode(decoder.load(syndromes[frames]))
            found[frames], iterations[frames] = patterns.copy_to_host().view(np.uint64), counts.copy_to_host()
    return found, iterations


class Decoder:
    """A code on the card, with memory to decode some frames at a time."""

    def __init__(self, code: Code, splits: int, known: NDArray[np.bool_], n_frames: int) -> None:
        """Bring what does not change to the card."""
        ends = _row_ends(code)
        signs = -(-int(np.max(ends[:, 2] - ends[:, 0])) // 32)
        prior = np.where(known, KNOWN, code.prior).astype(np.int8)
        blocks = max(1, min(n_frames, MOST_BLOCKS))
        self._shape = blocks, code.circulant
        self._words = len(known) // 32
        tables: tuple[NDArray[Any], ...] = (
            ends,
            (code.column * code.circulant | code.shift << 16).astype(np.uint32),
            _split_words(code, splits),
            np.array(code.pace, np.int32),
        )
        self._most = code.iterations
        self._prior = cuda.to_device(np.ascontiguousarray(prior))
        self._tables = [cuda.to_device(np.ascontiguousarray(table)) for table in tables]
        self._levels = cuda.device_array((blocks, len(known)), np.int8)
        self._memory = cuda.device_array((blocks, code.rows, _HALVES + signs, code.circulant), np.uint32)

    def load(self, syndromes: Words) -> Any:
        """Bring syndromes to the card."""
        return cuda.to_device(np.ascontiguousarray(syndromes))

    def decode(self, syndromes: Any) -> tuple[Any, Any]:
        """Return packed patterns (32 bits a word) and iterations, on the card."""
        n = syndromes.shape[0]
        chosen = cuda.to_device(np.arange(n))
        patterns = cuda.device_array((n, self._words), np.uint32)
        iterations = cuda.device_array(n, np.int64)
        decode[self._shape](
            *self._tables, self._most, self._prior, syndromes, chosen, self._levels, self._memory, patterns, iterations
        )
        return patterns, iterations
