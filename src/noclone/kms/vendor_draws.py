"""Key from real equipment: two KMEs draw the same keys from a vendor's QKD system, over ETSI GS QKD 014.

In: a vendor's key-management system at each end, of which each KME is an application.  Out: blocks in the two stores,
of which the records say `hardware`, on the vendor's word; or `simulated`, if the vendor's keys say that they are.
Messages, all within `peer`'s conversation, and no key byte in any:

    vendor-next {link}          alice -> bob   -> {next, room}: bob is there, this block comes next, and he wants it
    vendor-draw {link, offer}   alice -> bob   -> {held} or {wait}: bob drew the same, compared, and holds the block

Alice draws (the vendor's `enc_keys`), notes the ids durably, and offers; bob notes the ids durably, draws
(`dec_keys`), compares, and keeps; then alice keeps. What goes wrong in between costs these keys: they are burned at the
vendor's already, and their ids are never used for another block. An offer whose answer was lost is made again as it
was. Once both ends hold a block they tell each other as for any other block, and only then is its key promised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from noclone.bits import words_from_bytes
from noclone.client import Key, KeyContainer, Refusal, Status
from noclone.crypto.one_time_pad import erase
from noclone.errors import KmeError, NocloneError
from noclone.kms import failpoints
from noclone.kms.calls import PeerCalls, PeerRefused
from noclone.kms.kme import Kme
from noclone.kms.relay_messages import BLOCK_BYTES_MAX, CONFIRMATION_BYTES
from noclone.kms.relay_store import find_block
from noclone.kms.vendor_messages import KEYS_MAX, Offer, VendorLink, confirmation, record_of
from noclone.kms.vendor_store import claim_ids, last_block
from noclone.records import LINK_PROFILE, BlockProvenance, Origin, SecretKey
from noclone.relayed import WEAKEST_FIRST

IDLE_S = 0.5
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
OFFER_TIMEOUT_S = 60.0
BUSY_PAUSE_S = 1.0
BLOCK_MAX = 1 << 62
SMALLEST_SHARE = 4  # no block is drawn that would be smaller than this part of one
UNHEARD = (KmeError, OSError, TimeoutError, EOFError)

Deposited = Callable[[int], None]  # hears how many bits came


class VendorDoor(Protocol):
    """A vendor's ETSI GS QKD 014 interface, as `noclone.async_client` has it."""

    async def status(self, slave: str) -> Status: ...

    async def enc_keys(self, slave: str, number: int = 1, size: int | None = None) -> KeyContainer: ...

    async def dec_keys(self, master: str, key_ids: Sequence[str]) -> KeyContainer: ...


class DrawFailed(KmeError):
    """No block came of it.

    Args:
        reason: One stable word for programs.
        keys: How many of the vendor's keys it cost.
    """

    def __init__(self, message: str, reason: str, keys: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.keys = keys


def origin_of(keys: Sequence[Key]) -> Origin:
    """Return what the vendor's own words allow to say of its keys: hardware, unless it says that they are less."""
    kinds = {key.extension.get("noclone_origin", "hardware") for key in keys}
    kind = next((kind for kind in WEAKEST_FIRST if kind in kinds), "unknown")
    if kinds - set(WEAKEST_FIRST):
        kind = WEAKEST_FIRST[min(WEAKEST_FIRST.index(kind), WEAKEST_FIRST.index("unknown"))]
    return Origin(kind, any(key.extension.get("noclone_seeded") not in (None, False) for key in keys))  # type: ignore[arg-type]


class AliceDraws:
    """The end that asks a vendor for new keys, one block after another.

    Args:
        kme: Ours.
        door: The vendor's system here.
        deposited: Hears of every block that came.
    """

    def __init__(
        self,
        kme: Kme,
        link: VendorLink,
        door: VendorDoor,
        deposited: Deposited,
        backoff_s: Sequence[float] = BACKOFF_S,
    ) -> None:
        self.link = link
        self._kme = kme
        self._door = door
        self._deposited = deposited
        self._backoff_s = tuple(backoff_s)
        self._problem = ""
        self.paused = False
        self.drawing = False

    async def run(self) -> None:
        """Keep the pool full, until cancelled. When the vendor has no key, ask ever less often."""
        failures = 0
        while True:
            try:
                if not self.paused and self._bob() is not None and await self._wanted():
                    await self._draw_next()
                    failures = 0
                    self._say("")
                else:
                    await asyncio.sleep(IDLE_S)
                continue
            except DrawFailed as failed:
                self._lost(failed)
                self._say(failed.message)
            except NocloneError as error:
                self._say(error.message)
            except Exception as error:  # its text may hold anything, so only its type is told
                self._say(f"drawing failed in a way that was not foreseen ({type(error).__name__})")
            await asyncio.sleep(self._backoff_s[min(failures, len(self._backoff_s) - 1)])
            failures += 1

    async def _draw_next(self) -> None:
        self.drawing = True
        try:
            await self.draw()
        finally:
            self.drawing = False

    async def draw(self) -> BlockProvenance:
        """Draw one block; return its record once both ends hold it.

        Raises:
            NocloneError: Nothing of it will be used.
        """
        link, store = self.link, self._kme.store
        block, earlier = await self._next_block()
        keys = await self._new_keys()
        ids, drawn = tuple(key.key_id for key in keys), bytearray(b"".join(key.value for key in keys))
        try:
            await self._fits(ids, drawn, block)
            record = record_of(link, block, origin_of(keys), ids, earlier, store.clock.now_s())
            tag = await asyncio.to_thread(confirmation, drawn, record, ids)
            failpoints.reach("a vendor's keys are drawn")
            await self._have_bob_keep(Offer(record, ids, len(drawn), tag))
            failpoints.reach("bob holds a vendor's block")
            n_bits = await keep(self._kme, record, drawn, link.bob)
        finally:
            erase(drawn)
        say_drawn(self._kme, record, n_bits, len(ids), "alice")
        self._deposited(n_bits)
        return record

    async def _wanted(self) -> bool:
        """Say whether the pool is low, by the direction that has less."""
        state = await self._kme.store.pool(self.link.bob, (LINK_PROFILE,))
        return 2 * min(state.ready_out_bits, state.ready_in_bits) + state.held_bits < self.link.stock_bits

    async def _next_block(self) -> tuple[int, float]:
        """Return the number that neither end has used, and the failure probabilities of all before."""
        answer = await self._ask("vendor-next", link=self.link.name)
        match answer:
            case {"next": int(theirs), "room": bool(room)} if 0 <= theirs < BLOCK_MAX and not isinstance(theirs, bool):
                pass
            case _:
                raise KmeError(f"the KME {self.link.bob} answered with what is no block's number")
        if not room:
            raise DrawFailed(f"the pool of {self.link.bob} is full", "full")
        last = await last_block(self._kme.store, self.link.name)
        if last is None:
            return theirs, 0.0
        return max(theirs, last.block + 1), last.cumulative_epsilon

    async def _new_keys(self) -> list[Key]:
        """Ask the vendor for enough keys for a block."""
        link = self.link
        status = await self._door.status(link.bob_sae)
        size = link.key_size_bits or status.key_size
        at_once = max(1, min(status.max_key_per_request, KEYS_MAX))
        wanted = missing = min(KEYS_MAX, -(-8 * (link.block_bytes + CONFIRMATION_BYTES) // max(size, 1)))
        if 0 < status.stored_key_count < missing and not link.key_size_bits:
            missing = status.stored_key_count
        if SMALLEST_SHARE * missing < wanted:
            raise DrawFailed(f"the vendor's system has {missing} keys now, too few for a block", "vendor-empty")
        keys: list[Key] = []
        try:
            while missing > 0:
                number = min(at_once, missing)
                keys += (await self._door.enc_keys(link.bob_sae, number, size)).keys
                missing -= number
        except Refusal as refusal:  # what came before is enough for a smaller block, or lost
            least = CONFIRMATION_BYTES + self._kme.store.settings.unit_bits // 4  # an atom for each direction
            if sum(len(key.value) for key in keys) < least:
                why = "vendor-empty" if refusal.status == 503 else "vendor-refused"
                raise DrawFailed(refusal.message, why, len(keys)) from None
        except KmeError as error:
            raise DrawFailed(error.message, "vendor-unreachable", len(keys)) from None
        return keys

    async def _fits(self, ids: tuple[str, ...], drawn: bytearray, block: int) -> None:
        unit = self._kme.store.settings.unit_bits // 8
        if not CONFIRMATION_BYTES + 2 * unit <= len(drawn) <= BLOCK_BYTES_MAX:
            raise DrawFailed(
                f"the vendor's {len(ids)} keys come to {len(drawn)} bytes, which is no block", "size", len(ids)
            )
        try:
            await claim_ids(self._kme.store, self.link.name, block, ids)
        except KmeError as error:
            raise DrawFailed(error.message, "repeated", len(ids)) from None

    async def _have_bob_keep(self, offer: Offer) -> None:
        """Offer until bob holds the block, or says that he never will."""
        cost = len(offer.key_ids)
        answer: dict[str, Any] = {}
        try:
            async with asyncio.timeout(OFFER_TIMEOUT_S):
                while answer.get("held") is not True:
                    try:
                        answer = await self._ask("vendor-draw", link=self.link.name, offer=offer.to_json())
                    except PeerRefused as refused:
                        raise DrawFailed(refused.message, "bob-refused", cost) from None
                    except UNHEARD:
                        answer = {}
                    if not (answer.get("held") or answer.get("wait")):  # nobody knows whether he heard
                        await asyncio.sleep(BUSY_PAUSE_S)
        except TimeoutError:
            raise DrawFailed(
                f"the KME {self.link.bob} did not come to hold the block in time", "timeout", cost
            ) from None

    async def _ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        calls = self._bob()
        if calls is None:
            raise KmeError(f"the KME {self.link.bob} cannot be reached")
        return await calls.ask(operation, **fields)

    def _bob(self) -> PeerCalls | None:
        """Return how to call bob; None while he is out of reach, which is told elsewhere."""
        calls = self._kme.peers.get(self.link.bob)
        return calls if calls is not None and calls.connected else None

    def _lost(self, failed: DrawFailed) -> None:
        if failed.keys or failed.reason != "full":
            subject = f"link:{self.link.name}"
            self._kme.events.add("vendor.lost", subject, end="alice", reason=failed.reason, keys=failed.keys)

    def _say(self, problem: str) -> None:
        """Say that no key comes and why, and that it comes again: once each."""
        if bool(problem) != bool(self._problem):
            kind, more = ("link.down", {"message": problem}) if problem else ("link.up", {})
            self._kme.events.add(kind, f"link:{self.link.name}", end="alice", **more)
        self._problem = problem


async def keep(kme: Kme, record: BlockProvenance, drawn: bytearray, peer: str) -> int:
    """Put what was compared into the store; return how many bits.

    Raises:
        KmeError: A block of this number was here before.
    """
    kept = bytes(drawn[:-CONFIRMATION_BYTES])
    secret = SecretKey(words_from_bytes(kept), 8 * len(kept), record)
    before = await find_block(kme.store, record.link, record.block)
    if before is not None:
        raise KmeError("a block of this number was here before")
    await kme.deposit(secret, peer)
    return secret.n_bits


def say_drawn(kme: Kme, record: BlockProvenance, n_bits: int, n_keys: int, end: str) -> None:
    """Add the event of a block that came."""
    kme.events.add(
        "vendor.drawn",
        f"link:{record.link}",
        end=end,
        block=record.block,
        bits=n_bits,
        keys=n_keys,
        origin=record.origin.kind,
        seeded=record.origin.seeded,
        epsilon=record.epsilon,
        provenance=record.to_json(),
    )
