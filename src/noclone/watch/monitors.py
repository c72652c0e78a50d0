"""Monitors at work: events of a running network -> alarms, as events with their evidence.

In: the counts of each block and what the devices reported, from the events; what each link should report.  Out:
`alarm.raised` events. The tests themselves: `meters`, `demand`. An alarm's response is the scenario's:
`network.responses`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
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
BLOCKS_KEPT = 64  # of a link; far fewer are under way at a time


@dataclass(slots=True)
class _Block:
    """What came of one block, and what was looked at: each thing once, whichever end tells of it first.

    Args:
        readings: What the devices reported, until it is looked at.
    """

    readings: Telemetry | None = None
    measured: bool = False
    counted: bool = False
    ended: bool = False
    forged: bool = False
    alarms: list[Alarm] = field(default_factory=list)


class _Link:
    """The monitors of one link, and its newest blocks: several are under way at a time."""

    def __init__(self, known: Watched) -> None:
        self.watch = known.fresh()
        self._blocks: dict[int, _Block] = {}
        self._over = -1  # blocks up to this number are forgotten

    def block(self, number: int) -> _Block | None:
        """Return what is known of a block; None if it is long over."""
        if number <= self._over:
            return None
        found = self._blocks.setdefault(number, _Block())
        while len(self._blocks) > BLOCKS_KEPT:
            self._over = min(self._blocks)
            del self._blocks[self._over]
        return found if number > self._over else None


class LinkMonitor:
    """Watch the blocks of a network's links, and add an event for each alarm.

    Of each block its readings and its counts are looked at once, when somebody first tells of them: either end asks
    before it releases a key, and reports how the block ended. Each end does so in the order of the blocks, so what
    both know enters the drifts in that order, however the reports of the two are interleaved.

    Args:
        links: For each link, what it should report.
    """

    def __init__(self, log: EventLog, links: Mapping[str, Watched]) -> None:
        self._log = log
        self._links = {name: _Link(known) for name, known in links.items()}
        self._lock = threading.Lock()
        self.stop: Callable[[], None] = log.listen(self._hear)

    def check(self, link: str, block: int, counts: Counts | None) -> list[Alarm]:
        """Return the alarms of a block so far; both ends may ask, and the alarms are raised once."""
        if link not in self._links:
            return []
        with self._lock:
            one = self._links[link].block(block)
            if one is None:
                return []
            if one.counted:
                counts = None
            readings, one.readings = one.readings, None
            alarms = self._links[link].watch.look(counts, readings, block=block)
            one.counted = one.counted or counts is not None
            one.alarms += alarms
            found = list(one.alarms)
        self._raise(link, block, alarms)
        return found

    def _raise(self, link: str, block: int, alarms: list[Alarm]) -> None:
        for alarm in alarms:
            self._log.add("alarm.raised", f"link:{link}", block=block, **asdict(alarm))

    def _hear(self, event: Event) -> None:
        kind, _, link = event.subject.partition(":")
        if kind != "link" or link not in self._links:
            return
        if event.kind == "devices.measured":
            self._measured(link, event.data["block"], Telemetry.from_json(event.data["telemetry"]))
        elif event.kind in ("block.distilled", "block.aborted"):
            self._end_of_block(link, event)

    def _measured(self, link: str, block: int, readings: Telemetry) -> None:
        """Keep what the devices report until the block is looked at, which is now if it has ended."""
        with self._lock:
            one = self._links[link].block(block)
            if one is None or one.measured:
                return
            one.measured, one.readings = True, readings
            ended = one.ended
        if ended:
            self.check(link, block, None)

    def _end_of_block(self, link: str, event: Event) -> None:
        block, counts = event.data["block"], counts_of(event.data)
        self.check(link, block, counts)
        alarms = []
        with self._lock:
            one = self._links[link].block(block)
            if one is None:
                return
            if not one.ended:  # the other end reports the same block
                one.ended = True
                alarms += self._links[link].watch.key_rate(event.kind == "block.aborted")
            # Only the end that checked the tag knows; the other one heard a word, and perhaps first.
            if event.data.get("reason") in FORGED_REASONS and not one.forged:
                one.forged = True
                alarms.append(self._forged(link, event.data))
        self._raise(link, block, alarms)

    def _forged(self, link: str, data: Mapping[str, Any]) -> Alarm:
        alpha = self._links[link].watch.known.alpha
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
