"""Combining key end to end: a QKD key that two KMEs share, however it came to them, and an exchange by KEMs.

In: which combiner, the profile of the QKD key.  Out: a block of a combined link, durable at both ends, that the store
then treats like any other. The two KMEs talk to each other directly, on the QKD key's path or not. Messages, all within
`peer`'s conversation; the QKD key itself crosses in none:

    exchange-offer {offer}             initiator -> target   -> {answer}: public keys; ciphertexts, and the target's tag
    exchange-done  {exchange, tag}     initiator -> target   the initiator has checked; the block is durable there

The initiator takes a QKD key out of their pool, the target collects the same by its id, once, before anything is
derived from it. Either end goes by its own record of what that key was cut from, and both must say the same of it. An
exchange that fails leaves nothing, and its QKD key is burned.
"""

from __future__ import annotations

import asyncio
import hmac
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from noclone.bits import words_from_bytes
from noclone.combined import CombinedProvenance, Part
from noclone.crypto.combiners import KDF_NAME, Combined, Mode, Transcript, combine, qkd_bytes
from noclone.crypto.kems import PrivateKeys, encapsulate, suite
from noclone.crypto.one_time_pad import erase
from noclone.crypto.wegman_carter import forgery_bound
from noclone.errors import AuthenticationError, KmeError
from noclone.kms import failpoints
from noclone.kms.exchange_messages import ANSWER, OFFER, Answer, Offer, digest, summary
from noclone.kms.keys import StoredKey
from noclone.kms.relay_calls import Calls
from noclone.kms.relay_messages import internal
from noclone.kms.relay_store import discard_held, find_block
from noclone.kms.signers import Signers
from noclone.kms.suites import Suites
from noclone.records import BlockProvenance, Provenance, SecretKey
from noclone.relayed import RelayProvenance

OPEN_MAX = 16  # exchanges that any one other KME may have under way here
LIFE_S = 30.0
CLOCKS_APART_S = 300.0


@dataclass(slots=True)
class _Waiting:
    """A block that we have combined, and whose initiator has not told that it has the same."""

    words: bytes
    answer: Answer
    combined: Combined = field(repr=False)
    provenance: CombinedProvenance
    until_s: float
    done: asyncio.Task[None] | None = None


class Exchange:
    """Everything that a KME does to combine key.

    Args:
        calls: The KME, and how others are reached.
        signers: Sign for it.
        suites: Those in force.

    `wants` says whether key of a profile, shared with another KME, is wanted here at all: a node sets it, so that
    nobody can fill a pool with key that pairs without a policy would then be given. `draw` makes the ephemeral keys of
    a suite; a lab keeps them there, so that it knows what breaking an algorithm would give.
    """

    def __init__(self, calls: Calls, signers: Signers, suites: Suites) -> None:
        self.signers = signers
        self.suites = suites
        self.wants: Callable[[str, str], bool] = lambda _peer, _profile: True
        self.draw: Callable[[str], PrivateKeys] = PrivateKeys
        self._calls = calls
        self._waiting: dict[str, _Waiting] = {}
        self._answering: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self._number = 0
        calls.kme.handlers.update({"exchange-offer": self._on_offer, "exchange-done": self._on_done})

    async def exchange(self, peer: str, mode: Mode, n_bytes: int, inner: str = "") -> CombinedProvenance:
        """Combine one block with another KME.

        Args:
            peer: The other one.
            mode: Which combiner.
            n_bytes: Size of the block.
            inner: Profile of the QKD key; nothing for the mode without QKD.

        Raises:
            NocloneError: There is no QKD key, or it failed: nothing of it will be used.
        """
        calls, name = self._calls, self.suites.preferred
        key = await calls.kme.pad(peer, qkd_bytes(mode, n_bytes), (inner,)) if mode != "kem" else None
        parts = _parts_of(key, inner)
        private = await asyncio.to_thread(self.draw, name)
        offer = Offer(
            str(uuid.uuid4()),
            calls.name,
            peer,
            self._next_number(peer),
            mode,
            name,
            n_bytes,
            calls.kme.store.clock.now_s(),
            key.key_id if key is not None else "",
            inner,
            summary(parts),
            private.public,
        )
        offer = replace(offer, signatures=tuple(await asyncio.to_thread(self.signers.sign, OFFER, offer.statement())))
        failpoints.reach("an exchange is about to be offered")
        answered = await calls.ask(peer, "exchange-offer", offer=offer.to_json())
        answer = await asyncio.to_thread(self._check_answer, offer, answered.get("answer"))
        combined, provenance = await asyncio.to_thread(self._open, offer, answer, private, key, parts)
        try:
            if not hmac.compare_digest(combined.target_tag, answer.tag):
                raise AuthenticationError(f"{peer} does not hold the key that the exchange was to give")
            failpoints.reach("an exchange is checked by its initiator")
            await calls.ask(peer, "exchange-done", exchange=offer.exchange, tag=combined.initiator_tag.hex())
            failpoints.reach("a combined block is durable at its target")
            await self._deposit(combined, provenance, peer)
        finally:
            erase(combined.key)
        return provenance

    async def sweep(self) -> int:
        """Erase relayed and combined blocks that the other end never came to hold; return how many."""
        store = self._calls.kme.store
        self._forget_old()
        return await discard_held(store, store.clock.now_s() - self._calls.settings.orphan_s)

    async def close(self) -> None:
        """Drop what is under way."""
        tasks = [*self._answering.values(), *(one.done for one in self._waiting.values() if one.done is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in tuple(self._waiting):
            self._forget(name)

    # The initiator's part

    def _check_answer(self, offer: Offer, data: Any) -> Answer:
        try:
            answer = Answer.from_json(data)
        except ValueError as error:
            raise KmeError(f"the KME {offer.target} answered an offer with something else: {error}") from None
        if answer.offer != digest(offer):
            raise AuthenticationError(f"the KME {offer.target} answered another offer than ours")
        self.signers.check(offer.target, ANSWER, answer.statement(), list(answer.signatures))
        return answer

    def _open(
        self, offer: Offer, answer: Answer, private: PrivateKeys, key: StoredKey | None, parts: Sequence[Part]
    ) -> tuple[Combined, CombinedProvenance]:
        return self._combine(offer, answer, private.open(answer.ciphertexts), key, parts)

    # The target's part

    async def _on_offer(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Answer an offer, once; the same words again have the same answer.

        Raises:
            NocloneError, ValueError: It is refused.
        """
        offer = Offer.from_json(data.get("offer"))
        if (offer.initiator, offer.target) != (peer, self._calls.name):
            raise KmeError("this exchange is not from you to us")
        self._forget_old()
        known = self._waiting.get(offer.exchange)
        if known is not None:
            if known.words != offer.words():
                raise KmeError("this exchange was offered before, in other words")
            return {"answer": known.answer.to_json()}
        task = self._answering.get(offer.exchange)
        if task is None:
            await self._agree(peer, offer)
            task = asyncio.create_task(self._answer(peer, offer))
            self._answering[offer.exchange] = task
            task.add_done_callback(lambda _: self._answering.pop(offer.exchange, None))
        return await asyncio.shield(task)

    async def _agree(self, peer: str, offer: Offer) -> None:
        """Refuse an offer before anything is spent on it.

        Raises:
            NocloneError: It is refused.
        """
        if not self.wants(peer, offer.profile):
            raise KmeError("key of this kind is not wanted here")
        if not self.suites.allows(offer.profile):
            raise KmeError(f"the suite {offer.suite} is not accepted here, or not any more")
        theirs = sum(one.provenance.initiator == peer for one in self._waiting.values())
        if theirs + len(self._answering) >= OPEN_MAX:
            raise KmeError("too many exchanges are under way here")
        store = self._calls.kme.store
        if abs(store.clock.now_s() - offer.time_s) > CLOCKS_APART_S:
            raise KmeError("this offer is old, or our clocks are apart")
        if await find_block(store, offer.link, offer.block) is not None:
            raise KmeError("this block was here before")
        if not await asyncio.to_thread(store.wants_key, peer, offer.profile):
            raise KmeError("the pool is full")

    async def _answer(self, peer: str, offer: Offer) -> dict[str, Any]:
        await asyncio.to_thread(self.signers.check, peer, OFFER, offer.statement(), list(offer.signatures))
        key = await self._collect(peer, offer)
        parts = _parts_of(key, offer.inner)
        if summary(parts) != tuple(sorted(offer.parts)):
            raise AuthenticationError(f"the KME {peer} does not say what its QKD key was cut from")

        def work() -> tuple[Answer, Combined, CombinedProvenance]:
            secrets, ciphertexts = encapsulate(offer.suite, offer.public)
            answer = Answer(digest(offer), ciphertexts)
            answer = replace(answer, signatures=tuple(self.signers.sign(ANSWER, answer.statement())))
            combined, provenance = self._combine(offer, answer, secrets, key, parts)
            return replace(answer, tag=combined.target_tag), combined, provenance

        answer, combined, provenance = await asyncio.to_thread(work)
        until_s = self._calls.kme.store.clock.now_s() + LIFE_S
        self._waiting[offer.exchange] = _Waiting(offer.words(), answer, combined, provenance, until_s)
        failpoints.reach("an exchange is about to be answered")
        return {"answer": answer.to_json()}

    async def _collect(self, peer: str, offer: Offer) -> StoredKey | None:
        """Take the QKD key that an offer names out of our store: whoever names it again finds nothing."""
        if offer.mode == "kem":
            return None
        store = self._calls.kme.store
        (key,) = await store.collect(internal(self._calls.name), internal(peer), [offer.key_id])
        return key

    async def _on_done(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Hear that the initiator has the same block; answer when it is durable here.

        Raises:
            NocloneError, ValueError: It is refused.
        """
        match data:
            case {"exchange": str(name), "tag": str(tag)}:
                known = self._waiting.get(name)
                if known is None or known.provenance.initiator != peer:
                    raise KmeError("this exchange is not under way")
                if known.done is None:
                    if not hmac.compare_digest(known.combined.initiator_tag, bytes.fromhex(tag)):
                        self._forget(name)
                        raise AuthenticationError("you do not hold the key that the exchange was to give")
                    known.done = asyncio.create_task(self._keep(known))
                await asyncio.shield(known.done)
                return {}
        raise ValueError("an exchange's end is told by exchange and tag")

    async def _keep(self, known: _Waiting) -> None:
        try:
            await self._deposit(known.combined, known.provenance, known.provenance.initiator)
        finally:
            erase(known.combined.key)
            known.until_s = self._calls.kme.store.clock.now_s() + LIFE_S

    # Both ends'

    def _combine(
        self, offer: Offer, answer: Answer, secrets: Sequence[bytes], key: StoredKey | None, parts: Sequence[Part]
    ) -> tuple[Combined, CombinedProvenance]:
        said = Transcript(offer.words(), answer.words())
        combined = combine(offer.mode, key.value if key is not None else None, secrets, said, offer.n_bytes)
        tags = 2 * forgery_bound(len(said.offer) + len(said.answer) + offer.n_bytes + 256) if key is not None else 0.0
        return combined, CombinedProvenance(
            offer.link,
            offer.block,
            offer.initiator,
            offer.target,
            offer.exchange,
            offer.mode,
            offer.suite,
            tuple(kem.name for kem in suite(offer.suite)),
            self.signers.algorithms,
            KDF_NAME,
            said.sha384,
            tuple(parts),
            offer.n_bytes,
            tags,
            offer.time_s,
        )

    async def _deposit(self, combined: Combined, provenance: CombinedProvenance, peer: str) -> None:
        secret = SecretKey(words_from_bytes(bytes(combined.key)), 8 * len(combined.key), provenance)
        await self._calls.kme.deposit(secret, peer)
        self._calls.kme.events.add(
            "exchange.made",
            f"exchange:{provenance.link}",
            at=self._calls.name,
            block=provenance.block,
            profile=provenance.profile,
            bits=8 * provenance.n_bytes,
            kems=list(provenance.kems),
            signatures=list(provenance.signatures),
        )

    def _next_number(self, peer: str) -> int:
        """Return a number that no block of ours had: from the clock, rising, even at the end whose name sorts first."""
        now = int(1000 * self._calls.kme.store.clock.now_s())
        self._number = max(now, self._number + 1)
        return 2 * self._number + (self._calls.name > peer)

    def _forget_old(self) -> None:
        now_s = self._calls.kme.store.clock.now_s()
        for name, known in tuple(self._waiting.items()):
            if known.until_s <= now_s and (known.done is None or known.done.done()):
                self._forget(name)

    def _forget(self, name: str) -> None:
        erase(self._waiting.pop(name).combined.key)


def _parts_of(key: StoredKey | None, inner: str) -> tuple[Part, ...]:
    """Return the QKD blocks that a key was cut from.

    Raises:
        KmeError: It was cut from something else.
    """
    blocks: Sequence[Provenance] = () if key is None else key.provenance
    parts = tuple(block for block in blocks if isinstance(block, BlockProvenance | RelayProvenance))
    if len(parts) != len(blocks) or any(part.profile != inner for part in parts) or bool(parts) != bool(inner):
        raise KmeError("a key to be combined shall be QKD key of the profile that was agreed on")
    return parts
