"""Answers reach whoever waits for them, in a thread or an event loop, however closely giving and waiting meet."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Iterator

import pytest

from noclone.kms.answers import Answer, give


@pytest.fixture
def giver() -> Iterator[queue.SimpleQueue[Answer[int] | None]]:
    """A thread that gives each answer that it is handed, at once: its number in the queue."""
    waiting: queue.SimpleQueue[Answer[int] | None] = queue.SimpleQueue()

    def work() -> None:
        number = 0
        while (answer := waiting.get()) is not None:
            give([(answer, number, None)])
            number += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads meet everywhere
    thread = threading.Thread(target=work)
    thread.start()
    yield waiting
    waiting.put(None)
    thread.join()
    sys.setswitchinterval(interval)


def test_a_thread_that_waits_is_always_woken(giver: queue.SimpleQueue[Answer[int] | None]) -> None:
    for number in range(20_000):
        answer: Answer[int] = Answer()
        giver.put(answer)
        assert answer.result(30.0) == number


def test_an_event_loop_that_waits_is_always_woken(giver: queue.SimpleQueue[Answer[int] | None]) -> None:
    async def ask(number: int) -> None:
        answer: Answer[int] = Answer()
        giver.put(answer)
        assert await answer == number

    async def story() -> None:
        async with asyncio.timeout(240):
            for number in range(10_000):
                await ask(number)

    asyncio.run(story())


def test_all_who_wait_for_the_same_answer_get_it() -> None:
    for _ in range(200):
        answer: Answer[int] = Answer()
        got: list[int] = []
        threads = [threading.Thread(target=lambda a=answer, g=got: g.append(a.result(30.0))) for _ in range(4)]
        for thread in threads:
            thread.start()
        give([(answer, 7, None)])
        for thread in threads:
            thread.join()
        assert got == [7] * 4


def test_errors_are_raised_where_one_waits_and_patience_ends() -> None:
    async def story() -> None:
        late: Answer[int] = Answer()
        task = asyncio.ensure_future(late)
        await asyncio.sleep(0)
        give([(late, None, ValueError("no"))])
        with pytest.raises(ValueError, match="no"):
            await task
        with pytest.raises(ValueError, match="no"):
            late.result()
        gone: Answer[int] = Answer()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gone, 0.01)
        give([(gone, 1, None)])  # nobody waits any more
        await asyncio.sleep(0)
        assert await gone == 1

    asyncio.run(story())
    with pytest.raises(TimeoutError):
        Answer[int]().result(0.01)
