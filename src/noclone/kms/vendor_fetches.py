"""The end that fetches a vendor's keys by the ids that alice names; see `vendor_draws` for the whole.

In: offers of alice's.  Out: blocks in our store that she holds as well, or a refusal.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from noclone.client import Key, Refusal, Status
from noclone.crypto.one_time_pad import erase
from noclone.errors import KmeError, NocloneError
from noclone.kms import failpoints
from noclone.kms.kme import Kme
from noclone.kms.relay_store import find_block
from noclone.kms.vendor_draws import Deposited, DrawFailed, VendorDoor, keep, origin_of, say_drawn
from noclone.kms.vendor_messages import KEYS_MAX, Offer, VendorLink, confirmation, record_of
from noclone.kms.vendor_store import claim_ids, last_block

ANSWER_WITHIN_S = 3.0  # bob says so much sooner than a call ends that he is still at it
BUSY_TRIES = 3
BUSY_PAUSE_S = 1.0

T = TypeVar("T")


class BobDraws:
    """The end that fetches a vendor's keys by the ids that alice names."""

    def __init__(self, kme: Kme, link: VendorLink, door: VendorDoor, deposited: Deposited) -> None:
        self.link = link
        self._kme = kme
        self._door = door
        self._deposited = deposited
        self._offer: Offer | None = None
        self._task: asyncio.Task[None] | None = None

    async def on_next(self) -> dict[str, Any]:
        """Say which block comes next, and whether there is room for it."""
        last = await last_block(self._kme.store, self.link.name)
        room = await asyncio.to_thread(self._kme.store.wants_key, self.link.alice)
        return {"next": 0 if last is None else last.block + 1, "room": room}

    async def on_draw(self, offer: Offer) -> dict[str, Any]:
        """Fetch what alice offers; say that we hold it, or that we are still at it. The same offer is done once.

        Raises:
            NocloneError: It will never be held.
        """
        record = offer.record
        known = await find_block(self._kme.store, record.link, record.block)
        if known is not None:
            if known != record:
                raise KmeError("another block of this number was here before")
            return {"held": True}
        if offer != self._offer:
            if self._task is not None and not self._task.done():
                raise KmeError("another draw on this link is under way")
            self._offer, self._task = offer, asyncio.create_task(self._fetch(offer))
            self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # alice may be gone
        assert self._task is not None
        done, _ = await asyncio.wait([self._task], timeout=ANSWER_WITHIN_S)
        if not done:
            return {"wait": True}
        self._task.result()
        return {"held": True}

    async def close(self) -> None:
        """Drop what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _fetch(self, offer: Offer) -> None:
        try:
            await self._draw(offer)
        except NocloneError as error:
            reason = error.reason if isinstance(error, DrawFailed) else "failed"
            subject, keys = f"link:{self.link.name}", len(offer.key_ids)
            self._kme.events.add("vendor.lost", subject, end="bob", reason=reason, keys=keys, message=error.message)
            raise

    async def _draw(self, offer: Offer) -> None:
        record, ids = offer.record, offer.key_ids
        self._agree(offer)
        await claim_ids(self._kme.store, record.link, record.block, ids)
        failpoints.reach("bob has noted a vendor's ids")
        keys = await self._keys(ids)
        drawn = bytearray(b"".join(key.value for key in keys))
        try:
            ours = origin_of(keys)
            if (ours.kind, ours.seeded) != (record.origin.kind, record.origin.seeded):
                raise DrawFailed("the vendor's systems at the two ends say different things of the same keys", "origin")
            if len(drawn) != offer.n_bytes or not hmac.compare_digest(
                await asyncio.to_thread(confirmation, drawn, record, ids), offer.tag
            ):
                raise DrawFailed(
                    "the vendor's systems at the two ends gave different keys for the same ids", "mismatch"
                )
            failpoints.reach("a vendor's block is compared")
            n_bits = await keep(self._kme, record, drawn, self.link.alice)
        finally:
            erase(drawn)
        say_drawn(self._kme, record, n_bits, len(ids), "bob")
        self._deposited(n_bits)

    def _agree(self, offer: Offer) -> None:
        """Refuse a record that is not what we would say ourselves of these keys.

        Raises:
            KmeError: The two ends do not have the same scenario, or alice is not what she should be.
        """
        record = offer.record
        earlier = record.cumulative_epsilon - record.epsilon
        expected = record_of(self.link, record.block, record.origin, offer.key_ids, earlier, record.time_s)
        fields = ("link", "alice", "bob", "protocol", "origin", "proof", "statement", "epsilon", "bootstrap")
        wrong = [name for name in fields if getattr(record, name) != getattr(expected, name)]
        if wrong or not 0 < record.epsilon <= record.cumulative_epsilon:
            raise DrawFailed(
                f"the two ends do not say the same of this link: {', '.join(wrong) or 'epsilon'}", "differ"
            )

    async def _keys(self, ids: tuple[str, ...]) -> list[Key]:
        """Fetch keys by their ids; ask again where the vendor says that it cannot now."""
        status = await self._status()
        at_once = max(1, min(status.max_key_per_request, KEYS_MAX))
        keys: list[Key] = []
        for start in range(0, len(ids), at_once):
            keys += await self._some(ids[start : start + at_once])
        return keys

    async def _status(self) -> Status:
        return await _patiently(lambda: self._door.status(self.link.alice_sae))

    async def _some(self, ids: Sequence[str]) -> tuple[Key, ...]:
        return (await _patiently(lambda: self._door.dec_keys(self.link.alice_sae, ids))).keys


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask a vendor; wait and ask again when it answers 503, for then nothing was given."""
    for attempt in range(BUSY_TRIES):
        if attempt:
            await asyncio.sleep(BUSY_PAUSE_S * 2 ** (attempt - 1))
        try:
            return await ask()
        except Refusal as refusal:
            last = refusal
            if refusal.status != 503:
                break
        except KmeError as error:
            raise DrawFailed(error.message, "vendor-unreachable") from None
    raise DrawFailed(last.message, "vendor-empty" if last.status == 503 else "vendor-refused")


class VendorHandlers:
    """What other KMEs may ask of us about vendors' links."""

    def __init__(self, kme: Kme) -> None:
        self._ends: dict[str, BobDraws] = {}
        kme.handlers.update({"vendor-next": self._on_next, "vendor-draw": self._on_draw})

    def add(self, end: BobDraws) -> None:
        """Answer for this link from now on."""
        self._ends[end.link.name] = end

    def _end(self, peer: str, data: dict[str, Any]) -> BobDraws:
        end = self._ends.get(str(data.get("link")))
        if end is None or end.link.alice != peer:
            raise KmeError("there is no such link between you and us", hint="give the same scenario file to all nodes")
        return end

    async def _on_next(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        return await self._end(peer, data).on_next()

    async def _on_draw(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        end = self._end(peer, data)
        return await end.on_draw(Offer.from_json(data.get("offer")))
