"""The client of ETSI GS QKD 014 for asyncio: requests run side by side, each on a connection of its own.

    async with AsyncEtsi014Client(url, certificate="sae.crt", key="sae.key", ca="kme-ca.crt") as client:
        container = await client.enc_keys("sae-b", number=2)

Stands alone, with `noclone.client`, whose clients do the work in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from noclone.client import TIMEOUT_S, Etsi014Client, KeyContainer, Status, Tls
from noclone.errors import InputError

T = TypeVar("T")


class AsyncEtsi014Client:
    """One application's door to its KME.

    Args:
        connections: How many requests run at a time; more wait. The other arguments are those of `Etsi014Client`.
    """

    def __init__(
        self,
        url: str,
        *,
        certificate: Path | str,
        key: Path | str,
        ca: Path | str,
        timeout_s: float = TIMEOUT_S,
        tls: Tls = "1.3",
        connections: int = 4,
    ) -> None:
        if connections < 1:
            raise InputError(f"a client needs a connection, not {connections}")
        self._clients = [
            Etsi014Client(url, certificate=certificate, key=key, ca=ca, timeout_s=timeout_s, tls=tls)
            for _ in range(connections)
        ]
        self._idle = list(self._clients)
        self._room = asyncio.Semaphore(connections)

    async def status(self, slave: str) -> Status:
        """Ask what keys can be had to share with `slave`."""
        return await self._run(lambda client: client.status(slave))

    async def enc_keys(
        self, slave: str, number: int = 1, size: int | None = None, additional: Sequence[str] = ()
    ) -> KeyContainer:
        """Get new keys, as their master; see `Etsi014Client.enc_keys`."""
        return await self._run(lambda client: client.enc_keys(slave, number, size, additional))

    async def dec_keys(self, master: str, key_ids: Sequence[str]) -> KeyContainer:
        """Get the keys whose ids a master has told us. Each can be had once."""
        return await self._run(lambda client: client.dec_keys(master, key_ids))

    async def close(self) -> None:
        """Hang up; the next request connects again."""
        for client in self._clients:
            await asyncio.to_thread(client.close)

    async def __aenter__(self) -> AsyncEtsi014Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, call: Callable[[Etsi014Client], T]) -> T:
        """Make one request in a thread. If the caller gives up, its connection stays busy until the answer has come."""
        await self._room.acquire()
        client = self._idle.pop()
        request = asyncio.ensure_future(asyncio.to_thread(call, client))

        def give_back(done: asyncio.Future[T]) -> None:
            self._idle.append(client)
            self._room.release()
            if not done.cancelled():
                done.exception()  # seen, even where nobody waits any more

        request.add_done_callback(give_back)
        return await asyncio.shield(request)
