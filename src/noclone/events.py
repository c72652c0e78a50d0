"""Everything that happens is an `Event` in one append-only log; there is no second truth.

The command line, the dashboard, the audit and `--json` all read this stream. Events never hold key bytes.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from noclone.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Args:
        number: Position in the log, from 1, without gaps.
        time_s: Seconds since 1970 (UTC).
        kind: What happened, as `noun.verb`: `block.distilled`, `block.aborted`, `attack.started`, `key.delivered`.
        subject: What it happened to, with its kind: `link:alder-birch`, `node:alder`, `sae:sae-a`.
        data: JSON values only.
    """

    number: int
    time_s: float
    kind: str
    subject: str
    data: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the event as one line of JSON."""
        return json.dumps(
            {"number": self.number, "time": self.time_s, "kind": self.kind, "subject": self.subject, **self.data},
            separators=(",", ":"),
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, line: str) -> Event:
        """Rebuild what `to_json` gave.

        Raises:
            ValueError: It is no event.
        """
        try:
            data = json.loads(line)
            own = [data.pop(name) for name in ("number", "time", "kind", "subject")]
        except (KeyError, TypeError, AttributeError):
            raise ValueError("this is no event") from None
        return cls(int(own[0]), float(own[1]), str(own[2]), str(own[3]), data)


Listener = Callable[[Event], None]


class EventLog:
    """Append events, tell listeners, and keep the newest in memory; with a path, write every one to a file.

    Thread-safe. A listener runs in the thread that adds the event and must be quick.
    """

    def __init__(self, path: Path | None = None, *, clock: Clock | None = None, keep: int = 100_000) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._keep = keep
        self._count = 0
        self._listeners: list[Listener] = []
        self._file: TextIO | None = None
        if path is not None:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "a", encoding="utf-8")

    def add(self, kind: str, subject: str, **data: Any) -> Event:
        """Record that something happened, and return the event."""
        with self._lock:
            self._count += 1
            event = Event(self._count, self._clock.now_s(), kind, subject, data)
            if self._file is not None:
                self._file.write(event.to_json() + "\n")
                self._file.flush()
            self._events.append(event)
            if len(self._events) > self._keep:
                del self._events[: self._keep // 10]
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(event)
        return event

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every event from now on; return a function that ends this."""
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return stop

    def since(self, number: int = 0) -> list[Event]:
        """Return the events in memory that came after `number`, oldest first."""
        with self._lock:
            return [event for event in self._events if event.number > number]

    def __iter__(self) -> Iterator[Event]:
        return iter(self.since())

    def close(self) -> None:
        """Close the file, if there is one."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
