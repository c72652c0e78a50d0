"""The key-management entity (KME): who may have which key, and the promise between two of them.

In: requests of applications (SAEs), whose identity is already proven, and messages of other KMEs.  Out: key containers,
or `Refused`. The order of a promise: claimed here (durable), held by the peer (durable), given to the master (durable),
then answered. No lock is held while waiting for the peer; a promise whose outcome is not known is voided at both ends
before anything else, never used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from noclone.errors import KeysExhausted, KmeError, NocloneError, StoreError
from noclone.events import EventLog
from noclone.kms import local_keys
from noclone.kms.allowances import Limit
from noclone.kms.calls import Abroad
from noclone.kms.calls import Handler as Handler
from noclone.kms.calls import PeerCalls as PeerCalls
from noclone.kms.calls import PeerRefused as PeerRefused
from noclone.kms.containers import Delivered
from noclone.kms.demands import Demands, can_meet, demands_of
from noclone.kms.keys import Assignment, Refused, Reservation, StoredKey
from noclone.kms.limits import BATCH_KEYS_MAX, KmeSettings
from noclone.kms.policies import Policies, obtain
from noclone.kms.pools import BlockName
from noclone.kms.promising import Promiser, Wish
from noclone.kms.relay_messages import PAD_BITS_MAX, internal
from noclone.kms.requests import KeyRequest, bad_request
from noclone.kms.reservations import Refusal
from noclone.kms.store import Store
from noclone.kms.void_pools import exhausted
from noclone.records import LINK_PROFILE, Provenance, SecretKey
from noclone.relayed import far_end

NO_DEMANDS = Demands()
AGE_MARGIN = 0.9  # blocks are chosen somewhat younger than a policy allows, for they age on their way


def _heed_nobody(_: str) -> None:
    """Do nothing: pools are kept by nobody, or by what does not ask."""


class Kme:
    """One site's key management.

    Args:
        store: Its keys. The store's name is the KME's id.
        saes: All applications of the network, each with the KME that serves it.
        settings: Limits.
        policies: What pairs of applications demand of their keys.
        events: Where to say what happened.
    """

    def __init__(
        self,
        store: Store,
        saes: Mapping[str, str],
        *,
        policies: Policies | None = None,
        settings: KmeSettings | None = None,
        events: EventLog | None = None,
    ) -> None:
        self.name = store.name
        self.store = store
        self.saes = dict(saes)
        self.settings = settings or KmeSettings()
        self.policies = policies or Policies()
        self.events = events or EventLog(keep=1000)
        self.peers: dict[str, PeerCalls] = {}
        self.handlers: dict[str, Handler] = {}  # further operations that other KMEs may call
        self.asked: Callable[[str], None] = _heed_nobody  # hears with whom applications want key
        self.abroad: Abroad | None = None  # what is done for applications in other operators' domains
        self._promisers: dict[str, Promiser] = {}
        self.in_flight: set[str] = set()
        self._life = str(uuid.uuid4())  # names of requests: nobody else's, and none of an earlier life's
        self._requests = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    def add_peer(self, peer: PeerCalls) -> None:
        """Make another KME known; call `resume` whenever it comes within reach."""
        self.peers[peer.name] = peer
        self._promisers[peer.name] = Promiser(self.store, peer, self.events, self.settle_soon)

    # For applications

    async def status(self, caller: str, slave: str) -> dict[str, Any]:
        """Answer what keys a master can have with a slave (ETSI GS QKD 014, clause 6.1)."""
        if self.abroad is not None and self.abroad.domain_of(slave) is not None:
            return await self.abroad.status(caller, slave)
        peer = self._peer_of(caller, slave)
        self.asked(peer)
        want = self.policies.want(caller, (slave,))
        pool = await self.store.pool(peer, None if want is None else want.profiles)
        unit, capacity = self.store.settings.unit_bits, self.store.settings.capacity_bits
        return {
            "source_KME_ID": self.name,
            "target_KME_ID": peer,
            "master_SAE_ID": caller,
            "slave_SAE_ID": slave,
            "key_size": unit,
            "stored_key_count": min(pool.ready_out_bits, capacity) // unit,
            "max_key_count": capacity // unit,
            "max_key_per_request": self.settings.max_keys_per_request,
            "max_key_size": self.settings.max_key_size_bits,
            "min_key_size": self.settings.min_key_size_bits,
            "max_SAE_ID_count": self.settings.max_additional_saes,
        }

    async def enc_keys(self, caller: str, slave: str, request: KeyRequest) -> Delivered:
        """Give a master new keys, once the slave's KME holds the promise of them (clause 6.2)."""
        if self.abroad is not None and self.abroad.domain_of(slave) is not None:
            return await self.abroad.enc_keys(caller, slave, request)
        peer = self._peer_of(caller, slave)
        slaves = self._slaves(slave, peer, request)
        size_bits, demands = self.size_bits_of(request), demands_of(request)
        if peer == self.name:
            keys = await local_keys.give(self.store, caller, slaves, request.number, size_bits, demands)
            return self._delivered(keys, caller, slaves, peer)
        self.asked(peer)
        want = demands.want(self.policies.want(caller, slaves))
        await can_meet(self.store, peer, demands, want)

        def attempt(profiles: tuple[str, ...] | None, max_age_s: float | None) -> Awaitable[list[Reservation]]:
            return self._take(peer, caller, slaves, request.number, size_bits, profiles, max_age_s, demands)

        def fell_back(profile: str) -> None:
            self.events.add("key.fallback", f"sae:{caller}", slave=slave, profile=profile)

        get, limits = partial(obtain, want, attempt, fell_back), self.policies.limits(caller, slaves)
        runs = await (self._counted(limits, request.number * size_bits, get) if limits else get())
        for run in runs:
            self.say_run(run.assignment.key_id, run.assignment.number, size_bits, caller, (caller, slave))
        return Delivered(tuple([key for run in runs for key in run.keys]), (self.name, peer))

    async def _counted(
        self, limits: Sequence[Limit], n_bits: int, get: Callable[[], Awaitable[list[Reservation]]]
    ) -> list[Reservation]:
        """Get keys and count them as what their pairs are allowed; nothing counts where they are refused after all."""
        try:
            then_s = await self.store.spend(limits, n_bits)
        except StoreError as error:
            raise Refused(503, "key data access error", "store-failed", detail=error.message) from None
        try:
            return await get()
        except Refused:
            with contextlib.suppress(StoreError):
                await self.store.put_back(limits, n_bits, then_s)
            raise

    async def pad(
        self,
        peer: str,
        n_bytes: int,
        profiles: Sequence[str] | None = (LINK_PROFILE,),
        *,
        introducing: bool = False,
    ) -> StoredKey:
        """Take key that we share with another KME, for the two KMEs themselves: it collects the same once.

        Args:
            profiles: What it may be cut from: only what a link made, where nothing is said; None: anything.
            introducing: It is what our conversation with that KME is to stand on, so it can be had before that stands.

        Raises:
            Refused: 503, there is not enough, or the other cannot be reached.
        """
        self.asked(peer)
        ends = internal(self.name), (internal(peer),)
        (run,) = await self._take(peer, *ends, 1, 8 * n_bytes, profiles, introducing=introducing)
        return run.keys[0]

    async def _take(
        self,
        peer: str,
        master: str,
        slaves: tuple[str, ...],
        number: int,
        size_bits: int,
        profiles: Sequence[str] | None,
        max_age_s: float | None = None,
        demands: Demands = NO_DEMANDS,
        *,
        introducing: bool = False,
    ) -> list[Reservation]:
        """Claim keys, have the peer promise them to the slaves, and note that the master gets them."""
        name = f"{self._life}-{next(self._requests)}"
        self.in_flight.add(name)
        try:
            wish = Wish(peer, master, slaves, number, size_bits, name, profiles, self._left_s(max_age_s), introducing)
            promiser = self._promisers.get(peer)
            if promiser is None:
                raise Refused(503, "the other KME cannot be reached", "peer-unreachable", detail=peer)
            reservations = await promiser.promise(wish)
            for reservation in reservations:
                blocks = reservation.provenance
                self.policies.check(master, slaves, blocks, (self.name, peer), self._now_s())
                demands.check(blocks, (self.name, peer), self._now_s())
            ids = [reservation.assignment.key_id for reservation in reservations]
            await self.store.deliver_to_master(ids, master)
            return reservations
        except KeysExhausted as error:
            raise await exhausted(self.store, peer, error) from None
        except StoreError as error:
            self.settle_soon(peer, name)
            raise Refused(503, "key data access error", "store-failed", detail=error.message) from None
        except BaseException:  # what was promised is voided, and never used
            self.settle_soon(peer, name)
            raise
        finally:
            self.in_flight.discard(name)

    async def dec_keys(self, caller: str, master: str, key_ids: Sequence[str]) -> Delivered:
        """Give a slave the keys that a master's request named it for, once (clause 6.3)."""
        self.check_caller(caller)
        if len(key_ids) > self.settings.max_keys_per_request:
            raise bad_request(f"at most {self.settings.max_keys_per_request} keys can be asked for", "too-many-keys")
        try:
            keys = await self.store.collect(caller, master, key_ids)
        except StoreError as error:
            raise Refused(503, "key data access error", "store-failed", detail=error.message) from None
        home = self._home_of(master)
        checked: tuple[Provenance, ...] | None = None
        for key in keys:  # the other KME has checked this; if it did not, the key is burned here
            if key.provenance is not checked:
                self.policies.check(master, (caller,), key.provenance, (home, self.name), self._now_s())
                checked = key.provenance
            self.say_run(key.key_id, 1, 8 * len(key.value), caller, (master, caller))
        return Delivered(tuple(keys), (home, self.name))

    # For links

    async def deposit(self, secret: SecretKey, peer: str) -> bool:
        """Take in a block of key that was distilled with `peer`; return whether both ends hold it now.

        If the peer is out of reach, or does not hold it yet, its own deposit or the next `resume` makes it usable.
        """
        future = await asyncio.to_thread(self.store.deposit, secret, peer)
        if not await future:
            return False
        name = BlockName(
            secret.provenance.link, secret.provenance.block, secret.n_bits // 8 // (self.store.settings.unit_bits // 8)
        )
        with contextlib.suppress(KmeError, OSError):
            return name in await self._announce(peer, [name])
        return False

    async def resume(self, peer: str) -> None:
        """Put things right with a peer that came within reach: void what is in doubt, compare blocks.

        Raises:
            KmeError: It went away again.
        """
        await self.settle(peer)
        held = await self.store.held(peer)
        for start in range(0, len(held), BATCH_KEYS_MAX):
            await self._announce(peer, held[start : start + BATCH_KEYS_MAX])

    async def close(self) -> None:
        """Let what is under way come to its end."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # For other KMEs. These never call out, so two KMEs cannot wait for each other.

    async def on_reserve(self, peer: str, assignments: Sequence[Assignment]) -> dict[str, Refusal]:
        """Hold the promises that a peer made to its masters; return the refused ones."""
        fit: list[Assignment] = []
        refused: dict[str, Refusal] = {}
        unit = self.store.settings.unit_bits
        for promise in assignments:
            pad = (promise.master, promise.slaves) == (internal(peer), (internal(self.name),))
            largest = PAD_BITS_MAX if pad else self.settings.max_key_size_bits
            strangers = not pad and (
                self.saes.get(promise.master) != peer
                or any(self.saes.get(slave) != self.name for slave in promise.slaves)
            )
            too_many = promise.number > self.settings.max_keys_per_request
            too_large = promise.size_bits > largest or promise.atoms > promise.number * -(-largest // unit)
            if strangers or too_many or too_large:
                refused[promise.key_id] = Refusal("malformed")
            else:
                fit.append(promise)
        if fit:
            answer = await self.store.assign(peer, fit)
            refused.update(answer)
        return refused

    async def on_void(self, peer: str, key_ids: Sequence[str]) -> None:
        """Void keys that a peer's masters never got."""
        await self.store.void(peer, key_ids)
        if self.abroad is not None:
            await self.abroad.withdrawn(peer, key_ids)

    async def on_blocks(self, peer: str, blocks: Sequence[BlockName]) -> list[BlockName]:
        """Hear which blocks a peer holds; return those that we hold too."""
        return await self.store.acknowledge(peer, blocks)

    # Inside

    def _now_s(self) -> float:
        return self.store.clock.now_s()

    def _left_s(self, max_age_s: float | None) -> float:
        """Return how much of its life a block must have left so that it is not older than that."""
        return 0.0 if max_age_s is None else max(0.0, self.store.settings.lifetime_s - AGE_MARGIN * max_age_s)

    def check_caller(self, caller: str) -> None:
        if self.saes.get(caller) != self.name:
            raise Refused(401, "this SAE is not registered at this KME", "unknown-sae")

    def _home_of(self, sae: str) -> str:
        """Return the KME that serves an application, or what stands for it where that is in another domain."""
        domain = self.abroad.domain_of(sae) if self.abroad is not None else None
        return self.saes[sae] if domain is None else far_end(domain)

    def _peer_of(self, caller: str, slave: str) -> str:
        self.check_caller(caller)
        peer = self.saes.get(slave)
        if peer is None:
            raise bad_request("the slave SAE is not known", "unknown-slave")
        return peer

    def _slaves(self, slave: str, peer: str, request: KeyRequest) -> tuple[str, ...]:
        slaves = self.settings.slaves(slave, request)
        for other in slaves:
            if self.saes.get(other) != peer:
                raise bad_request("all slave SAEs shall be known and at the same KME", "unknown-slave", detail=other)
        return slaves

    def size_bits_of(self, request: KeyRequest) -> int:
        """Return how long the keys of a request are."""
        return self.settings.size_bits(request, self.store.settings.unit_bits)

    async def _announce(self, peer: str, blocks: Sequence[BlockName]) -> list[BlockName]:
        """Tell a peer which blocks we hold; those that it holds too become usable."""
        calls = self.peers.get(peer)
        if calls is None or not calls.connected:
            return []
        both = list(await calls.blocks(blocks))
        await self.store.acknowledge(peer, both)
        return both

    async def settle(self, peer: str) -> None:
        """Void, at both ends, keys that masters here were promised and never got."""
        calls = self.peers.get(peer)
        if calls is None or not calls.connected:
            return
        found = await self.store.undelivered(peer)
        doubtful = [key_id for key_id, request in found if request not in self.in_flight]
        for start in range(0, len(doubtful), BATCH_KEYS_MAX):
            ids = doubtful[start : start + BATCH_KEYS_MAX]
            await calls.void(ids)
            await self.store.give_up(ids)

    def settle_soon(self, peer: str, request: str) -> None:
        self.in_flight.discard(request)

        async def settle() -> None:
            with contextlib.suppress(NocloneError, OSError):
                await self.settle(peer)

        task = asyncio.create_task(settle())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _delivered(self, keys: tuple[StoredKey, ...], master: str, slaves: tuple[str, ...], peer: str) -> Delivered:
        for key in keys:
            self.say_delivered(key, master, master, slaves)
        return Delivered(keys, (self.name, peer))

    def say_delivered(self, key: StoredKey, recipient: str, master: str, slaves: Sequence[str]) -> None:
        """Say that a key was given out."""
        self.say_run(key.key_id, 1, 8 * len(key.value), recipient, (master, slaves[0]))

    def say_run(self, key_id: str, number: int, size_bits: int, to: str, ends: tuple[str, str]) -> None:
        """Say that a key, or a run of keys, was given out."""
        self.events.add(
            "key.delivered",
            f"sae:{to}",
            key_id=key_id,
            keys=number,
            master=ends[0],
            slave=ends[1],
            bits=number * size_bits,
        )
