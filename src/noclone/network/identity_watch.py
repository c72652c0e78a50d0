"""Rotation without downtime: a node that sees its certificates or revocation lists change, and goes on with the new.

In: the folder that holds them.  Out: the KME's doors, calls and signatures renewed. Nothing is closed but connections
of those who were revoked; files that do not fit are left alone, said once, and tried again when they change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from noclone.errors import NocloneError
from noclone.events import EventLog
from noclone.network.identities import KmeIdentity

INTERVAL_S = 2.0
SUFFIXES = (".crt", ".key", ".crl", ".json", ".sig", ".pub")
State = tuple[tuple[str, int, int], ...]


class IdentityWatch:
    """Watches one node's folder.

    Args:
        load: Reads the identity anew, and checks it.
        renew: Has the KME go on with it.
        log: Where to say that it could not.
    """

    def __init__(
        self,
        identity: KmeIdentity,
        load: Callable[[], KmeIdentity],
        renew: Callable[[KmeIdentity], None],
        log: EventLog,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._folder = identity.certificate.parent
        self._name = identity.name
        self._load = load
        self._renew = renew
        self._log = log
        self._interval_s = interval_s
        self._taken = self._state()

    async def run(self) -> None:
        """Watch, for ever."""
        before = self._taken
        while True:
            await asyncio.sleep(self._interval_s)
            now = await asyncio.to_thread(self._state)
            if now != self._taken and now == before:  # nobody is writing there any more
                self._taken = now
                await self._take()
            before = now

    async def _take(self) -> None:
        try:
            self._renew(await asyncio.to_thread(self._load))
        except NocloneError as error:
            self._log.add("identity.refused", f"kme:{self._name}", reason=error.message)

    def _state(self) -> State:
        try:
            watched = [path for path in sorted(self._folder.iterdir()) if path.suffix in SUFFIXES]
            stats = [path.stat() for path in watched]
        except OSError:
            return ()  # a file went away while we looked: look again
        return tuple((path.name, about.st_mtime_ns, about.st_size) for path, about in zip(watched, stats, strict=True))
