"""First half of the light on the card: the would-be clicks of many segments at a time, those of `pulses` to the bit.

In: what `pulses.would_be_clicks` takes.  Out: groups of segments' clicks, sorted, in the processor's memory.

Any proposal's words are a function of its number, so all proposals of a segment are drawn at once, as many as it takes
but for one segment in 10^15 (which the processor then does). Their gaps are summed in two steps, within tiles of 512
and over tiles; then each thread works two proposals out, since AES comes in pairs (`aes_cuda`). Clicks are packed tile
by tile, in order but for neighbours that jitter and dark counts exchange; some rounds of comparing neighbours sort
them.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from noclone import gpu
from noclone.gpu import inlined, kernel, simulated
from noclone.link.aes import ROUNDS_NATURE, ROUNDS_SECRET
from noclone.link.aes_cuda import key_planes, two_blocks
from noclone.link.hits import COLUMNS, JITTER_SIGMAS
from noclone.link.pulses import ALICE, BOB, EVE, NATURE, Law
from noclone.link.sampling import TICK_BITS, TICKS
from noclone.link.sampling_cuda import geometric, photon_tick

I64s = NDArray[np.int64]

I64, U64 = np.int64, np.uint64
THREADS = 8 if simulated() else 256  # of a block; simulated ones take turns
TILE = 2 * THREADS  # proposals
MOST = 4 * TILE  # clicks of a tile
SIGMAS = 8  # more proposals than expected: 1e-15
TOGETHER = 64  # segments
ROUNDS = 6  # of comparing neighbours before the clicks are checked
BUFFERS = 3  # one is read, one is written, one is safe
SET_BITS = TICK_BITS + 2
_keeping = threading.Lock()
_kept: dict[tuple[int, int], Memory] = {}  # of the last block
LOW_WORD = U64(0xFFFFFFFF)


@inlined
def _running(room, thread, value):  # type: ignore[no-untyped-def]
    """Return the sum of the values of all threads of the block up to this one."""
    cuda.syncthreads()
    room[thread] = value
    step = 1
    while step < THREADS:
        cuda.syncthreads()
        before = room[thread - step] if thread >= step else I64(0)
        cuda.syncthreads()
        room[thread] += before
        step *= 2
    cuda.syncthreads()
    return room[thread]


@kernel
def propose(keys, first_segment, mean_negated, at, draws, rests, sums):  # type: ignore[no-untyped-def]
    """Set at[segment, j] to the sum of gaps within a tile up to proposal j, sums[segment, tile] to that of the tile."""
    room = cuda.shared.array(THREADS, I64)
    thread, tile, segment = cuda.threadIdx.x, cuda.blockIdx.x, cuda.blockIdx.y
    j = tile * TILE + 2 * thread
    stream = U64(U64(first_segment + segment) << U64(2))
    word, draw, next_word, next_draw = two_blocks(keys, NATURE, ROUNDS_NATURE, U64(j), U64(j + 1), stream)
    gap, next_gap = geometric(word, mean_negated), geometric(next_word, mean_negated)
    total = _running(room, thread, gap + next_gap)
    at[segment, j], at[segment, j + 1] = total - next_gap, total
    draws[segment, j], draws[segment, j + 1] = draw, next_draw
    rests[segment, j], rests[segment, j + 1] = word, next_word
    if thread == THREADS - 1:
        sums[segment, tile] = total


@kernel
def add_up(counts, totals):  # type: ignore[no-untyped-def]
    """Replace each row's numbers by the sums of those before them, and set its total: a block a row."""
    room = cuda.shared.array(THREADS, I64)
    thread, row = cuda.threadIdx.x, cuda.blockIdx.x
    n, so_far = counts.shape[1], I64(0)
    for first in range(0, n, THREADS):
        place = first + thread
        own = counts[row, place] if place < n else I64(0)
        total = _running(room, thread, own)
        if place < n:
            counts[row, place] = so_far + total - own
        so_far += room[THREADS - 1]
    if thread == 0:
        totals[row] = so_far


@inlined
def _setting(low, high, limits):  # type: ignore[no-untyped-def]
    """Return `choices.setting`."""
    draw = I64(low >> U64(32))
    intensity = I64(draw >= limits[0]) + I64(draw >= limits[1]) + I64(draw >= limits[2])
    return (intensity << 2) | (I64(I64(low & LOW_WORD) >= limits[3]) << 1) | I64(high & U64(1))


@inlined
def _outcome(low, code, limits):  # type: ignore[no-untyped-def]
    """Return what `choices.eve_batch` does."""
    outcome = 0
    while outcome < limits.shape[1] - 1 and low > limits[code, outcome]:
        outcome += 1
    return outcome


@inlined
def _cases(keys, first, second, choosers):  # type: ignore[no-untyped-def]
    """Return the rows of `pulses.find_cases` of two slots."""
    limits, eve_limits = choosers
    low, high, next_low, next_high = two_blocks(keys, ALICE, ROUNDS_SECRET, first, second, U64(0))
    row, next_row = _setting(low, high, limits[ALICE]), _setting(next_low, next_high, limits[ALICE])
    if eve_limits.shape[1] > 1:
        low, _, next_low, _ = two_blocks(keys, EVE, ROUNDS_SECRET, first, second, U64(0))
        row |= _outcome(low, row, eve_limits) << 4
        next_row |= _outcome(next_low, next_row, eve_limits) << 4
    if limits.shape[0] > 1:
        low, _, next_low, _ = two_blocks(keys, BOB, ROUNDS_SECRET, first, second, U64(0))
        row = (row << 1) | I64(I64(low & LOW_WORD) >= limits[BOB, 3])
        next_row = (next_row << 1) | I64(I64(next_low & LOW_WORD) >= limits[BOB, 3])
    return row, next_row


@inlined
def _place(draw, row, law):  # type: ignore[no-untyped-def]
    """Return which detector clicks alone by a photon, 4 where it takes a closer look, 5 if none clicks."""
    limits, place = law[0], 0
    while place < 5 and draw >= limits[place, row]:
        place += 1
    return place


@inlined
def _set_of(draw, row, law):  # type: ignore[no-untyped-def]
    """Return which detectors click, one bit each, by the second draw: `hits.set_of`."""
    _, closer, masks, _ = law
    column = 0
    while column < COLUMNS - 1 and draw >= closer[row * COLUMNS + column]:
        column += 1
    return I64(masks[row * COLUMNS + column])


@inlined
def _clicks(place, draw, rest, slot, row, words, law, jitter_ticks, out, n):  # type: ignore[no-untyped-def]
    """Append the clicks of one proposal, the lowest detector's first: `hits.clicks_of_one`."""
    if place < 4:
        share = (draw << U64(44)) | ((rest & U64(0xFFF)) << U64(32))
        out[n] = (slot << SET_BITS) + (photon_tick(share, jitter_ticks) << 2) + place
        return n + 1
    if place == 5:
        return n
    dark_limits, left, rank = law[3], _set_of(words[0], row, law), 1
    limits = (row << 3) | (I64(left & (left - 1) != 0) << 2)
    while left != 0:
        one = left & -left
        left ^= one
        d = (one >> 1) - (one >> 3)
        word = words[1] if rank == 1 else words[2] if rank == 2 else words[3] if rank == 3 else words[4]
        if word & LOW_WORD < dark_limits[limits | d]:
            tick = I64(word >> U64(64 - TICK_BITS))
        else:
            tick = photon_tick(word, jitter_ticks)
        out[n] = (slot << SET_BITS) + (tick << 2) + d
        n += 1
        rank += 1
    return n


@kernel
def click(  # type: ignore[no-untyped-def]
    keys,
    first_segment,
    first_slot,
    length,
    n_slots,
    at,
    draws,
    rests,
    sums,
    choosers,
    law,
    jitter_ticks,
    clicks,
    counts,
):
    """Write each tile's clicks into its row of `clicks`, and how many into `counts`.

    Args:
        first_slot: Number of the first segment's first slot in the block.
        length: Slots of a segment; n_slots: slots from first_slot to the end.
        choosers, law: See `pulses.would_be_clicks`.
        clicks: int64[segments * tiles, MOST].
    """
    room = cuda.shared.array(THREADS, I64)
    found = cuda.local.array(8, I64)
    thread, tile, segment = cuda.threadIdx.x, cuda.blockIdx.x, cuda.blockIdx.y
    j, start = tile * TILE + 2 * thread, sums[segment, tile] - 1
    end = min(length, n_slots - segment * length)
    n = 0
    if start < end:
        slot, next_slot = start + at[segment, j], start + at[segment, j + 1]
        first = first_slot + segment * length
        row, next_row = _cases(keys, U64(first + slot), U64(first + next_slot), choosers)
        draw, next_draw = draws[segment, j], draws[segment, j + 1]
        hit = _place(draw, row, law) if slot < end else 5
        next_hit = _place(next_draw, next_row, law) if next_slot < end else 5
        a, b, c, d, e = U64(0), U64(0), U64(0), U64(0), U64(0)
        f, g, h, o, p = U64(0), U64(0), U64(0), U64(0), U64(0)
        if hit == 4 or next_hit == 4:
            stream = U64(U64(first_segment + segment) << U64(2))
            a, b, f, g = two_blocks(keys, NATURE, ROUNDS_NATURE, U64(j), U64(j + 1), stream + U64(1))
            c, d, h, o = two_blocks(keys, NATURE, ROUNDS_NATURE, U64(j), U64(j + 1), stream + U64(2))
            e, _, p, _ = two_blocks(keys, NATURE, ROUNDS_NATURE, U64(j), U64(j + 1), stream + U64(3))
        rest, next_rest = rests[segment, j], rests[segment, j + 1]
        n = _clicks(hit, draw, rest, slot, row, (a, b, c, d, e), law, jitter_ticks, found, n)
        n = _clicks(next_hit, next_draw, next_rest, next_slot, next_row, (f, g, h, o, p), law, jitter_ticks, found, n)
    place = _running(room, thread, I64(n)) - n
    number = segment * cuda.gridDim.x + tile
    for i in range(n):
        clicks[number, place + i] = found[i]
    if thread == THREADS - 1:
        counts[0, number] = place + n


@kernel
def pack(clicks, offsets, totals, tiles, span, out):  # type: ignore[no-untyped-def]
    """Write all clicks one behind the other, counted from the first segment's start: a block a tile.

    Args:
        span: Length of a segment, like clicks.
    """
    number = cuda.blockIdx.x
    start = offsets[0, number]
    end = offsets[0, number + 1] if number + 1 < offsets.shape[1] else totals[0]
    moved = (number // tiles) * span
    for i in range(cuda.threadIdx.x, min(end, len(out)) - start, cuda.blockDim.x):
        out[start + i] = clicks[number, i] + moved


@kernel
def settle(out, totals, phase):  # type: ignore[no-untyped-def]
    """Exchange neighbours that stand in the wrong order, every second pair."""
    i = 2 * cuda.grid(1) + phase
    if i + 1 < totals[0]:
        a, b = out[i], out[i + 1]
        if a > b:
            out[i], out[i + 1] = b, a


@kernel
def check(out, totals, sums, length, n_slots, report):  # type: ignore[no-untyped-def]
    """Report how many clicks there are, how many pairs are unsorted, how many segments too short.

    Args:
        sums: Of each segment's gaps.
        report: int64[3], zeros.
    """
    i = cuda.grid(1)
    if i < len(sums) and sums[i] - 1 < min(length, n_slots - i * length):
        cuda.atomic.add(report, 2, 1)
    if i == 0:
        report[0] = totals[0]
    if i + 1 < totals[0] and out[i] > out[i + 1]:
        cuda.atomic.add(report, 1, 1)


class Memory:
    """What the kernels work in: on the card, and places here that it can write to by itself, used in turn."""

    def __init__(self, segments: int, tiles: int) -> None:
        self.at = cuda.device_array((segments, tiles * TILE), I64)
        self.draws = cuda.device_array((segments, tiles * TILE), U64)
        self.rests = cuda.device_array((segments, tiles * TILE), U64)
        self.sums = cuda.device_array((segments, tiles), I64)
        self.gaps = cuda.device_array(segments, I64)
        self.clicks = cuda.device_array((segments * tiles, MOST), I64)
        self.counts = cuda.device_array((1, segments * tiles), I64)
        self.totals = cuda.device_array(1, I64)
        self.out = cuda.device_array(2 * segments * tiles * TILE, I64)
        self._hosts = deque(np.empty(0, np.int64) for _ in range(BUFFERS))

    def bring(self, total: int) -> I64s:
        """Return the first clicks."""
        host = self._hosts.popleft()
        if len(host) < total:
            host = cuda.pinned_array(total + total // 8, np.int64)
        self._hosts.append(host)
        if total:
            self.out[:total].copy_to_host(host[:total])
        return host[:total]


class CardPulses:
    """The first half of the light on the card."""

    def __init__(self, law: Law, *, together: int | None = None) -> None:
        """Bring to the card what does not change.

        Args:
            together: Segments that are worked out at a time; `TOGETHER` if None.
        """
        self._law = law
        expected = law.length * law.p_max
        self._tiles = -(-int(expected + SIGMAS * math.sqrt(expected) + 1) // TILE)
        margin = int(JITTER_SIGMAS * law.jitter_ticks / TICKS) + 2  # slots, around a group
        self._together = min(together or TOGETHER, ((1 << 62 - SET_BITS) - 2 * margin) // law.length)
        self._choosers = tuple(cuda.to_device(limits) for limits in law.choosers)
        self._keys = cuda.to_device(key_planes(law.keys))
        self._table = tuple(cuda.to_device(part) for part in law.table)

    @property
    def fits(self) -> bool:
        """Whether the card is of use: segments that are too long for their times to be told apart stay here."""
        return self._together > 0 and 0 < self._law.p_max < 1

    @contextmanager
    def memory(self) -> Iterator[Memory]:
        """Lend what `clicks` works in; it is kept for the next block, since to take it is slow."""
        shape = self._together, self._tiles
        with gpu.in_plain_words():
            with _keeping:
                kept = _kept.pop(shape, None)
            memory = kept or Memory(*shape)
        try:
            yield memory
        finally:
            with _keeping:
                _kept.clear()
                _kept[shape] = memory

    @property
    def group(self) -> int:
        """Slots of a group."""
        return self._together * self._law.length

    def in_order(self, n_slots: int, otherwise: Callable[[int, int], I64s]) -> Iterator[tuple[I64s, int]]:
        """Yield groups of segments, their clicks and how many slots they have: in order, one group ahead.

        The clicks live until the next group but one is asked for.

        Args:
            n_slots: Slots of the block.
            otherwise: Works out the clicks of a segment, given its number and its length, where the card cannot.
        """
        length = self._law.length
        firsts = range(0, -(-n_slots // length), self._together)
        with self.memory() as memory, ThreadPoolExecutor(1, thread_name_prefix="light") as pool:
            ahead = pool.submit(self.clicks, memory, firsts[0], n_slots)
            for first in firsts:
                with gpu.in_plain_words():
                    found = ahead.result()
                if first != firsts[-1]:
                    ahead = pool.submit(self.clicks, memory, first + self._together, n_slots)
                if found is not None:
                    yield found, min(self.group, n_slots - first * length)
                    continue
                for segment in range(first, min(first + self._together, -(-n_slots // length))):
                    slots = min(length, n_slots - segment * length)
                    yield otherwise(segment, slots), slots

    def clicks(self, memory: Memory, first: int, n_slots: int) -> I64s | None:
        """Return the clicks of a group, from segment `first` on; None if there are too many, or a gap was too short."""
        law, tiles, segments = self._law, self._tiles, self._together
        grid = (tiles, segments), THREADS
        numbers, counts, totals, out = segments * tiles, memory.counts, memory.totals, memory.out
        left = n_slots - first * law.length
        report = cuda.to_device(np.zeros(3, np.int64))
        propose[grid](self._keys, first, law.mean_negated, memory.at, memory.draws, memory.rests, memory.sums)
        add_up[segments, THREADS](memory.sums, memory.gaps)
        click[grid](
            self._keys, first, first * law.length, law.length, left, memory.at, memory.draws, memory.rests, memory.sums,
            self._choosers, self._table, law.jitter_ticks, memory.clicks, counts,
        )  # fmt: skip
        add_up[1, THREADS](counts, totals)
        pack[numbers, THREADS](memory.clicks, counts, totals, tiles, law.length << SET_BITS, out)
        pairs = len(out) // 2 // THREADS
        for phase in range(2 * ROUNDS):
            settle[pairs, THREADS](out, totals, phase & 1)
        check[2 * pairs, THREADS](out, totals, memory.gaps, law.length, left, report)
        total, unsorted, short = report.copy_to_host().tolist()
        if short or total > len(out):
            return None
        found = memory.bring(total)
        return np.sort(found) if unsorted else found
