"""Telling the network: each KME describes its links to its neighbours now and then, and hands on what is news.

In: our own links.  Out: `LinkStates` that everybody has. A neighbour answers with the numbers of what it has, so that
nothing is sent twice, and a neighbour that was away is told everything. What changes a route is handed on at once, in a
large network with what else comes within seconds; what only says that all is as it was goes one hop at each interval.
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
GATHER_PART = 1 / 8  # of the interval beyond a second: in a large network, news of all nodes goes on together
FEW = 32  # more than so many reports are offered only after asking which are lacked
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
        self._gather_s = max(WAKE_S, GATHER_PART * (interval_s - 1.0))
        self._news = {name: asyncio.Event() for name in self._neighbours}
        self._theirs: dict[str, dict[str, int]] = {name: {} for name in self._neighbours}  # what each has, of whom
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

    async def on_state(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Hear reports from a neighbour; answer with the numbers of what we have.

        Raises:
            NocloneError, ValueError: One is not what it should be. Those before it were heard.
        """
        reports = data.get("reports")
        if not isinstance(reports, list) or len(reports) > RECORDS_PER_CALL_MAX:
            raise ValueError("reports are a list, and not a long one")
        for entry in reports:
            match entry:
                case [str(origin), int(number), str(text)] if not isinstance(number, bool):
                    self._hear(peer, origin, number, text)
                case _:
                    raise ValueError("a report is told as its origin, its number, and its text")
        numbers = self._states.numbers()
        if reports:  # who asks with nothing wants all; others, whether we have what they told, and lost nothing
            told = {entry[0] for entry in reports}
            return {"numbers": {origin: n for origin, n in numbers.items() if origin in told}, "known": len(numbers)}
        return {"numbers": numbers, "known": len(numbers)}

    def _hear(self, peer: str, origin: str, number: int, text: str) -> None:
        """Hear one report; what we have had from others is not even read.

        Raises:
            NocloneError, ValueError: It is not what it should be.
        """
        if not self._states.has(origin, number):
            report, known = NodeReport.from_text(text), self._states.report(origin)
            if (report.origin, report.number) != (origin, number):
                raise ValueError("a report is another than was said")
            if self._states.hear(report, self._clock.now_s()) and report.is_news(known):
                self._wake()
        if peer in self._theirs and origin in self._states.neighbours:  # who tells it has it
            self._theirs[peer][origin] = max(number, self._theirs[peer].get(origin, 0))

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
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._news[name].wait()
            self._news[name].clear()
            await asyncio.sleep(self._gather_s)
            try:
                while len(fresh := self._states.newer_than(self._theirs[name])) == RECORDS_PER_CALL_MAX:
                    await self._hand_on(name, fresh)
                if fresh:  # what comes meanwhile goes on together, after the next pause
                    await self._hand_on(name, fresh)
            except (*UNHEARD, NocloneError):
                self._theirs[name] = {}

    async def _hand_on(self, name: str, fresh: list[NodeReport]) -> None:
        """Tell a neighbour what it lacks, as far as we know; of much, only what it says that it lacks.

        Raises:
            KmeError, OSError, EOFError, TimeoutError: It cannot be told, or nobody knows whether it heard.
        """
        calls = self._calls(name)
        if calls is None or not calls.connected:
            raise KmeError(f"the KME {name} cannot be called")
        if len(fresh) > FEW:
            self._theirs[name], _ = await _tell(calls, [])
            fresh = self._states.newer_than(self._theirs[name])
        if fresh:
            numbers, known = await _tell(calls, fresh)
            # what it would not have again it need not be offered again
            told = {report.origin: max(report.number, numbers.get(report.origin, 0)) for report in fresh}
            theirs = self._theirs[name] = {**self._theirs[name], **told}
            if known < len(theirs):  # it began anew, and lacks what it once had
                self._theirs[name], _ = await _tell(calls, [])


async def _tell(calls: PeerCalls, reports: list[NodeReport]) -> tuple[dict[str, int], int]:
    """Send reports; return the numbers of those that the neighbour has of these, and how many it has in all."""
    answer = await calls.ask(OPERATION, reports=[[one.origin, one.number, one.to_text()] for one in reports])
    known = answer.get("known")
    if not isinstance(known, int):
        raise KmeError("the other KME does not say how many reports it has")
    return _numbers(answer.get("numbers")), known


def _numbers(data: Any) -> dict[str, int]:
    if not isinstance(data, dict) or len(data) > NUMBERS_MAX:
        raise KmeError("the other KME answered with what are no numbers")
    if any(not isinstance(number, int) or isinstance(number, bool) for number in data.values()):
        raise KmeError("the other KME answered with what are no numbers")
    return data
