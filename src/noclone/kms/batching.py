"""Batching: what many wait for goes in one message, so that they share a round trip and a sync of the disk.

No timer and no lock: while one batch is under way, the next one gathers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Gather items and send them together.

    Args:
        send: Sends a batch and returns the answer to it, which every caller gets.
        size_max: Largest batch.
        size: How much an item counts.
    """

    def __init__(
        self, send: Callable[[Sequence[Item]], Awaitable[Answer]], size_max: int, size: Callable[[Item], int]
    ) -> None:
        self._send = send
        self._size_max = size_max
        self._size = size
        self._waiting: list[tuple[Sequence[Item], asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def call(self, items: Sequence[Item]) -> Answer:
        """Send some items, with those of others; return the answer to the batch that they went in."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            batch: list[tuple[Sequence[Item], asyncio.Future[Answer]]] = []
            room = self._size_max
            while self._waiting:
                room -= sum(map(self._size, self._waiting[0][0]))
                if batch and room < 0:
                    break
                batch.append(self._waiting.pop(0))
            try:
                answer = await self._send([item for items, _ in batch for item in items])
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error if isinstance(error, Exception) else ConnectionAbortedError())
                        future.exception()
                if not isinstance(error, Exception):
                    raise
            else:
                for _, future in batch:
                    if not future.done():
                        future.set_result(answer)
