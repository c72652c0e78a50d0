"""A block of slots, cut into segments that are worked out side by side and taken in order.

In: a `Worker`, who knows what happens in any segment.  Out: that of each segment, in order. Whoever waits for the next
segment works on one himself.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from noclone.link.pulses import MAX_SEGMENT_BITS

I64 = NDArray[np.int64]

PROPOSALS_PER_SEGMENT = 1 << 17  # a few MB and a ms of work
AHEAD = 4  # segments for each thread


class Worker(Protocol):
    """Who works segments out."""

    def clicks(self, segment: int, n_slots: int) -> I64:
        """Return what happens in a segment of so many slots."""
        ...


def segment_length(p_max: float) -> int:
    """Return how many slots are worked out in one go: a power of two with about as many proposals as planned."""
    if p_max <= 0:
        return 1 << MAX_SEGMENT_BITS
    bits = round(math.log2(PROPOSALS_PER_SEGMENT / p_max))
    return 1 << min(MAX_SEGMENT_BITS, max(10, bits))


class Segment:
    """One segment, to be worked out by whoever comes first."""

    def __init__(self, pool: ThreadPoolExecutor, worker: Worker, segment: int, n_slots: int) -> None:
        self._work = (worker, segment, n_slots)
        self._clicks: I64 | None = None
        self._future = pool.submit(worker.clicks, segment, n_slots)

    def ready(self) -> bool:
        """Return whether the clicks are known."""
        return self._clicks is not None or self._future.done()

    def take(self) -> bool:
        """Work it out here, if nobody has begun; return whether that was so."""
        if self._clicks is not None or not self._future.cancel():
            return False
        worker, segment, n_slots = self._work
        self._clicks = worker.clicks(segment, n_slots)
        return True

    def clicks(self) -> I64:
        """Return the clicks, when they are known."""
        return self._clicks if self._clicks is not None else self._future.result()


def in_order(worker: Worker, lengths: Iterable[int], threads: int) -> Iterator[I64]:
    """Yield each segment's clicks in order, working some segments ahead in threads.

    The caller's thread is one of them: it has the clicks to read out, and while it waits for the next ones it works on
    segments too. One thread more would fight with it for a processor.
    """
    if threads == 1:
        for segment, n_slots in enumerate(lengths):
            yield worker.clicks(segment, n_slots)
        return
    ahead: deque[Segment] = deque()
    pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="light")
    try:
        for segment, n_slots in enumerate(lengths):
            ahead.append(Segment(pool, worker, segment, n_slots))
            if len(ahead) == AHEAD * threads:
                yield _first(ahead)
        while ahead:
            yield _first(ahead)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _first(ahead: deque[Segment]) -> I64:
    """Return the first segment's clicks, doing something useful until they are there."""
    while not ahead[0].ready() and any(later.take() for later in ahead):
        pass
    return ahead.popleft().clicks()


class Lengths:
    """The lengths of all segments, without a list of them."""

    def __init__(self, n_slots: int, segment_slots: int) -> None:
        self._n_slots = n_slots
        self._segment_slots = segment_slots

    def __len__(self) -> int:
        return -(-self._n_slots // self._segment_slots)

    def __iter__(self) -> Iterator[int]:
        for first in range(0, self._n_slots, self._segment_slots):
            yield min(self._segment_slots, self._n_slots - first)
