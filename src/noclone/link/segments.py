"""A block of slots, cut into segments that are worked out side by side and taken in order.

In: a `Worker`, who knows what happens in any segment.  Out: that of each segment, in order. Whoever waits for the next
segment works on one himself.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from noclone.link.pulses import MAX_SEGMENT_BITS

I64 = NDArray[np.int64]
T = TypeVar("T")

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


class Task(Generic[T]):
    """One piece of work, to be done by whoever comes first."""

    def __init__(self, pool: ThreadPoolExecutor | None, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._future = pool.submit(work) if pool else None

    def ready(self) -> bool:
        """Return whether it is done."""
        return bool(self._results) or (self._future is not None and self._future.done())

    def take(self) -> bool:
        """Do it here, if nobody has begun; return whether that was so."""
        if self._results or not (self._future is None or self._future.cancel()):
            return False
        self._results.append(self._work())
        return True

    def result(self) -> T:
        """Return what came out, when it is done."""
        if not self._results and self._future is not None:
            return self._future.result()
        return self._results[0]


class Crew:
    """Some threads, the caller's among them: whoever waits for a task works on others. Close it when all is done.

    One thread more would fight with the caller's for a processor.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="light") if threads > 1 else None
        self._begun: deque[Task[Any]] = deque()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, work: Callable[..., T], *args: Any) -> Task[T]:
        """Have some work done; `finish` it later."""
        task = Task(self._pool, partial(work, *args))
        self._begun.append(task)
        return task

    def finish(self, task: Task[T]) -> T:
        """Return what came of a task, doing something useful until it is there."""
        while not task.ready() and (task.take() or any(other.take() for other in self._begun)):
            pass
        self._begun.remove(task)
        return task.result()

    def in_order(self, worker: Worker, lengths: Iterable[int]) -> Iterator[I64]:
        """Yield each segment's clicks in order, working some segments ahead."""
        ahead: deque[Task[I64]] = deque()
        most = AHEAD * self.threads - 1 if self.threads > 1 else 0
        for segment, n_slots in enumerate(lengths):
            ahead.append(self.start(worker.clicks, segment, n_slots))
            if len(ahead) > most:
                yield self.finish(ahead.popleft())
        while ahead:
            yield self.finish(ahead.popleft())


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
