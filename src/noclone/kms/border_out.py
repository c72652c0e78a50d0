"""Keys on their way out: what a KME at the border does for an application of ours and one in another domain.

In: orders of our own KMEs (`border-order`).  Out: fresh keys, carried to the KME that ordered them, passed on to the
other domain's KME by ETSI GS QKD 020, and released once that says `relayed`. In this order, each step durable first:

    drawn     the keys exist; our site is sent them, and holds them for nobody yet
    sent      the other KME may have heard of them, whatever it answered (but 400 and 401)
    relayed   it has acknowledged that the targets' KME holds them: our site may give them to their master
    voiding   something went wrong, or nobody knows: the other KME is told to void them until it answers
    failed, void   nobody gets them

A key is never sent for anybody else. After a crash whatever was drawn or sent is voided: its values are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from noclone.errors import AuthenticationError, KmeError, NocloneError
from noclone.kms import border_store, failpoints
from noclone.kms.border_carry import Cargo, carry
from noclone.kms.border_messages import (
    KEYS_PATH,
    VOID_PATH,
    AckContainer,
    Problem,
    key_container,
    void_container,
)
from noclone.kms.border_store import BorderKey
from noclone.kms.keys import Refused
from noclone.kms.relay_calls import Calls

ANSWER_WITHIN_S = 3.0  # so much sooner than a call ends we say that we are still at it
RETRY_S = (0.2, 0.5, 1.0, 2.0, 4.0)
LOOK_S = 1.0
VOID_AGAIN_S = 10.0  # an acknowledgement that does not come is asked for again
PICK_UP_S = 30.0  # who ordered keys and does not ask for them within this gets none
ORDERS_MAX = 64  # of one KME, under way


class Door(Protocol):
    """How the other domain's KME is called."""

    async def post(self, path: str, body: Any) -> tuple[int, Any]: ...


@dataclass(frozen=True, slots=True)
class Domain:
    """Another operator's domain, which ours meets at one of our KMEs.

    Args:
        name: Of the domain.
        gate: Our KME at the border.
        peer: Theirs.
        url: Where theirs is called, without a path.
        callback: Where theirs is to send its acknowledgements.
        saes: Applications there that ours may share keys with; no other is believed to exist.
        timeout_s: A key that is not relayed by then is voided.
    """

    name: str
    gate: str
    peer: str
    url: str = ""
    callback: str = ""
    saes: frozenset[str] = frozenset()
    timeout_s: float = 20.0


@dataclass(slots=True)
class _Order:
    """An order of one of our KMEs."""

    words: tuple[Any, ...]
    task: asyncio.Task[tuple[str, ...]]
    until_s: float = field(default=0.0)
    told: bool = False


class Outgoing:
    """Everything about keys on their way out through one border."""

    def __init__(self, calls: Calls, domain: Domain, door: Door, max_keys: int, max_bits: int) -> None:
        self._calls = calls
        self._domain = domain
        self._door = door
        self._max_keys, self._max_bits = max_keys, max_bits
        self._orders: dict[str, _Order] = {}
        self._news = asyncio.Condition()
        self._void_now = asyncio.Event()
        self._asked: dict[str, float] = {}  # when the other KME was last told to void a key

    # For our own KMEs

    async def on_order(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Take an order, or say what became of it. The same order twice is done once.

        Raises:
            NocloneError, ValueError: It is refused.
        """
        request, words = self._read(peer, data)
        known = self._orders.get(request)
        if known is None:
            earlier = await border_store.of_request(self._calls.kme.store, request)
            if earlier:
                raise KmeError("these keys were on their way when this KME stopped; they are void")
            self._make_room(peer)
            task = asyncio.create_task(self._fulfil(request, *words))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            known = self._orders[request] = _Order(words, task)
        if known.words != words:
            raise KmeError("this request was ordered before, in other words")
        done, _ = await asyncio.wait([known.task], timeout=ANSWER_WITHIN_S)
        if not done:
            return {"state": "working"}
        try:
            key_ids = known.task.result()
        except Refused as refused:
            return {"state": "failed", "reason": refused.reason, "message": refused.message, "detail": refused.detail}
        known.told = True
        return {"state": "relayed", "key_ids": list(key_ids)}

    async def withdraw(self, key_ids: Sequence[str], site: str | None = None) -> None:
        """Have keys voided that our side will not use; if a site says so, those that it ordered."""
        store = self._calls.kme.store
        if site is not None:
            known = await border_store.find(store, "out", key_ids)
            key_ids = [key.key_id for key in known if key.site == site]
        await border_store.turn(store, "out", key_ids, ("drawn",), "failed")
        states = ("sent", "relayed")
        await border_store.turn(store, "out", key_ids, states, "voiding")
        self._void_now.set()

    # For the other domain's KME

    async def on_ack(self, ack: AckContainer) -> None:
        """Hear what became of keys.

        Raises:
            Problem: 400, we do not know them.
        """
        store = self._calls.kme.store
        known = await border_store.find(store, "out", ack.key_ids)
        ours = [key for key in known if key.domain == self._domain.name and self._parties(key) == self._parties(ack)]
        if len(ours) != len(set(ack.key_ids)):
            text = "one or more of the acknowledged keys are not known here, for these applications"
            raise Problem(400, "key-not-present", "key_not_present", text)
        if ack.ack_status == "relayed":
            await border_store.turn(store, "out", ack.key_ids, ("sent",), "relayed")
            failpoints.reach("an acknowledgement is noted")
        elif ack.ack_status == "failed":
            await border_store.turn(store, "out", ack.key_ids, ("sent",), "failed")
        else:  # voided, or it cannot be, or it was never there: our side gives it to nobody
            await border_store.turn(store, "out", ack.key_ids, ("voiding",), "void")
            await border_store.turn(store, "out", ack.key_ids, ("sent",), "failed")
        async with self._news:
            self._news.notify_all()

    # For ever

    async def recover(self) -> None:
        """After a start, before any order: what was under way is void, for its values are gone."""
        while True:
            store, name = self._calls.kme.store, self._domain.name
            left = await border_store.waiting(store, "out", ("drawn", "sent"), name)
            if not left:
                return
            await self.withdraw([key.key_id for key in left])

    async def run(self) -> None:
        """Void what is in doubt, until cancelled."""
        failures = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._void_now.wait()
            self._void_now.clear()
            try:
                await self._void_some()
                failures = 0
            except NocloneError:
                failures = min(failures + 1, len(RETRY_S))
                await asyncio.sleep(RETRY_S[failures - 1])
            await self._forget()

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [order.task for order in self._orders.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Inside

    def _parties(self, what: BorderKey | AckContainer) -> tuple[str, frozenset[str]]:
        if isinstance(what, BorderKey):
            return what.initiator, frozenset(what.targets)
        return what.initiator_sae_id, frozenset(what.target_sae_ids)

    def _read(self, peer: str, data: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
        match data:
            case {
                "request": str(request),
                "master": str(master),
                "slaves": [*slaves],
                "number": int(number),
                "size_bits": int(size_bits),
            } if slaves and all(isinstance(slave, str) for slave in slaves) and len(request) == 36:
                if self._calls.kme.saes.get(master) != peer or not set(slaves) <= self._domain.saes:
                    raise KmeError("these applications cannot share keys over this border")
                if isinstance(number, bool) or not (
                    0 < number <= self._max_keys and 0 < size_bits <= self._max_bits and size_bits % 8 == 0
                ):
                    raise ValueError("an order is too large")
                return str(uuid.UUID(request)), (peer, master, tuple(slaves), number, size_bits)
        raise ValueError("an order is told by request, master, slaves, number and size_bits")

    def _make_room(self, peer: str) -> None:
        theirs = [one for one in self._orders.values() if one.words[0] == peer and not one.task.done()]
        if len(theirs) >= ORDERS_MAX:
            raise KmeError("too many orders of yours are under way here")

    async def _fulfil(
        self, request: str, site: str, master: str, slaves: tuple[str, ...], number: int, size_bits: int
    ) -> tuple[str, ...]:
        """Draw keys, carry them to our site, pass them on, and wait until they are relayed.

        Raises:
            Refused: 503, none of them will be used.
        """
        store, domain = self._calls.kme.store, self._domain
        keys = [(str(uuid.uuid4()), os.urandom(size_bits // 8)) for _ in range(number)]
        ids = tuple(key_id for key_id, _ in keys)
        rows = [BorderKey(i, domain.name, site, request, master, slaves, size_bits, "drawn", None, "") for i in ids]
        cargo = Cargo(
            self._calls.name, site, domain.name, domain.peer, "master", request, master, slaves, size_bits, ids,
            store.clock.now_s(),
        )  # fmt: skip
        try:
            async with asyncio.timeout(domain.timeout_s):
                await border_store.enter(store, "out", rows)
                await carry(self._calls, cargo, [value for _, value in keys])
                await border_store.turn(store, "out", ids, ("drawn",), "sent")
                failpoints.reach("keys are about to cross the border")
                await self._pass_on(keys, master, slaves)
                await self._relayed(ids)
        except BaseException as error:
            await asyncio.shield(self.withdraw(ids))
            self._say("border.failed", ids, error)
            raise _refusal(error, domain.name) from None
        self._say("border.out", ids)
        return ids

    async def _pass_on(self, keys: list[tuple[str, bytes]], master: str, slaves: tuple[str, ...]) -> None:
        """Hand keys to the other domain's KME; again, the same, while nobody knows whether it has them."""
        body = key_container(keys, master, slaves, self._domain.callback)
        attempt = 0
        while True:
            try:
                status, answer = await self._door.post(KEYS_PATH, body)
            except AuthenticationError as error:
                raise Refused(
                    503, "the other operator's KME cannot be trusted", "border-stranger", detail=error.message
                ) from None
            except KmeError:
                status, answer = 0, None
            if status == 202:
                failpoints.reach("keys have crossed the border")
                return
            if status in (400, 401):  # nothing of it is kept there
                ids = [key_id for key_id, _ in keys]
                await border_store.turn(self._calls.kme.store, "out", ids, ("sent",), "failed")
                raise Refused(503, "the other operator's KME refused", "border-refused", detail=_words(answer))
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1

    async def _relayed(self, ids: tuple[str, ...]) -> None:
        """Wait until all keys are relayed.

        Raises:
            Refused: 503, one is not.
        """
        store = self._calls.kme.store
        while True:
            async with self._news:
                known = await border_store.find(store, "out", ids)
                states = {key.state for key in known}
                if states == {"relayed"}:
                    return
                if states - {"relayed", "sent"}:
                    raise Refused(503, "the other operator's network could not relay the keys", "border-failed")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._news.wait()

    async def _void_some(self) -> None:
        """Tell the other KME to void what is to be voided; its acknowledgement ends it."""
        store = self._calls.kme.store
        found = await border_store.waiting(store, "out", ("voiding",), self._domain.name)
        now_s = asyncio.get_running_loop().time()
        self._asked = {key.key_id: self._asked[key.key_id] for key in found if key.key_id in self._asked}
        groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for key in found:
            if self._asked.get(key.key_id, -VOID_AGAIN_S) + VOID_AGAIN_S <= now_s:
                groups.setdefault((key.initiator, key.targets), []).append(key.key_id)
        for (initiator, targets), ids in groups.items():
            self._asked.update(dict.fromkeys(ids, now_s))
            body = void_container(ids, initiator, targets, self._domain.callback)
            status, answer = await self._door.post(VOID_PATH, body)
            if status == 400:  # it does not understand us, and will not: an operator must look
                self._calls.kme.events.add(
                    "border.void-refused", f"border:{self._domain.name}", keys=len(ids), message=_words(answer)
                )
                await border_store.turn(store, "out", ids, ("voiding",), "void")
            elif status != 202:
                raise KmeError(f"the other operator's KME answered {status} when it was to void keys")

    async def _forget(self) -> None:
        """Drop what is over; who never asked for keys that are there gets none."""
        now_s = asyncio.get_running_loop().time()
        for request, order in tuple(self._orders.items()):
            if not order.task.done():
                continue
            order.until_s = order.until_s or now_s + PICK_UP_S
            if now_s < order.until_s:
                continue
            del self._orders[request]
            lost = order.task.cancelled() or order.task.exception() is not None
            if not (lost or order.told):
                await self.withdraw(order.task.result())

    def _say(self, kind: str, ids: tuple[str, ...], error: BaseException | None = None) -> None:
        more = {} if error is None else {"reason": getattr(error, "reason", type(error).__name__)}
        self._calls.kme.events.add(kind, f"border:{self._domain.name}", at=self._calls.name, keys=len(ids), **more)


def _refusal(error: BaseException, domain: str) -> BaseException:
    """Return how a master is told that there are no keys; what is no failure of ours goes on as it is."""
    if isinstance(error, Refused | asyncio.CancelledError):
        return error
    if isinstance(error, TimeoutError):
        return Refused(503, "the other operator's network did not answer in time", "border-timeout", detail=domain)
    if isinstance(error, NocloneError):
        return Refused(503, "the keys could not be brought to the border", "border-failed", detail=error.message)
    return error


def _words(answer: Any) -> str:
    """Return what a problem says, cut short; it is a stranger's text."""
    details = answer.get("details") if isinstance(answer, dict) else None
    text = "; ".join(str(value) for value in details.values()) if isinstance(details, dict) else "it gave no reason"
    return "".join(character for character in text if character.isprintable())[:200]
