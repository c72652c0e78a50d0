"""Telling the network: each KME describes its links to its neighbours now and then, and hands on what is news.

In: our own links.  Out: `LinkStates` that everybody has. A neighbour answers with the numbers of what it has, so that
nothing is sent twice, and a neighbour that was away is told everything. What changes a route is handed on at once; what
only says that all is as it was goes one hop at each interval.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from noclone.clock import Clock
from noclone.errors import KmeError, NocloneError
from noclone.kms.calls import PeerCalls
from noclone.kms.relay_calls import UNHEARD
from noclone.network.link_state import RECORDS_PER_CALL_MAX, LinkReport, LinkStates, NodeReport

OPERATION = "network-state"
WAKE_S = 0.05  # news gathers for so long before it is handed on
FEW = 8  # more than so many reports are offered only after asking which are lacked
NUMBERS_MAX = 4096

Describe = Callable[[], Awaitable[list[LinkReport]]]


class Spreader:
    """Keeps one KME's `LinkStates` true, and its neighbours' as well.

    Args:
        states: What we know.
        neighbours: Whom to tell.
        calls: How to call each, once somebody can.
        describe: Returns the state of our own links.
        interval_s: How often ours are described, changed or not.
    """

    def __init__(
        self,
        states: LinkStates,
        neighbours: Iterable[str],
        calls: Callable[[str], PeerCalls | None],
        describe: Describe,
        clock: Clock,
        interval_s: float,
    ) -> None:
        self._states = states
        self._neighbours = tuple(neighbours)
        self._calls = calls
        self._describe = describe
        self._clock = clock
        self._interval_s = interval_s
        self._news = {name: asyncio.Event() for name in self._neighbours}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to tell, until `stop`."""
        self._tasks = [asyncio.create_task(self._describe_ours())]
        self._tasks += [asyncio.create_task(self._tell(name)) for name in self._neighbours]

    async def stop(self) -> None:
        """Fall silent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def on_state(self, _peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Hear reports from a neighbour; answer with the numbers of what we have.

        Raises:
            NocloneError, ValueError: One is not what it should be. Those before it were heard.
        """
        reports = data.get("reports")
        if not isinstance(reports, list) or len(reports) > RECORDS_PER_CALL_MAX:
            raise ValueError("reports are a list, and not a long one")
        for entry in reports:
            if isinstance(entry, dict) and self._states.has(entry.get("origin"), entry.get("number")):
                continue  # before more is done with it: most come from several neighbours
            report = NodeReport.from_json(entry)
            known = self._states.report(report.origin)
            if self._states.hear(report, self._clock.now_s()) and report.is_news(known):
                self._wake()
        return {"numbers": self._states.numbers()}

    def _wake(self) -> None:
        for news in self._news.values():
            news.set()

    async def _describe_ours(self) -> None:
        while True:
            with contextlib.suppress(NocloneError):
                known = self._states.report(self._states.name)
                if self._states.describe(await self._describe(), self._clock.now_s()).is_news(known):
                    self._wake()
            await asyncio.sleep(self._interval_s)

    async def _tell(self, name: str) -> None:
        """Hand on to one neighbour what it lacks, for ever."""
        theirs: dict[str, int] = {}
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._news[name].wait()
            self._news[name].clear()
            await asyncio.sleep(WAKE_S)
            while fresh := self._states.newer_than(theirs):
                calls = self._calls(name)
                if calls is None or not calls.connected:
                    theirs = {}
                    break
                try:
                    if len(fresh) > FEW:
                        theirs = _numbers((await calls.ask(OPERATION, reports=[])).get("numbers"))
                        fresh = self._states.newer_than(theirs)
                    answer = await calls.ask(OPERATION, reports=[report.to_json() for report in fresh])
                    theirs = _numbers(answer.get("numbers"))
                    # what it would not have again it need not be offered again
                    theirs.update({report.origin: max(report.number, theirs.get(report.origin, 0)) for report in fresh})
                except (*UNHEARD, NocloneError):
                    theirs = {}
                    break


def _numbers(data: Any) -> dict[str, int]:
    if not isinstance(data, dict) or len(data) > NUMBERS_MAX:
        raise KmeError("the other KME answered with what are no numbers")
    if any(not isinstance(number, int) or isinstance(number, bool) for number in data.values()):
        raise KmeError("the other KME answered with what are no numbers")
    return data
