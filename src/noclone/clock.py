"""Time as an argument: code that needs the time takes a `Clock`, tests hand it one that they move."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the time is, for people (`now_s`) and for measuring (`monotonic_s`)."""

    def now_s(self) -> float:
        """Return seconds since 1970 (UTC)."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go backwards."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s

    def monotonic_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`."""
        self._now_s += seconds
