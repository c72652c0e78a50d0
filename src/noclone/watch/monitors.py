"""Monitors at work: events of a running network -> alarms, as events with their evidence.

In: the counts of each block and what the devices reported, from the events; what each link should report.  Out:
`alarm.raised` events. The tests themselves: `meters`, `demand`. An alarm's response is the scenario's:
`network.responses`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from noclone.counts import Counts, Paired
from noclone.events import Event, EventLog
from noclone.link.telemetry import Telemetry
from noclone.watch.alarms import DEFAULT_ALPHA as DEFAULT_ALPHA
from noclone.watch.alarms import Alarm as Alarm
from noclone.watch.meters import Watched as Watched
from noclone.watch.meters import watch_error_rate as watch_error_rate
from noclone.watch.meters import watch_gains as watch_gains
from noclone.watch.statistics import tail_bound as tail_bound

FORGED_REASONS = frozenset({"authentication-failed"})
FORGERY = 2.0**-80  # more than any tag's chance to pass, or to fail, by accident


class LinkMonitor:
    """Watch the blocks of a network's links, and add an event for each alarm.

    Args:
        links: For each link, what it should report.
    """

    def __init__(self, log: EventLog, links: Mapping[str, Watched]) -> None:
        self._log = log
        self._links = {name: known.fresh() for name, known in links.items()}
        self._seen: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._forgeries: dict[str, int] = {}
        self._readings: dict[str, tuple[int, Telemetry]] = {}
        self._raised: dict[str, list[Alarm]] = {}
        self._lock = threading.Lock()
        self.stop: Callable[[], None] = log.listen(self._hear)

    def check(self, link: str, block: int, counts: Counts | None) -> list[Alarm]:
        """Return the alarms of a block; both ends may ask, and the alarms are raised once."""
        if link not in self._links:
            return []
        with self._lock:
            if block <= self._seen.get(link, -1):
                return list(self._raised.get(link, [])) if block == self._seen[link] else []
            self._seen[link] = block
            number, readings = self._readings.get(link, (-1, None))
            alarms = self._links[link].look(counts, readings if number == block else None, block=block)
            self._raised[link] = alarms
        self._raise(link, block, alarms)
        return alarms

    def _raise(self, link: str, block: int, alarms: list[Alarm]) -> None:
        for alarm in alarms:
            self._log.add("alarm.raised", f"link:{link}", block=block, **asdict(alarm))

    def _hear(self, event: Event) -> None:
        kind, _, link = event.subject.partition(":")
        if kind != "link" or link not in self._links:
            return
        if event.kind == "devices.measured":
            self._readings[link] = event.data["block"], Telemetry.from_json(event.data["telemetry"])
        elif event.kind in ("block.distilled", "block.aborted"):
            self._end_of_block(link, event)

    def _end_of_block(self, link: str, event: Event) -> None:
        block, counts = event.data["block"], counts_of(event.data)
        measured = self._readings.get(link, (-1, None))[0] == block
        if counts is not None or measured:
            self.check(link, block, counts)
        alarms = []
        with self._lock:
            if block > self._ended.get(link, -1):  # the other end reports the same block
                self._ended[link] = block
                alarms += self._links[link].key_rate(event.kind == "block.aborted")
            # Only the end that checked the tag knows; the other one heard a word, and perhaps first.
            if event.data.get("reason") in FORGED_REASONS and block > self._forgeries.get(link, -1):
                self._forgeries[link] = block
                alarms.append(self._forged(link, event.data))
        self._raise(link, block, alarms)

    def _forged(self, link: str, data: Mapping[str, Any]) -> Alarm:
        alpha = self._links[link].known.alpha
        message = f"what crossed the public channel was changed: {data.get('message', '')}"
        return Alarm("authentication", 1.0, 0.0, FORGERY, alpha, message)


def counts_of(data: Mapping[str, Any]) -> Counts | None:
    """Return the counts that a block's event carries, if it got that far."""
    found = data.get("counts")
    if not isinstance(found, Mapping):
        return None

    def row(name: str) -> tuple[int, ...]:
        return tuple(int(n) for n in found[name])

    m_key = row("m_key") if found.get("m_key") is not None else None
    paired = Paired(**found["paired"]) if found.get("paired") is not None else None
    return Counts(int(found["n_slots"]), row("n_key"), row("n_test"), row("m_test"), m_key, paired=paired)
