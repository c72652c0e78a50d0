"""Relaying a block of key to a KME that no fibre joins us with: hop by hop, in shares over paths of neighbours.

In: paths, how many shares give the block, its size.  Out: a block of a virtual link, durable at both ends, that the
store then treats like any other: atoms, promises, deliveries. Three parts of a KME take part: the initiator (this
module), those between (`relay_hops`), the target (`relay_target`). Messages, all within `peer`'s conversation:

    relay-offer {header}                              initiator -> target    agree, before anything is spent
    relay-share {message}                             neighbour -> neighbour a share under a one-time pad and tag
    relay-lost  {transfer, share, hops, hop, reason}  between -> initiator   a share came no further
    relay-done  {transfer, link, block, tag, shares}  target -> initiator    -> {lost}: the block is durable here
    relay-drop  {transfer}                            initiator -> target    forget it

A relay that fails leaves nothing: the next one draws another block. See docs/relay.md for what each crash does.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from noclone.crypto.one_time_pad import erase
from noclone.errors import KmeError, NocloneError
from noclone.kms import failpoints, relay_shares
from noclone.kms.kme import Kme
from noclone.kms.relay_calls import UNHEARD, Calls, Reach, RelayFailed, RelaySettings, ShareLost
from noclone.kms.relay_hops import Hops
from noclone.kms.relay_messages import CONFIRMATION_BYTES, Header, is_name, virtual_link
from noclone.kms.relay_statements import Notary
from noclone.kms.relay_store import discard_held, find_block
from noclone.kms.relay_target import Target, way_from_json
from noclone.relayed import RelayHop, RelayProvenance

ACCOUNT_PART = 0.8  # of a relay's time: so long the initiator waits for word of a share that is neither here nor lost


@dataclass(slots=True)
class _Outgoing:
    """A relay that we began."""

    header: Header
    block: bytearray = field(repr=False)
    done: asyncio.Future[RelayProvenance]
    account_until_s: float
    sent: dict[int, RelayHop] = field(default_factory=dict)
    lost: dict[int, tuple[RelayHop, ...]] = field(default_factory=dict)
    last_loss: ShareLost | None = None
    answer: asyncio.Task[dict[str, Any]] | None = None

    def lose(self, share: int, loss: ShareLost) -> None:
        """Note how far a share came; if too few are left, the relay has failed."""
        self.lost.setdefault(share, loss.hops)
        self.last_loss = loss
        if len(self.lost) > len(self.header.paths) - self.header.threshold:
            self.fail(RelayFailed(loss.message, loss.reason, loss.hop))

    def fail(self, error: RelayFailed) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # it may be that nobody waits any more


class Relay:
    """Everything that a KME does to relay key.

    Args:
        kme: Ours. Its handlers are registered here.
        notary: Signs for it.
        reach: Returns how to call another KME, neighbour or not; None if it is out of reach.
    """

    def __init__(self, kme: Kme, notary: Notary, reach: Reach, settings: RelaySettings | None = None) -> None:
        self.settings = settings or RelaySettings()
        self._calls = Calls(kme, notary, reach, self.settings)
        self._target = Target(self._calls)
        self._hops = Hops(self._calls, self._target.expects, self._target.arrived)
        self._open: dict[str, _Outgoing] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        kme.handlers.update(
            {
                "relay-offer": self._target.on_offer,
                "relay-drop": self._target.on_drop,
                "relay-share": self._hops.on_share,
                "relay-lost": self._on_lost,
                "relay-done": self._on_done,
            }
        )

    async def relay(
        self, paths: Sequence[Sequence[str]], threshold: int, n_bytes: int, unsent: Sequence[int] = ()
    ) -> RelayProvenance:
        """Relay one block; it is durable at both ends, and usable as soon as both know that.

        Args:
            paths: For each share the KMEs from us to the target.
            threshold: How many shares give the block: all, for XOR.
            n_bytes: Size of the block that is kept.
            unsent: Shares that are not even sent, because their path is known to be broken; the others must be enough.

        Raises:
            RelayFailed: Nothing of it will be used.
            ValueError: The paths cannot be.
        """
        store, loop = self._calls.kme.store, asyncio.get_running_loop()
        ways = tuple(map(tuple, paths))
        link, number = virtual_link(ways[0][0], ways[0][-1]), self._next_number(ways[0][-1])
        size = n_bytes + CONFIRMATION_BYTES
        header = Header(str(uuid.uuid4()), link, number, threshold, ways, size, store.clock.now_s())
        block, shares = await asyncio.to_thread(relay_shares.draw, header)
        transfer = self._open[header.transfer] = _Outgoing(
            header, block, loop.create_future(), loop.time() + ACCOUNT_PART * self.settings.timeout_s
        )
        sending: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                await self._calls.ask(header.target, "relay-offer", header=header.to_json())
                for i in unsent:
                    transfer.lose(i, ShareLost("its path is broken", (), (ways[i][0], ways[i][1]), "unsent"))
                sending += [
                    asyncio.create_task(self._send(transfer, i, share))
                    for i, share in enumerate(shares)
                    if i not in unsent
                ]
                return await asyncio.shield(transfer.done)
        except TimeoutError:
            raise self._failure(transfer, "nobody knows where it is", "timeout") from None
        except RelayFailed:
            raise
        except UNHEARD as error:
            raise self._failure(transfer, str(error), "target-refused") from None
        finally:
            for task in sending:
                task.cancel()
            for secret in (*shares, block):
                erase(secret)
            del self._open[header.transfer]
            if not transfer.done.done() or transfer.done.exception() is not None:
                transfer.fail(RelayFailed("it is over", "over"))
                self._drop(header)

    async def sweep(self) -> int:
        """Erase relayed blocks that the other end never came to hold; return how many."""
        store = self._calls.kme.store
        return await discard_held(store, store.clock.now_s() - self.settings.orphan_s)

    async def close(self) -> None:
        """Drop what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._hops.close()
        await self._target.close()

    # Inside

    def _next_number(self, target: str) -> int:
        """Return a number that no block of ours had: from the clock, rising, even at the end whose name sorts first."""
        now = int(1000 * self._calls.kme.store.clock.now_s())
        self._number = max(now, self._number + 1)
        return 2 * self._number + (self._calls.name > target)

    async def _send(self, transfer: _Outgoing, share: int, value: bytearray) -> None:
        try:
            hops = await self._calls.send_share(transfer.header, share, (), value)
            transfer.sent[share] = hops[0]
        except ShareLost as loss:
            transfer.lose(share, loss)

    def _failure(self, transfer: _Outgoing, message: str, reason: str) -> RelayFailed:
        loss = transfer.last_loss
        if loss is not None:
            return RelayFailed(loss.message, loss.reason, loss.hop)
        return RelayFailed(message, reason)

    def _drop(self, header: Header) -> None:
        async def drop() -> None:
            with contextlib.suppress(*UNHEARD, NocloneError):
                await self._calls.ask(header.target, "relay-drop", transfer=header.transfer)

        self._start(drop())

    def _start(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # For other KMEs

    async def _on_lost(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Hear how far a share came, from a KME on its path."""
        match data:
            case {"transfer": str(name), "share": int(share), "hops": hops, "hop": [a, b], "reason": str(reason)}:
                transfer = self._open.get(name)
                if transfer is None:
                    return {}
                way = way_from_json(transfer.header, str(share), hops)
                path = transfer.header.paths[share]
                here = is_name(a) and is_name(b) and (a, b) in set(pairwise(path)) and a == peer
                if not here or len(way) not in (path.index(peer), path.index(peer) + 1):
                    raise KmeError("that is not how far you can say that a share came")
                await asyncio.to_thread(self._calls.notary.check_hops, transfer.header, share, way)
                said = reason if reason.isprintable() else "failed"
                transfer.lose(share, ShareLost(f"{a} could not hand a share to {b}", way, (a, b), said[:40]))
                return {}
        raise ValueError("a lost share is told by transfer, share, hops, hop and reason")

    async def _on_done(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Compare a block with its target; answer when it is durable here. The same question twice has one answer."""
        match data:
            case {"transfer": str(name), "link": str(link), "block": int(number), "tag": str(tag), "shares": dict()}:
                transfer = self._open.get(name)
                if transfer is None or transfer.header.target != peer:
                    return await self._answer_again(peer, name, link, number)
                if transfer.answer is None:
                    work = self._conclude(transfer, bytes.fromhex(tag), data["shares"])
                    transfer.answer = self._start(work)
                return await asyncio.shield(transfer.answer)
        raise ValueError("a relay's end is told by transfer, link, block, tag and shares")

    async def _answer_again(self, peer: str, name: str, link: str, number: int) -> dict[str, Any]:
        """Answer for a relay whose end was told before, perhaps before a crash: the store knows."""
        known = None
        if 0 <= number < 1 << 62:
            known = await find_block(self._calls.kme.store, link, number)
        if not isinstance(known, RelayProvenance) or (known.transfer, known.target) != (name, peer):
            raise KmeError("this relay is not under way")
        return {"lost": _lost_of(known)}

    async def _conclude(self, transfer: _Outgoing, tag: bytes, words: dict[str, Any]) -> dict[str, Any]:
        header, store = transfer.header, self._calls.kme.store
        try:
            hops = {int(share): way_from_json(header, share, way) for share, way in words.items()}
            await self._account(transfer, hops)
            ways = {**transfer.lost, **hops}
            provenance = header.provenance(tuple(ways[share] for share in range(len(header.paths))))
            if not await asyncio.to_thread(relay_shares.confirms, transfer.block, tag):
                raise RelayFailed("the two ends hold different blocks: somebody changed a share", "mismatch")
            secret = relay_shares.secret_of(transfer.block, provenance)
            failpoints.reach("a relay is confirmed")
            stored = await asyncio.to_thread(store.deposit, secret, header.target)
            if not await stored:
                raise RelayFailed("a block of this number was here before", "number-taken")
        except RelayFailed as error:
            transfer.fail(error)
            raise
        except (NocloneError, ValueError) as error:
            text = error.message if isinstance(error, NocloneError) else str(error)
            transfer.fail(RelayFailed(text, "unaccounted"))
            raise KmeError(text) from None
        self._calls.kme.events.add(
            "relay.made",
            f"relay:{header.link}",
            at=self._calls.name,
            block=header.block,
            profile=provenance.profile,
            bits=8 * header.n_bytes,
            nodes=list(provenance.nodes),
        )
        if not transfer.done.done():
            transfer.done.set_result(provenance)
        return {"lost": _lost_of(provenance)}

    async def _account(self, transfer: _Outgoing, hops: dict[int, tuple[RelayHop, ...]]) -> None:
        """Check that every share either arrived, signed all the way and by us first, or is known to be lost.

        Raises:
            KmeError: One is not accounted for.
        """
        header = transfer.header
        missing = set(range(len(header.paths))) - set(hops)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(transfer.account_until_s):
                while not missing <= set(transfer.lost) or not set(hops) <= set(transfer.sent):
                    await asyncio.sleep(0.02)
        for share in sorted(missing - set(transfer.lost)):  # whoever has it, or had it, is beyond who handed it over
            path = header.paths[share]
            failed = (path[1], path[2]) if share in transfer.sent and len(path) > 2 else (path[0], path[1])
            raise RelayFailed("a share is neither here nor known to be lost", "unaccounted", failed)
        if len(hops) < header.threshold:
            raise KmeError("too few shares are here")
        for share, way in hops.items():
            if len(way) != len(header.paths[share]) - 1 or way[0] != transfer.sent.get(share):
                raise KmeError("a share did not come by the path that it was sent on")
            await asyncio.to_thread(self._calls.notary.check_hops, header, share, way)


def _lost_of(provenance: RelayProvenance) -> dict[str, Any]:
    """Return what is known of those shares of a block that did not arrive."""
    return {
        str(share): [hop.to_json() for hop in hops]
        for share, hops in enumerate(provenance.shares)
        if not hops or hops[-1].receiver != provenance.target
    }
