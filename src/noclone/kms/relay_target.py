"""The end that a block is relayed to: it agrees to a relay, joins the shares, and confirms the block to the initiator.

In: offers of initiators, shares that arrived.  Out: a block in the store, that the initiator holds as well. The order:
the shares are joined; the initiator compares, and its block is durable; ours is durable; both learn that of the other,
and only then is the block's key given to anybody.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from noclone.crypto.one_time_pad import erase
from noclone.errors import KmeError, NocloneError
from noclone.kms import failpoints, relay_shares
from noclone.kms.relay_calls import UNHEARD, Calls
from noclone.kms.relay_messages import HOPS_MAX, Header, ShareMessage, hop_from_json
from noclone.kms.relay_store import find_block
from noclone.relayed import RelayHop, RelayProvenance


@dataclass(slots=True)
class _Incoming:
    """A relay that we agreed to."""

    header: Header
    until_s: float
    shares: dict[int, bytearray] = field(default_factory=dict, repr=False)
    hops: dict[int, tuple[RelayHop, ...]] = field(default_factory=dict, repr=False)
    finishing: asyncio.Task[None] | None = None

    def erase(self) -> None:
        for share in self.shares.values():
            erase(share)


class Target:
    """Relays to this KME."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._open: dict[str, _Incoming] = {}

    async def on_offer(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Agree to a relay, or refuse it before anything is spent on it.

        Raises:
            NocloneError, ValueError: It is refused.
        """
        header, calls = Header.from_json(data.get("header")), self._calls
        if (header.initiator, header.target) != (peer, calls.name):
            raise KmeError("this relay is not from you to us")
        self._forget_old()
        known = self._open.get(header.transfer)
        if known is not None:
            if known.header != header:
                raise KmeError("this relay was offered before, in other words")
            return {}
        theirs = [one.header for one in self._open.values() if one.header.initiator == peer] + [header]
        n_bytes = sum(one.n_bytes * len(one.paths) for one in theirs)
        if len(theirs) > calls.settings.open_max or n_bytes > calls.settings.open_bytes_max:
            raise KmeError("too many relays from you are under way here")
        if await find_block(calls.kme.store, header.link, header.block) is not None:
            raise KmeError("this block was here before")
        if not await asyncio.to_thread(calls.kme.store.wants_key, peer, header.profile):
            raise KmeError("the pool is full")
        now_s = calls.kme.store.clock.now_s()
        self._open[header.transfer] = _Incoming(header, now_s + 2 * calls.settings.timeout_s)
        return {}

    async def on_drop(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Hear that an initiator gave a relay up."""
        known = self._open.get(str(data.get("transfer")))
        if known is not None and known.header.initiator == peer and known.finishing is None:
            self._forget(known)
        return {}

    def expects(self, message: ShareMessage) -> None:
        """Refuse a share that we did not agree to, or that came.

        Raises:
            KmeError: It is refused.
        """
        known = self._open.get(message.header.transfer)
        if known is None or known.header != message.header or message.share in known.shares:
            raise KmeError("this share belongs to no relay that we agreed to")

    def arrived(self, message: ShareMessage, value: bytearray) -> None:
        """Take in a share; finish the relay once there are enough."""
        known = self._open.get(message.header.transfer)
        if known is None or message.share in known.shares:
            erase(value)
            return
        known.shares[message.share], known.hops[message.share] = value, message.hops
        missing = len(known.header.paths) - len(known.shares)
        if known.finishing is None and len(known.shares) >= known.header.threshold:
            grace_s = self._calls.settings.grace_s if missing else 0.0
            known.finishing = asyncio.create_task(self._finish(known, grace_s))

    async def close(self) -> None:
        """Drop what is under way."""
        tasks = [one.finishing for one in self._open.values() if one.finishing is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for known in tuple(self._open.values()):
            self._forget(known)

    async def _finish(self, known: _Incoming, grace_s: float) -> None:
        header, events = known.header, self._calls.kme.events
        try:
            for _ in range(10):
                if len(known.shares) < len(header.paths) and grace_s:
                    await asyncio.sleep(grace_s / 10)
            provenance = await self._join_and_confirm(known)
        except (*UNHEARD, NocloneError, ValueError) as error:
            text = error.message if isinstance(error, NocloneError) else type(error).__name__
            events.add("relay.failed", f"relay:{header.link}", at=self._calls.name, block=header.block, reason=text)
        else:
            events.add(
                "relay.received",
                f"relay:{header.link}",
                at=self._calls.name,
                block=header.block,
                profile=provenance.profile,
                bits=8 * header.n_bytes,
                nodes=list(provenance.nodes),
            )
        finally:
            self._forget(known)

    async def _join_and_confirm(self, known: _Incoming) -> RelayProvenance:
        header, calls = known.header, self._calls
        hops = dict(known.hops)
        block = await asyncio.to_thread(relay_shares.join_shares, header, dict(known.shares))
        try:
            tag = await asyncio.to_thread(relay_shares.confirmation, block)
            words = {str(share): [hop.to_json() for hop in way] for share, way in hops.items()}
            place = {"transfer": header.transfer, "link": header.link, "block": header.block}
            answer = await calls.ask(header.initiator, "relay-done", **place, tag=tag.hex(), shares=words)
            failpoints.reach("the initiator confirmed")
            provenance = self._provenance(header, hops, answer)
            secret = relay_shares.secret_of(block, provenance)
            await calls.kme.deposit(secret, header.initiator)
            return provenance
        finally:
            erase(block)

    def _provenance(
        self, header: Header, hops: dict[int, tuple[RelayHop, ...]], answer: dict[str, Any]
    ) -> RelayProvenance:
        """Put the block's record together from the shares that came and what the initiator knows of the others."""
        lost = lost_from_json(header, answer.get("lost"))
        if set(lost) | set(hops) != set(range(len(header.paths))) or set(lost) & set(hops):
            raise KmeError("the initiator does not account for every share")
        for share, way in lost.items():
            self._calls.notary.check_hops(header, share, way)
        ways = {**hops, **lost}
        return header.provenance(tuple(ways[share] for share in range(len(header.paths))))

    def _forget_old(self) -> None:
        now_s = self._calls.kme.store.clock.now_s()
        for known in tuple(self._open.values()):
            if known.until_s <= now_s and known.finishing is None:
                self._forget(known)

    def _forget(self, known: _Incoming) -> None:
        known.erase()
        self._open.pop(known.header.transfer, None)


def lost_from_json(header: Header, data: Any) -> dict[int, tuple[RelayHop, ...]]:
    """Check and rebuild what an initiator says of lost shares: each a beginning of its path.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(data, dict) or len(data) > len(header.paths) - header.threshold:
        raise ValueError("lost shares are told by their number, and are not more than can be spared")
    return {int(share): way_from_json(header, share, hops) for share, hops in data.items()}


def way_from_json(header: Header, share: Any, data: Any) -> tuple[RelayHop, ...]:
    """Check and rebuild the hops of one share, or of the beginning of its path.

    Raises:
        ValueError: They are no beginning of it.
    """
    if not (isinstance(share, str) and share.isdecimal() and len(share) < 4 and int(share) < len(header.paths)):
        raise ValueError("there is no such share")
    if not isinstance(data, list) or len(data) > HOPS_MAX:
        raise ValueError("the hops of a share are a list")
    hops, path = tuple(map(hop_from_json, data)), header.paths[int(share)]
    if [(hop.sender, hop.receiver) for hop in hops] != list(pairwise(path))[: len(hops)]:
        raise ValueError("the hops of a share are no beginning of its path")
    return hops
