"""The key store of one KME: secret key comes in by blocks, waits sealed, and leaves once.

In: `SecretKey` blocks from distillation.  Out: `StoredKey`s for applications, each to whom it was promised, once.
States: an atom is ready; a key is reserved, then erased (all its recipients have it), expired, or void (nobody will
get it). What changes in a call is durable when the call returns. Thread-safe; the async KME awaits the same futures.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from noclone.clock import Clock, SystemClock
from noclone.errors import NocloneError
from noclone.kms import claims, deliveries, pools, reservations
from noclone.kms.authentication import LinkLedger, Wipe
from noclone.kms.commits import Commits
from noclone.kms.keys import Assignment, Reservation, StoredKey
from noclone.kms.opening import open_tables
from noclone.kms.sealing import Sealer
from noclone.kms.tables import open_engine
from noclone.records import SecretKey

LINK_PROFILE = "link"  # of a fibre's own block


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What both ends of a pool must agree on, and how long key lives.

    Args:
        unit_bits: Size of an atom: the default key size.
        lifetime_s: Key that is not collected after this is erased; each end counts from its own deposit or promise.
        capacity_bits: Key of one profile above this asks a pool for no more.
    """

    unit_bits: int = 256
    lifetime_s: float = 24 * 3600.0
    capacity_bits: int = 1 << 28

    def __post_init__(self) -> None:
        if self.unit_bits % 8 or self.unit_bits < 8:
            raise ValueError("an atom is whole bytes")
        if self.lifetime_s <= 0:
            raise ValueError("key must live for some time")


@dataclass(frozen=True, slots=True)
class PoolState:
    """What a pool with one peer holds.

    Args:
        ready_out_bits: Key that masters here can ask for now.
        ready_in_bits: Key that masters at the peer can ask for.
        held_bits: Key that waits until the peer says that it holds it too.
        reserved_keys: Keys that wait for their recipients here.
    """

    ready_out_bits: int
    ready_in_bits: int
    held_bits: int
    reserved_keys: int


class Store:
    """One KME's keys. Open it with `Store.open`."""

    def __init__(self, name: str, commits: Commits, sealer: Sealer, settings: StoreSettings, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self.clock = clock
        self.commits = commits
        self._sealer = sealer
        self._dispose: Callable[[], None] = lambda: None

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        name: str,
        kek: bytes,
        settings: StoreSettings | None = None,
        clock: Clock | None = None,
        creator: Callable[[], Any] | None = None,
    ) -> Store:
        """Open the store of the KME called `name`, or make it.

        Args:
            path: A file, or a database URL.
            name: Of the KME. A store belongs to one.
            kek: The key-encryption key; see `sealing.load_kek`.
            settings: Sizes and lifetimes; the size of an atom cannot change once the store is made.
            clock: Tests hand in one that they move.
            creator: Makes the database connection, for tests that cut the power.

        Raises:
            StoreError: It cannot be opened, it is another KME's, or the key-encryption key does not fit.
        """
        settings = settings or StoreSettings()
        engine, connection = open_engine(path, creator)
        commits = Commits(connection)
        try:
            sealer = commits.run(lambda c: open_tables(c, name, settings.unit_bits, kek))
        except BaseException:
            commits.close()
            connection.close()
            engine.dispose()
            raise
        store = cls(name, commits, sealer, settings, clock or SystemClock())

        def dispose() -> None:
            connection.close()
            engine.dispose()

        store._dispose = dispose
        return store

    def close(self) -> None:
        """Finish what is under way and close the database."""
        self.commits.close()
        self._dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Blocks

    def deposit(self, secret: SecretKey, peer: str) -> Future[bool]:
        """Take in a block of secret key shared with the KME `peer`; the future says False if it was here before.

        It is filed under its provenance's profile, which is what `claim` chooses by.

        It cannot be used until `acknowledge` says that the peer holds it too.
        """
        data, unit = secret.to_bytes(), self.settings.unit_bits // 8
        salt, now_s = os.urandom(16), self.clock.now_s()
        origin = secret.provenance
        profile = getattr(origin, "profile", LINK_PROFILE)
        sealer = self._sealer.block(salt, self.name, peer, origin.link, origin.block)
        atoms = [
            {
                "direction": i % 2,
                "position": i // 2,
                "sealed": sealer.seal(i % 2, i // 2, data[i * unit : (i + 1) * unit]),
            }
            for i in range(len(data) // unit)
        ]
        arrival = pools.Arrival(peer, profile, origin, salt, now_s, now_s + self.settings.lifetime_s)
        return self.commits.submit(lambda c: pools.insert_block(c, arrival, atoms))

    def held(self, peer: str) -> Future[list[pools.BlockName]]:
        """Return the blocks that we hold and do not know the peer to hold."""
        return self.commits.submit(lambda c: pools.held(c, peer))

    def acknowledge(self, peer: str, blocks: Sequence[pools.BlockName]) -> Future[list[pools.BlockName]]:
        """Note that the peer durably holds these blocks; the future returns those that we hold as well."""
        return self.commits.submit(lambda c: pools.acknowledge(c, peer, blocks))

    def pool(self, peer: str, profiles: Sequence[str] | None = None) -> Future[PoolState]:
        """Look at the pool that is shared with a peer: all of it, or the key of some profiles."""
        part = pools.Pool(self.name, peer, self.settings.unit_bits, None if profiles is None else tuple(profiles))
        now_s = self.clock.now_s()
        return self.commits.submit(lambda c: PoolState(*pools.totals(c, part, now_s)))

    def wants_key(self, peer: str, profile: str = LINK_PROFILE) -> bool:
        """Say whether the pool has room for another block of a profile."""
        state = self.pool(peer, (profile,)).result()
        return state.ready_out_bits + state.ready_in_bits + state.held_bits < self.settings.capacity_bits

    # Keys

    def claim(
        self,
        peer: str,
        *,
        master: str,
        slaves: Sequence[str],
        number: int,
        size_bits: int,
        request: str = "",
        profiles: Sequence[str] | None = None,
    ) -> Future[list[Reservation]]:
        """Set aside `number` keys for a master here, and read them; all or none.

        They are cut from blocks of these profiles alone, the first one's first; None: from any, the oldest first.

        `request` names this request in the promise that the peer is given: the same promise twice counts once.

        Raises (in the future):
            KeysExhausted: The pool does not hold enough.
        """
        want = claims.Want(request or str(uuid.uuid4()), master, tuple(slaves), number, size_bits)
        return self.commits.join(_Claims(self, peer, None if profiles is None else tuple(profiles)), want)

    def assign(self, peer: str, assignments: Sequence[Assignment]) -> Future[dict[str, reservations.Refusal]]:
        """Hold the promise that a peer's master was given: the keys wait here for the slaves that it names.

        The future returns the refused ones: material that is not here, or was promised before.
        """
        now_s, pool = self.clock.now_s(), pools.Pool(self.name, peer, self.settings.unit_bits)
        expires_s = now_s + self.settings.lifetime_s
        return self.commits.submit(lambda c: reservations.assign(c, self._sealer, pool, assignments, now_s, expires_s))

    def deliver_to_master(self, key_ids: Sequence[str], master: str) -> Future[None]:
        """Note that the master gets these keys; after this they are given out."""
        return self.commits.join(_Handovers(self), deliveries.Handover(master, tuple(key_ids)))

    def collect(self, recipient: str, master: str, key_ids: Sequence[str]) -> Future[list[StoredKey]]:
        """Hand keys to a slave that was promised them, once.

        Raises (in the future):
            Refused: 401 if it was not named for each, 400 if one is not here (any more).
        """
        now_s = self.clock.now_s()
        return self.commits.submit(lambda c: deliveries.collect(c, self._sealer, recipient, master, key_ids, now_s))

    def give_up(
        self, key_ids: Sequence[str], refusals: Iterable[tuple[Assignment, reservations.Refusal]] = ()
    ) -> Future[None]:
        """Void keys of our masters that nobody has got, and burn what the peer says that it saw promised before."""
        now_s, refused = self.clock.now_s(), list(refusals)
        return self.commits.submit(lambda c: reservations.give_up(c, self.name, key_ids, refused, now_s))

    def undelivered(self, peer: str) -> Future[list[tuple[str, str]]]:
        """Return key id and request of what masters here were promised and never got: after a crash, to be voided."""
        return self.commits.submit(lambda c: reservations.undelivered(c, peer))

    def void(self, peer: str, key_ids: Sequence[str]) -> Future[None]:
        """Void keys of a peer's masters, who never got them; later assignments of the same keys are refused."""
        now_s = self.clock.now_s()
        return self.commits.submit(lambda c: reservations.void(c, peer, key_ids, now_s))

    def sweep(self) -> Future[pools.Swept]:
        """Erase what has outlived its time."""
        now_s = self.clock.now_s()
        return self.commits.submit(lambda c: pools.sweep(c, now_s))

    def account(self, link: str) -> pools.Account:
        """Return where every bit that was deposited on a link is now."""
        unit = self.settings.unit_bits
        return self.commits.run(lambda c: pools.account(c, link, unit))

    # Authentication

    def ledger(self, link: str, wipe: Wipe | None = None) -> LinkLedger:
        """Return what keeps a link's authentication marks and refills durable; see there for `wipe`."""
        return LinkLedger(link, self.commits, self._sealer, wipe)


@dataclass(frozen=True)
class _Claims:
    """Claims on one pool, done together."""

    store: Store
    peer: str
    profiles: tuple[str, ...] | None

    def __call__(
        self, connection: Connection, items: Sequence[claims.Want]
    ) -> Sequence[list[Reservation] | NocloneError]:
        store, now_s = self.store, self.store.clock.now_s()
        pool = pools.Pool(store.name, self.peer, store.settings.unit_bits, self.profiles)
        return claims.claim(connection, store._sealer, pool, items, now_s, now_s + store.settings.lifetime_s)


@dataclass(frozen=True)
class _Handovers:
    """Deliveries to masters, done together."""

    store: Store

    def __call__(self, connection: Connection, items: Sequence[deliveries.Handover]) -> Sequence[NocloneError | None]:
        return deliveries.deliver_to_masters(connection, items, self.store.clock.now_s())
