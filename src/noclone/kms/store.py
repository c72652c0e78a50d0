"""The key store of one KME: secret key comes in by blocks, waits sealed, and leaves once.

In: `SecretKey` blocks from distillation.  Out: `StoredKey`s for applications, each to whom it was promised, once.
States: an atom is ready; a key is reserved, then erased (all its recipients have it), expired, or void (nobody will
get it). What changes in a call is durable when the call returns. Thread-safe; the async KME awaits the same futures.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select

from noclone.clock import Clock, SystemClock
from noclone.errors import StoreError
from noclone.kms import backup, claims, deliveries, journal, operations, pools, reservations, rotation
from noclone.kms.allowances import Limit
from noclone.kms.answers import Answer
from noclone.kms.authentication import LinkLedger, Wipe
from noclone.kms.commits import Commits
from noclone.kms.database import open_engine
from noclone.kms.kekfile import KekFile
from noclone.kms.keys import Assignment, Reservation, StoredKey
from noclone.kms.opening import open_tables
from noclone.kms.operations import Claims, Desk, Handovers
from noclone.kms.pieces import seal_pieces
from noclone.kms.sealing import KEK_BYTES, BlockSealer, encode
from noclone.kms.tables import meta
from noclone.kms.workers import Session
from noclone.records import LINK_PROFILE, Provenance, SecretKey

NEXT_UP = 4


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

    def __init__(self, name: str, commits: Commits, session: Session, settings: StoreSettings) -> None:
        self.name = name
        self.settings = settings
        self.clock = session.clock
        self.commits = commits
        self.session = session
        self._desk = Desk(name, settings.unit_bits, settings.lifetime_s, session)
        self._dispose: Callable[[], None] = lambda: None

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        name: str,
        kek: bytes | KekFile,
        settings: StoreSettings | None = None,
        clock: Clock | None = None,
        creator: Callable[[], Any] | None = None,
    ) -> Store:
        """Open the store of the KME called `name`, or make it.

        Args:
            path: A file, or a database URL.
            name: Of the KME. A store belongs to one; empty: open the one that is there, for its upkeep.
            kek: The key-encryption key, or its file, which is read again after a rotation.
            settings: Sizes and lifetimes; the size of an atom cannot change once the store is made.
            clock: Tests hand in one that they move.
            creator: Makes the database connection, for tests that cut the power.

        Raises:
            StoreError: It cannot be opened, it is another KME's, or the key-encryption key does not fit.
        """
        settings, clock = settings or StoreSettings(), clock or SystemClock()
        keks = kek if isinstance(kek, KekFile) else lambda: (kek,)
        engine, connection = open_engine(path, creator)
        commits = Commits(connection)
        try:
            opened = commits.run(lambda c: open_tables(c, name, settings.unit_bits, keks, clock.now_s()))
            commits.session = Session(opened.store_id, opened.keyring, clock)
            commits.run(lambda _: None)  # from here on this process is one of the store's workers
            if isinstance(kek, KekFile):
                kek.settle(opened.keyring.kek)
        except BaseException:
            commits.close()
            connection.close()
            engine.dispose()
            raise
        store = cls(opened.name, commits, commits.session, replace(settings, unit_bits=opened.unit_bits))

        def dispose() -> None:
            connection.close()
            engine.dispose()

        store._dispose = dispose
        return store

    def close(self) -> None:
        """Finish what is under way and close the database."""
        with contextlib.suppress(StoreError):  # a worker that cannot say farewell is found to be gone
            self.commits.run(self.session.leave)
        self.commits.close()
        self._dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Blocks

    def deposit(self, secret: SecretKey, peer: str) -> Answer[bool]:
        """Take in a block of secret key shared with the KME `peer`; the future says False if it was here before.

        It is filed under its provenance's profile, which is what `claim` chooses by.

        It cannot be used until `acknowledge` says that the peer holds it too.
        """
        data, unit = secret.to_bytes(), self.settings.unit_bits // 8
        now_s, dek, origin = self.clock.now_s(), os.urandom(KEK_BYTES), secret.provenance
        pieces = seal_pieces(BlockSealer(dek, encode(self.name, peer, origin.link, origin.block)), data, unit)
        expires_s = now_s + self.settings.lifetime_s
        arrival = pools.Arrival(peer, origin.profile, origin, len(data) // unit, pieces, dek, now_s, expires_s)
        return self.commits.submit(lambda c: operations.deposit(c, self._desk, arrival))

    def held(self, peer: str) -> Answer[list[pools.BlockName]]:
        """Return the blocks that we hold and do not know the peer to hold."""
        return self.commits.submit(lambda c: pools.held(c, peer))

    def acknowledge(self, peer: str, blocks: Sequence[pools.BlockName]) -> Answer[list[pools.BlockName]]:
        """Note that the peer durably holds these blocks; the future returns those that we hold as well."""
        return self.commits.submit(lambda c: pools.acknowledge(c, peer, blocks))

    def pool(self, peer: str, profiles: Sequence[str] | None = None) -> Answer[PoolState]:
        """Look at the pool that is shared with a peer: all of it, or the key of some profiles."""
        part = self._desk.pool(peer, None if profiles is None else tuple(profiles))
        now_s = self.clock.now_s()
        return self.commits.submit(lambda c: PoolState(*pools.totals(c, part, now_s)))

    def next_up(self, peer: str, profiles: Sequence[str] | None = None) -> Answer[list[Provenance]]:
        """Return the records of the blocks that the next claims will take from."""
        part = self._desk.pool(peer, None if profiles is None else tuple(profiles))
        now_s = self.clock.now_s()
        return self.commits.submit(lambda c: pools.next_up(c, part, now_s, NEXT_UP))

    def is_void(self, peer: str) -> Answer[bool]:
        """Say whether a restore from a backup made what was shared with a peer void, and nothing came since."""
        return self.commits.submit(lambda c: pools.is_void(c, peer))

    def wants_key(self, peer: str, profile: str = LINK_PROFILE, *, coming_bits: int = 0) -> bool:
        """Say whether the pool has room for another block of a profile, where so many bits are on their way to it."""
        state = self.pool(peer, (profile,)).result()
        there = state.ready_out_bits + state.ready_in_bits + state.held_bits
        return there + coming_bits < self.settings.capacity_bits

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
        left_s: float = 0.0,
    ) -> Answer[list[Reservation]]:
        """Set aside `number` keys for a master here, and read them; all or none. They come as runs, mostly one.

        They are cut from blocks of these profiles alone, the first one's first; None: from any, the oldest first.
        No block has less than `left_s` of its life left.

        `request` names this request in the promise that the peer is given: the same promise twice counts once.

        Raises (in the future):
            KeysExhausted: The pool does not hold enough.
        """
        want = claims.Want(request or str(uuid.uuid4()), master, tuple(slaves), number, size_bits)
        chosen = None if profiles is None else tuple(profiles)
        return self.commits.join(Claims(self._desk, peer, chosen, left_s), want)

    def spend(self, limits: Sequence[Limit], n_bits: int) -> Answer[float]:
        """Count what pairs of applications are about to get of their quotas and rates: for all of them, or none.

        The future returns when that was, for `put_back`.

        Raises (in the future):
            Refused: 503, one has used up what it may have.
        """
        found = self.commits.submit(lambda c: operations.spend(c, self._desk, limits, n_bits))
        return cast("Answer[float]", found)  # a refusal becomes the future's exception

    def put_back(self, limits: Sequence[Limit], n_bits: int, then_s: float) -> Answer[None]:
        """Count no more what was counted at `then_s` and not given after all."""
        return self.commits.submit(lambda c: operations.put_back(c, self._desk, limits, n_bits, then_s))

    def assign(self, peer: str, assignments: Sequence[Assignment]) -> Answer[dict[str, reservations.Refusal]]:
        """Hold the promise that a peer's master was given: the keys wait here for the slaves that it names.

        The future returns the refused ones: material that is not here, or was promised before.
        """
        return self.commits.submit(lambda c: operations.assign(c, self._desk, peer, assignments))

    def deliver_to_master(self, key_ids: Sequence[str], master: str) -> Answer[None]:
        """Note that the master gets these runs of keys, named by their first keys; after this they are given out."""
        return self.commits.join(Handovers(self._desk), deliveries.Handover(master, tuple(key_ids)))

    def collect(self, recipient: str, master: str, key_ids: Sequence[str]) -> Answer[list[StoredKey]]:
        """Hand keys to a slave that was promised them, once.

        Raises (in the future):
            Refused: 401 if it was not named for each, 400 if one is not here (any more).
        """
        found = self.commits.submit(lambda c: operations.collect(c, self._desk, recipient, master, key_ids))
        return cast("Answer[list[StoredKey]]", found)  # a refusal becomes the future's exception

    def give_up(
        self, key_ids: Sequence[str], refusals: Iterable[tuple[Assignment, reservations.Refusal]] = ()
    ) -> Answer[None]:
        """Void runs of keys of our masters that nobody has got, and burn what the peer saw promised before."""
        refused = list(refusals)
        return self.commits.submit(lambda c: operations.give_up(c, self._desk, key_ids, refused))

    def undelivered(self, peer: str) -> Answer[list[tuple[str, str]]]:
        """Return name and request of the runs that masters here were promised and never got, to be voided.

        Of requests that this worker claimed, and of workers that are no more, which can deliver nothing from now on.
        """
        return self.commits.submit(lambda c: operations.undelivered(c, self._desk, peer))

    def void(self, peer: str, key_ids: Sequence[str]) -> Answer[None]:
        """Void keys of a peer's masters, who never got them; later assignments of the same keys are refused."""
        return self.commits.submit(lambda c: operations.void(c, self._desk, peer, key_ids))

    def alive(self) -> Answer[None]:
        """Take part in a transaction that changes nothing: the future says that the store works, or why not."""
        return self.commits.submit(lambda c: c.execute(select(meta.c.name).limit(1)).close())

    def discard_held(self, before_s: float) -> Answer[int]:
        """Erase relayed blocks that came before a time and that the peer was never known to hold; return how many."""
        return self.commits.submit(lambda c: operations.discard_held(c, self._desk, before_s))

    def sweep(self) -> Answer[pools.Swept]:
        """Erase what has outlived its time."""
        return self.commits.submit(lambda c: operations.sweep(c, self._desk))

    def account(self, link: str) -> pools.Account:
        """Return where every bit that was deposited on a link is now."""
        unit = self.settings.unit_bits
        return self.commits.run(lambda c: pools.account(c, link, unit))

    def rotate_kek(self, value: bytes) -> int:
        """Seal everything under another key-encryption key, in one transaction; return its generation.

        Before the transaction is durable the old one opens the store, and afterwards the new one; never both, never
        neither. `kekfile.KekFile` keeps them; see `rotation.rotate`.
        """
        return self.commits.run(lambda c: rotation.rotate(c, self._desk, value))

    def note(self, what: str, **fields: Any) -> None:
        """Write an entry of its own into the audit log: what an operator did to the node, never a byte of key."""
        self.commits.run(lambda _: self.session.journal.note(what, **fields))

    def back_up(self, path: Path) -> int:
        """Write who had which key, without a byte of key, to a new file; return how many rows. See `backup`."""
        return self.commits.run(lambda c: backup.write_backup(c, self._desk, path))

    @classmethod
    def restore(cls, path: Path | str, source: Path, *, kek: bytes | KekFile, clock: Clock | None = None) -> Store:
        """Make a store from a backup, where there is none yet, and open it: it has nothing to deliver.

        Raises:
            StoreError: There is one, the backup is damaged, or the key-encryption key does not fit.
        """
        clock = clock or SystemClock()
        keks = kek if isinstance(kek, KekFile) else lambda: (kek,)
        made = isinstance(path, Path) and not path.exists()
        engine, connection = open_engine(path)
        commits = Commits(connection)
        try:
            head = commits.run(lambda c: backup.restore_backup(c, source, keks, clock.now_s()))
            made = False
        finally:
            commits.close()
            connection.close()
            engine.dispose()
            if made:  # an empty file would pass for a store
                for end in ("", "-wal", "-shm"):
                    Path(f"{path}{end}").unlink(missing_ok=True)
        store = cls.open(path, name="", kek=kek, clock=clock)
        try:
            store.commits.run(lambda _: store.session.journal.note("restored", taken_s=head["taken_s"]))
        except BaseException:
            store.close()
            raise
        return store

    def verify_audit(self) -> journal.Verdict:
        """Check the chains of the audit log."""
        return self.commits.run(lambda c: journal.verify(c, self.session.keyring.chain_key()))

    def audit_lines(self) -> list[journal.Line]:
        """Return the entries of the audit log in the order of time."""
        return self.commits.run(lambda c: list(journal.lines(c)))

    # Authentication

    def ledger(self, link: str, wipe: Wipe | None = None) -> LinkLedger:
        """Return what keeps a link's authentication marks and refills durable; see there for `wipe`."""
        return LinkLedger(link, self.commits, lambda: self.session.keyring, wipe)
