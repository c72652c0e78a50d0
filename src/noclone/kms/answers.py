"""Answers: what the committing thread owes to those who wait, in threads or in an event loop.

In: results of a batch.  Out: the same, given to everybody at once: all who wait in one event loop are woken by one
call into it. `concurrent.futures` and `asyncio.wrap_future` cost a lock, a chain of callbacks and a system call each.
No lock between them: who waits says so, then looks whether it has come; who gives does so, then looks who waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterable
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


_making = threading.Lock()  # two threads that wait for the same answer wait for the same event


class Answer(Generic[T]):
    """A result that comes later: `result()` waits for it in a thread, `await` in an event loop."""

    __slots__ = ("_done", "_error", "_event", "_value", "_waiters")

    def __init__(self) -> None:
        self._done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._event: threading.Event | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def done(self) -> bool:
        """Say whether it has come."""
        return self._done

    def result(self, timeout_s: float | None = None) -> T:
        """Wait for it in this thread, and return it or raise its error.

        Raises:
            TimeoutError: It did not come in time.
        """
        if not self._done:
            with _making:
                if self._event is None:
                    self._event = threading.Event()
            if not self.done() and not self._event.wait(timeout_s):
                raise TimeoutError
        return self._get()

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            if not self.done():
                yield from waiter
        return self._get()

    def _get(self) -> T:
        if self._error is not None:
            raise self._error
        return cast(T, self._value)


def give(outcomes: Iterable[tuple[Answer[Any], Any, BaseException | None]]) -> None:
    """Give answers: a value, or an error."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for answer, value, error in outcomes:
        answer._value, answer._error = value, error
        answer._done = True
        if answer._event is not None:
            answer._event.set()
        for waiter in answer._waiters:
            waiting.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, waiters in waiting.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_wake, waiters)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
