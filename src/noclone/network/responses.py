"""What happens when a monitor raises an alarm: set in the scenario, one table for each kind of alarm.

In: alarms.  Out: a block thrown away, a link stopped, a person called: events, which the rest of the node obeys.

    note       nothing but the alarm itself (also where no table speaks of it)
    discard    the block that it is about gives no key
    stop-link  as discard, and the link makes no more blocks until somebody starts it again; of those that are under
               way none gives key
    re-route   as stop-link, and all KMEs hear that the link is down: no relay goes over it, whatever it has stored
    page       as note, and `person.paged` says whom it concerns
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from noclone.distill.job import BlockAborted, BlockStatistics
from noclone.events import Event, EventLog
from noclone.network.fields import Name, Section
from noclone.watch.alarms import Alarm

Stop = Callable[[str, bool], None]
Action = Literal["note", "discard", "stop-link", "re-route", "page"]
STOPPING = ("stop-link", "re-route")


class ResponseSection(Section):
    """What to do about an alarm."""

    alarm: Annotated[str, Field(pattern=r"^[a-z0-9*-]{1,64}$")] = Field(
        description='name of a monitor, such as "error-rate" or "gain-*"; "*": any'
    )
    on: Name | None = Field(default=None, description="link; every one where not given")
    then: Action
    whom: str = Field(default="", max_length=200, description="whom to page")

    def covers(self, alarm: str, link: str) -> bool:
        """Say whether this is what to do about an alarm of a link."""
        return fnmatch.fnmatchcase(alarm, self.alarm) and self.on in (None, link)


class Responder:
    """Carry out what a scenario says about alarms.

    Args:
        stop: Called with the name of a link that is to make no more blocks, and whether routes shall avoid it.
    """

    def __init__(self, log: EventLog, responses: Sequence[ResponseSection], stop: Stop | None = None) -> None:
        self._log = log
        self._responses = tuple(responses)
        self._stop = stop
        self._stopped: set[str] = set()
        log.listen(self._hear)

    def stopped(self, link: str) -> bool:
        """Say whether a link was stopped."""
        return link in self._stopped

    def actions(self, alarm: str, link: str) -> set[Action]:
        """Return what is to be done about an alarm."""
        return {one.then for one in self._responses if one.covers(alarm, link)}

    def vet(self, link: str, alarms: Sequence[Alarm], statistics: BlockStatistics) -> None:
        """Refuse a finished block whose alarms ask for that, or whose link one has stopped meanwhile: it gives no key.

        Raises:
            BlockAborted: "alarm".
        """
        asked = [alarm for alarm in alarms if self.actions(alarm.monitor, link) & {"discard", *STOPPING}]
        if asked:
            names = ", ".join(alarm.monitor for alarm in asked)
            raise BlockAborted("alarm", f"{names}: {asked[0].message}", statistics=statistics)
        if self.stopped(link):
            message = "an alarm about an earlier block stopped the link while this one was under way"
            raise BlockAborted("alarm", message, statistics=statistics)

    def _hear(self, event: Event) -> None:
        kind, _, link = event.subject.partition(":")
        if event.kind == "link.started":
            self._stopped.discard(link)  # somebody has looked at it: the next alarm stops it again
        if event.kind != "alarm.raised" or kind != "link":
            return
        monitor = str(event.data.get("monitor", ""))
        for one in self._responses:
            if one.covers(monitor, link) and one.then == "page":
                self._log.add("person.paged", event.subject, whom=one.whom, monitor=monitor, alarm=event.number)
        stopping = self.actions(monitor, link) & set(STOPPING)
        if stopping and link not in self._stopped:
            self._stopped.add(link)
            self._log.add("link.stopped", event.subject, monitor=monitor, alarm=event.number, then=min(stopping))
            if self._stop is not None:
                self._stop(link, "re-route" in stopping)
