"""A KME between two others: it opens a share, seals it anew for the next one, and forgets it.

In: `ShareMessage`s of neighbours.  Out: the same share, sealed for the next KME; or word to the initiator that it was
lost. Nothing is kept: what a crash takes away, the initiator draws anew. The same message twice is answered alike and
done once; another message for a share that came, or a pad that was spent, is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from noclone.crypto.one_time_pad import erase
from noclone.errors import KmeError, NocloneError
from noclone.kms import failpoints, relay_shares
from noclone.kms.relay_calls import UNHEARD, Calls, ShareLost
from noclone.kms.relay_messages import ShareMessage, internal
from noclone.relayed import RelayHop

SEEN_MAX = 4096
OPEN_SHARES_MAX = 256  # of all neighbours together: a megabyte each at most
Arrived = Callable[[ShareMessage, bytearray], None]
Expects = Callable[[ShareMessage], None]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A share that came here."""

    digest: bytes
    outcome: asyncio.Future[None]
    peer: str
    until_s: float


class Hops:
    """Shares that come to a KME.

    Args:
        calls: The KME and its neighbours.
        expects: Refuses, by an error, a share for us that belongs to no relay that we agreed to.
        arrived: Takes a share whose path ends here.
    """

    def __init__(self, calls: Calls, expects: Expects, arrived: Arrived) -> None:
        self._calls = calls
        self._expects = expects
        self._arrived = arrived
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def on_share(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Take a share in from a neighbour; it is ours to care for once this has returned.

        Raises:
            NocloneError, ValueError: It is refused.
        """
        message = ShareMessage.from_json(data.get("message"))
        place, digest = (message.header.transfer, message.share), message.digest()
        known = self._seen.get(place)
        if known is not None and (known.digest, known.peer) != (digest, peer):
            raise KmeError("this share came before, in another message")
        if known is None:
            self._make_room(peer)
            outcome = asyncio.get_running_loop().create_future()
            until_s = self._calls.kme.store.clock.now_s() + 2 * self._calls.settings.timeout_s
            known = self._seen[place] = _Seen(digest, outcome, peer, until_s)
            self._start(self._take_in(peer, message, outcome), outcome)
        await asyncio.shield(known.outcome)
        return {}

    async def close(self) -> None:
        """Drop what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _make_room(self, peer: str) -> None:
        now_s = self._calls.kme.store.clock.now_s()
        for place in [place for place, seen in self._seen.items() if seen.until_s <= now_s and seen.outcome.done()]:
            del self._seen[place]
        theirs = sum(1 for seen in self._seen.values() if seen.peer == peer and not seen.outcome.done())
        full = len(self._seen) >= SEEN_MAX or len(self._tasks) >= OPEN_SHARES_MAX
        if full or theirs >= self._calls.settings.open_max:
            raise KmeError("too many relays are under way here")

    async def _take_in(self, peer: str, message: ShareMessage, outcome: asyncio.Future[None]) -> None:
        """Open a share, answer for it, and send it on."""
        try:
            value = await self._open(peer, message)
        except Exception as error:
            refusal = error if isinstance(error, NocloneError) else KmeError("this share could not be taken in")
            outcome.set_exception(refusal)
            outcome.exception()  # it may be that nobody waits any more
            self._say("relay.refused", message, peer=peer, reason=refusal.message)
            return
        failpoints.reach("a share is open")
        outcome.set_result(None)
        if message.receiver == message.header.target:
            self._arrived(message, value)
            return
        try:
            await self._calls.send_share(message.header, message.share, message.hops, value)
        except ShareLost as lost:
            await self._report(message, lost)
        finally:
            erase(value)

    async def _open(self, peer: str, message: ShareMessage) -> bytearray:
        calls = self._calls
        if message.receiver == message.header.target:
            self._expects(message)
        await asyncio.to_thread(calls.check_message, peer, message)
        ours, theirs = internal(calls.name), internal(peer)
        (pad,) = await calls.kme.store.collect(ours, theirs, [message.key_id])
        return await asyncio.to_thread(relay_shares.unseal, message, pad)

    async def _report(self, message: ShareMessage, lost: ShareLost) -> None:
        """Tell the initiator how far a share came."""
        self._say("relay.lost", message, hop="-".join(lost.hop), reason=lost.reason)
        with contextlib.suppress(*UNHEARD, NocloneError):
            await self._calls.ask(message.header.initiator, "relay-lost", **lost_to_json(message, lost))

    def _say(self, kind: str, message: ShareMessage, **more: Any) -> None:
        header = message.header
        self._calls.kme.events.add(kind, f"relay:{header.link}", at=self._calls.name, block=header.block, **more)

    def _start(self, work: Coroutine[Any, Any, None], outcome: asyncio.Future[None]) -> None:
        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not outcome.done():  # we are closing: whoever waits shall not wait for ever
                outcome.set_exception(KmeError("this KME is closing"))
                outcome.exception()

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(over)


def lost_to_json(message: ShareMessage, lost: ShareLost) -> dict[str, Any]:
    """Return the words in which a lost share is reported."""
    hops: tuple[RelayHop, ...] = lost.hops
    return {
        "transfer": message.header.transfer,
        "share": message.share,
        "hops": [hop.to_json() for hop in hops],
        "hop": list(lost.hop),
        "reason": lost.reason,
    }
