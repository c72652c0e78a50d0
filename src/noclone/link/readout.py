"""Second half of the light: detectors with a memory. Dead time, afterpulses, the gate, several clicks in one slot.

In: a segment's would-be clicks in order of time.  Out: events as `records.Detections` defines them. What a detector
remembers is carried from segment to segment, so the cuts leave no trace.

That asks for one click after the other, yet hardly matters: detectors soon forget. So a run of clicks may be played by
whoever has time, as if all detectors were alive before it; then, in turn, from what really went before, but only until
both agree in what the detectors remember where a stretch of slots begins. Where they never do, all is played in turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noclone.link.aes import aes256_keys
from noclone.link.aes_simd import AES, MULTIPLE
from noclone.link.choices import BATCH, basis_limits, write_bases
from noclone.link.detectors import (
    CUT,
    KEPT,
    KEPT_ROOM,
    NEVER,
    NO_NUMBER,
    PENDING,
    POSITION,
    SPARE,
    STARTED,
    STATE_SIZE,
    play,
)
from noclone.link.devices import Clocked
from noclone.link.hits import JITTER_SIGMAS
from noclone.link.sampling import TICK_BITS, TICKS
from noclone.link.segments import Crew, Task

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

SET_BITS = TICK_BITS + 2  # of a click within its slot
STRETCHES = 32  # of a segment
STRETCHES_OF_RUN = 4 * STRETCHES  # at most: enough work for the threads not to wait for Python's lock
HEADROOM = 1 << 12  # events: more than what really went before adds to a stretch
_NOTHING = np.zeros((0, 5), np.int64), np.zeros((0, 0), np.int64), np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The would-be clicks of a segment, and where in the block it lies."""

    clicks: I64
    first_slot: int
    n_slots: int
    last: bool


def in_block(found: Iterable[tuple[I64, int]], n_slots: int) -> Iterator[Segment]:
    """Yield a block's segments, given the clicks and the number of slots of each, and of all."""
    first = 0
    for clicks, length in found:
        yield Segment(clicks, first, length, first + length == n_slots)
        first += length


def played_ahead(threads: int) -> int:
    """Return how many runs to play before their turn, where the same threads find the clicks.

    One or two threads find clicks for longer than one thread plays them: they gain nothing.
    """
    return 2 * threads if threads > 2 else 0


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Clicks to be played, from cut to cut; see `detectors.play`.

    Args:
        early: What is played just before, in turn: the clicks around a segment's start.
        ends: The segment that ends with this run, if one does.
    """

    clicks: I64
    cuts: I64
    first_slot: int
    early: Run | None = None
    ends: Segment | None = None


@dataclass(slots=True, eq=False)
class Memory:
    """What the detectors remember, and room to play in: all alive at first."""

    state: I64 = field(default_factory=lambda: np.zeros(STATE_SIZE, np.int64))
    dead_until: I64 = field(default_factory=lambda: np.full(4, -NEVER, np.int64))
    pending: I64 = field(default_factory=lambda: np.zeros(64, np.int64))
    draws: tuple[U64, NDArray[np.float64]] = field(
        default_factory=lambda: (np.full(MULTIPLE, NO_NUMBER), np.empty((2, MULTIPLE)))
    )
    kept: I64 = field(default_factory=lambda: np.full(KEPT_ROOM, -NEVER, np.int64))
    several: I64 = field(default_factory=lambda: np.empty(2 * KEPT_ROOM, np.int64))

    def shift(self, ticks: int) -> None:
        """Count time from so much later on."""
        self.dead_until = np.maximum(self.dead_until - (ticks << 2), -NEVER)
        self.pending[: self.state[PENDING]] -= ticks << 2


@dataclass(frozen=True, slots=True, eq=False)
class Alone:
    """What a run gives where all detectors are alive before it.

    Args:
        memory: Of the end.
        notes: What the detectors remembered where stretches begin; see `detectors.play`.
        events: Room for `HEADROOM`, then the events.
    """

    memory: Memory
    notes: tuple[I64, I64, I64]
    events: U64


class Readout:
    """Bob's detectors during one block: give it the segments in order, take events."""

    def __init__(
        self,
        *,
        detector_key: bytes,
        bob_key: bytes,
        bob_limit: int | None,
        dead_time_periods: float,
        gate_fraction: float,
        jitter_ticks: float,
        afterpulse_probability: float,
        afterpulse_lifetime_periods: float,
        stretch_slots: int,
    ) -> None:
        """Start with all detectors alive.

        Args:
            detector_key: For afterpulses and several clicks in a slot.
            bob_key: For Bob's bases; not used with a passive receiver.
            bob_limit: The key basis's share of 2^32; None for a passive receiver.
            stretch_slots: Slots of a stretch.
        """
        self._keys = aes256_keys(detector_key)
        self._bob_keys = aes256_keys(bob_key)
        self._bob_limits = None if bob_limit is None else basis_limits(bob_limit)
        p = afterpulse_probability
        self._stretch_slots = stretch_slots
        self._receiver = (
            int(bob_limit is None),
            round(dead_time_periods * TICKS),
            round(gate_fraction * TICKS / 2),
            float(-1 / np.log1p(-p)) if p > 0 else 0.0,
            float(afterpulse_lifetime_periods * TICKS),
        )
        self._overlap = -(-int(JITTER_SIGMAS * jitter_ticks + 1) // TICKS) if jitter_ticks > 0 else 0  # slots
        self._memory = Memory()
        self._carried = np.zeros(0, np.int64)

    @classmethod
    def of(
        cls, clocked: Clocked, *, detector_key: bytes, bob_key: bytes, bob_limit: int | None, segment_slots: int
    ) -> Readout:
        """Return the detectors of a receiver, all alive.

        Args:
            segment_slots: Length of a segment, of most.
        """
        return cls(
            detector_key=detector_key,
            bob_key=bob_key,
            bob_limit=bob_limit,
            dead_time_periods=clocked.dead_time_periods,
            gate_fraction=clocked.gate_fraction,
            jitter_ticks=clocked.jitter_periods * TICKS,
            afterpulse_probability=clocked.receiver.afterpulse_probability,
            afterpulse_lifetime_periods=clocked.afterpulse_lifetime_periods,
            stretch_slots=max(1, segment_slots // STRETCHES),
        )

    def segment(self, clicks: I64, first_slot: int, n_slots: int, *, last: bool) -> U64:
        """Return the events that are certain after this segment."""
        runs = self._runs(Segment(clicks, first_slot, n_slots, last))
        return joined([self._in_turn(run, None) for run in runs])

    def follow(
        self, segments: Iterable[Segment], crew: Crew, ahead: int, done: Callable[[Segment], None] = lambda _: None
    ) -> Iterator[U64]:
        """Yield the events that are certain after each run.

        Args:
            ahead: How many runs are played, by whoever has time, before their turn; 0 for none.
            done: Told of each segment whose clicks are not needed any more.
        """
        waiting: deque[tuple[Run, Task[Alone | None] | None]] = deque()

        def first() -> U64:
            run, task = waiting.popleft()
            events = self._in_turn(run, crew.finish(task) if task else None)
            if run.ends:
                done(run.ends)
            return events

        for segment in segments:
            waiting.extend((run, crew.start(self._alone, run) if ahead else None) for run in self._runs(segment))
            while len(waiting) > ahead:
                yield first()
        while waiting:
            yield first()

    def least_runs(self, n_slots: int) -> int:
        """Return how many runs a segment of so many slots has at least."""
        return max(1, n_slots // (STRETCHES_OF_RUN * self._stretch_slots) - 1)

    def _runs(self, segment: Segment) -> list[Run]:
        """Return what is to be played: runs of whole stretches, and before the first the clicks around the start."""
        clicks, first, start, end = segment.clicks, segment.first_slot, -self._overlap, segment.n_slots
        bound = end if segment.last else end - self._overlap
        if first == 0:  # clicks before the block's first slot are outside of it
            clicks, start = clicks[np.searchsorted(clicks, 0) :], 0
        early, length = self._carried, self._stretch_slots
        begin = max(start, (int(early[-1]) >> SET_BITS) + 1) if len(early) else start
        begin = min(-(-(first + begin) // length) * length - first, max(start, bound))
        if begin > start:
            among = int(np.searchsorted(clicks, begin << SET_BITS))
            early, clicks = np.sort(np.concatenate([early, clicks[:among]])), clicks[among:]
        if self._overlap:
            later = [some[np.searchsorted(some, bound << SET_BITS) :] for some in (early, clicks)]
            self._carried = np.concatenate(later) - (end << SET_BITS)
        lows = list(range(begin, bound, STRETCHES_OF_RUN * length)) or [begin]
        places = [0, *np.searchsorted(clicks, np.array(lows[1:], np.int64) << SET_BITS).tolist(), len(clicks)]
        before = Run(early, self._cuts(first, start, begin), first) if begin > start else None
        return [
            Run(
                clicks[places[i] : places[i + 1]],
                self._cuts(first, low, lows[i + 1] if i + 1 < len(lows) else bound),
                first,
                before if i == 0 else None,
                segment if i + 1 == len(lows) else None,
            )
            for i, low in enumerate(lows)
        ]

    def _cuts(self, first_slot: int, low: int, high: int) -> I64:
        """Return where to cut between two slots, and both: where stretches begin."""
        length = self._stretch_slots
        inner = range(length - (first_slot + low) % length + low, high, length)
        return np.array([low, *inner, high], np.int64) << SET_BITS

    def _alone(self, run: Run) -> Alone | None:
        """Play a run as if all detectors were alive before it; None where that is more than there is room for."""
        memory, cuts = Memory(), len(run.cuts) - 1
        notes = np.empty((cuts, 5), np.int64), np.empty((cuts, len(memory.pending)), np.int64), np.empty(cuts, np.int64)
        events = np.empty(HEADROOM + _room(run, memory), np.uint64)
        n = self._played(run, memory, notes, events[HEADROOM:], comparing=False)
        return Alone(memory, notes, events[: HEADROOM + n]) if memory.state[CUT] == cuts else None

    def _in_turn(self, run: Run, alone: Alone | None) -> U64:
        """Play a run after what went before it, as far as it was not played alone; return the events."""
        parts: list[U64] = []
        if run.early:
            self._play(run.early, None, parts)
        cut = self._play(run, alone, parts)
        if alone is not None and cut < len(run.cuts) - 1:
            self._memory = alone.memory
            start, before = HEADROOM + int(alone.notes[2][cut]), joined(parts)
            if len(before) <= start:
                alone.events[start - len(before) : start] = before
                parts = [alone.events[start - len(before) :]]
            else:
                parts = [before, alone.events[start:]]
        if run.ends:
            self._memory.shift(run.ends.n_slots << TICK_BITS)
        return joined(parts)

    def _play(self, run: Run, alone: Alone | None, parts: list[U64]) -> int:
        """Add events to parts, until the detectors remember what they do alone; return up to which cut."""
        memory, cuts = self._memory, len(run.cuts) - 1
        memory.state[[POSITION, CUT, STARTED]] = 0
        if run.cuts[0] >= run.cuts[-1]:
            return cuts
        while True:
            events = np.empty(_room(run, memory), np.uint64)
            n = self._played(run, memory, alone.notes if alone else _NOTHING, events, comparing=True)
            if n:
                parts.append(events[:n])
            if memory.state[CUT] == cuts:
                return cuts
            if memory.state[PENDING] == len(memory.pending):
                memory.pending = np.concatenate([memory.pending, np.zeros_like(memory.pending)])
            elif n + KEPT + SPARE <= len(events):
                return int(memory.state[CUT])  # there was room for more

    def _played(self, run: Run, memory: Memory, notes: tuple[I64, I64, I64], events: U64, *, comparing: bool) -> int:
        """Play a run on; return how many events there are."""
        n: int = play(
            AES,
            self._keys,
            run.clicks,
            run.cuts,
            run.first_slot,
            self._stretch_slots,
            self._receiver,
            memory.state,
            (memory.dead_until, memory.pending, *memory.draws),
            memory.kept,
            memory.several,
            notes,
            comparing,
            events,
        )
        if self._bob_limits is not None:
            write_bases(AES, self._bob_keys, self._bob_limits, events, n)
        return n


def joined(parts: list[U64]) -> U64:
    """Return events of several parts as one."""
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.uint64), *parts])


def _room(run: Run, memory: Memory) -> int:
    """Return for how many events there should be room: few runs have more afterpulses than clicks left."""
    return len(run.clicks) - int(memory.state[POSITION]) + KEPT + BATCH
