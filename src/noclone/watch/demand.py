"""Unusual demand for keys: applications that suddenly ask far more than they used to, or are refused again and again.

In: events of the KMEs.  Out: `alarm.raised` events about an application. Requests are counted in windows; what is
usual is the mean of earlier windows, and a window is unusual where so many requests, or more, would come by chance
with probability below alpha at twice that mean (Poisson). Refusals have a usual number of their own: none to speak
of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass

from noclone.events import Event, EventLog
from noclone.watch.alarms import DEFAULT_ALPHA, Alarm
from noclone.watch.statistics import poisson_tail

WINDOW_S = 10.0
LEARNING = 6  # windows before anything is called unusual
FLOOR = 5.0  # requests in a window that anybody may make
SLACK = 2.0  # times the usual mean, before chance is asked
REFUSALS = 1.0  # mean of a window that typing mistakes explain
FORGET = 0.05  # weight of a new window in the mean


@dataclass(slots=True)
class _Caller:
    window: int = -1
    count: int = 0
    refusals: int = 0
    mean: float = 0.0
    windows: int = 0
    told: bool = False


class DemandMonitor:
    """Watch what applications ask for, and add an event for each alarm."""

    def __init__(self, log: EventLog, alpha: float = DEFAULT_ALPHA) -> None:
        self._log = log
        self._alpha = alpha
        self._callers: dict[str, _Caller] = {}
        self._lock = threading.Lock()
        self.stop: Callable[[], None] = log.listen(self._hear)

    def _hear(self, event: Event) -> None:
        kind, _, name = event.subject.partition(":")
        if event.kind == "key.delivered" and kind == "sae":
            alarm = self._count(name, event.time_s, refused=False)
        elif event.kind in ("kme.refused", "tls.refused"):
            name = str(event.data.get("sae") or event.subject)
            alarm = self._count(name, event.time_s, refused=True)
        else:
            return
        if alarm is not None:
            self._log.add("alarm.raised", event.subject, sae=name, **asdict(alarm))

    def _count(self, name: str, time_s: float, *, refused: bool) -> Alarm | None:
        with self._lock:
            one = self._callers.setdefault(name, _Caller())
            window = int(time_s // WINDOW_S)
            if window != one.window:
                self._close(one, window)
            one.refusals += refused
            one.count += not refused
            if one.told:
                return None
            alarm = self._refusals(one) or self._demand(one)
            one.told = alarm is not None
            return alarm

    def _close(self, one: _Caller, window: int) -> None:
        """End a window: what was usual in it enters the mean."""
        if one.window >= 0:
            weight = max(FORGET, 1 / (one.windows + 1))
            one.mean += weight * (one.count - one.mean)
            one.windows += 1
        one.window, one.count, one.refusals, one.told = window, 0, 0, False

    def _demand(self, one: _Caller) -> Alarm | None:
        usual = max(FLOOR, SLACK * one.mean)
        if one.windows < LEARNING or one.count <= usual:
            return None
        p_value = poisson_tail(one.count, usual)
        if p_value >= self._alpha:
            return None
        message = f"{one.count} keys within {WINDOW_S:g} s, where {one.mean:.1f} are usual"
        return Alarm("sae-demand", one.count, one.mean, p_value, self._alpha, message)

    def _refusals(self, one: _Caller) -> Alarm | None:
        p_value = poisson_tail(one.refusals, REFUSALS) if one.refusals > REFUSALS else 1.0
        if p_value >= self._alpha:
            return None
        message = f"{one.refusals} requests refused within {WINDOW_S:g} s"
        return Alarm("sae-refusals", one.refusals, REFUSALS, p_value, self._alpha, message)
