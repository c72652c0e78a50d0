"""Envelope encryption: what is stored is sealed under data keys, and these alone under the key-encryption key (KEK).

In: secrets, and where they belong.  Out: sealed bytes, and which data key opens them. Each block has a data key of its
own, which goes when its last atom has gone; other secrets share one that changes with each KEK. So a rotation seals
data keys anew and nothing else, and a new KEK also means new data keys for what comes next.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, func, insert, select, update

from noclone.errors import StoreError
from noclone.kms.sealing import BlockSealer, Sealer, encode
from noclone.kms.tables import data_key, kek

SECRETS, FINGERPRINTS, AUDIT = "secrets", "fingerprints", "audit"
GENERATION = select(func.max(kek.c.generation))
DATA_KEY_BYTES = 32

Keks = Callable[[], Sequence[bytes]]


def kek_fingerprint(value: bytes, store_id: str) -> str:
    """Return a number that tells KEKs apart and says nothing about them: a PRF of the KEK at a fixed place."""
    return hashlib.blake2b(encode("noclone-kek-1", store_id), key=value, digest_size=8).hexdigest()


class Keyring:
    """The data keys of one store, opened. Its repr shows nothing.

    Args:
        keks: Returns the KEKs that may fit, when asked: at the opening, and after another process has rotated it.
        store_id: Of the store; bound into every seal.
    """

    def __init__(self, keks: Keks, store_id: str) -> None:
        self._keks = keks
        self._store_id = store_id
        self._kek: Sealer | None = None
        self._sealers: dict[int, Sealer] = {}
        self._current = 0
        self._values: dict[str, bytes] = {}
        self.generation = 0
        self.kek = b""

    def __repr__(self) -> str:
        return f"Keyring(generation={self.generation})"

    # Opening and rotating

    def create(self, connection: Connection, now_s: float, old_values: dict[str, bytes] | None = None) -> None:
        """Make the data keys of a new store, or of one that had none, under the first KEK on offer."""
        self._use(self._keks()[0], 1)
        row = {"generation": 1, "fingerprint": self._fingerprint(), "since_s": now_s, "retired_s": None}
        connection.execute(insert(kek), [row])
        for purpose in (SECRETS, FINGERPRINTS, AUDIT):
            self._add(connection, purpose, (old_values or {}).get(purpose) or os.urandom(DATA_KEY_BYTES))
        self.load(connection)

    def restore(self, connection: Connection) -> None:
        """Go on from what a backup has, the data keys that open no key, and one for what is to come."""
        self.load(connection)
        self._add(connection, SECRETS, os.urandom(DATA_KEY_BYTES))
        self.load(connection)

    def load(self, connection: Connection) -> None:
        """Open the data keys with the KEK that the store says it needs.

        Raises:
            StoreError: None of those on offer is it; the message says which is needed.
        """
        known = {row.fingerprint: row for row in connection.execute(select(kek))}
        if not known:
            raise StoreError("this key store lost its check value", hint="the file is damaged; distil anew")
        now = max(known.values(), key=lambda row: row.generation)
        offered = {kek_fingerprint(value, self._store_id): value for value in self._keks()}
        if now.fingerprint not in offered:
            raise _unfit(now, [known[name] for name in offered if name in known])
        self._use(offered[now.fingerprint], now.generation)
        self._sealers, self._values = {}, {}
        for row in connection.execute(select(data_key).order_by(data_key.c.id)):
            value = self._wrapper.open(row.sealed, "data-key", row.id, row.purpose)
            if row.purpose == SECRETS:
                self._sealers[row.id], self._current = Sealer(value, self._store_id), row.id
            else:
                self._values[row.purpose] = value

    def refresh(self, connection: Connection) -> None:
        """Load again if another process has rotated the KEK."""
        if connection.execute(GENERATION).scalar() != self.generation:
            self.load(connection)

    def rotated(self, connection: Connection, value: bytes, now_s: float) -> Keyring:
        """Seal every data key under a new KEK, in the caller's transaction; return the keyring to go on with."""
        new = Keyring(lambda: (value,), self._store_id)
        new._use(value, self.generation + 1)
        row = {"generation": new.generation, "fingerprint": new._fingerprint(), "since_s": now_s, "retired_s": None}
        connection.execute(update(kek).where(kek.c.retired_s.is_(None)).values(retired_s=now_s))
        connection.execute(insert(kek), [row])
        for old in connection.execute(select(data_key)).all():
            context = ("data-key", old.id, old.purpose)
            sealed = new._wrapper.seal(self._wrapper.open(old.sealed, *context), *context)
            connection.execute(update(data_key).where(data_key.c.id == old.id).values(sealed=sealed))
        new._add(connection, SECRETS, os.urandom(DATA_KEY_BYTES))
        new.load(connection)
        new._keks = self._keks
        return new

    def rewrap(self, new: Keyring, wrapped: bytes, *context: str | int) -> bytes:
        """Return a block's data key sealed under a new keyring's KEK."""
        return new._wrapper.seal(self._wrapper.open(wrapped, "dek", *context), "dek", *context)

    # Sealing

    def seal(self, secret: bytes, *context: str | int) -> tuple[bytes, int]:
        """Seal bytes as what `context` says they are; return them, and which data key opens them."""
        return self._sealers[self._current].seal(secret, *context), self._current

    def open(self, sealed: bytes, number: int, *context: str | int) -> bytes:
        """Open what `seal` made.

        Raises:
            StoreError: It was altered, or it is something else, or its data key is not here.
        """
        sealer = self._sealers.get(number)
        if sealer is None:
            raise StoreError(f"a stored secret ({context[0]}) lost its data key", hint="the store is damaged")
        return sealer.open(sealed, *context)

    def new_block(self, *context: str | int) -> tuple[bytes, BlockSealer]:
        """Make a data key for a block; return it sealed, and what seals the block's atoms."""
        value = os.urandom(DATA_KEY_BYTES)
        return self.wrap_block(value, *context), BlockSealer(value, encode(*context))

    def wrap_block(self, value: bytes, *context: str | int) -> bytes:
        """Seal a block's data key."""
        return self._wrapper.seal(value, "dek", *context)

    def block(self, wrapped: bytes, *context: str | int) -> BlockSealer:
        """Return what opens a block's atoms."""
        return BlockSealer(self._wrapper.open(wrapped, "dek", *context), encode(*context))

    def fingerprint(self, secret: bytes) -> str:
        """Return a number that tells secrets apart and says nothing about them without the KEK."""
        return hashlib.blake2b(secret, key=self._values[FINGERPRINTS], digest_size=16).hexdigest()

    def chain_key(self) -> bytes:
        """Return the key of the audit log's chains."""
        return self._values[AUDIT]

    # Inside

    @property
    def _wrapper(self) -> Sealer:
        assert self._kek is not None
        return self._kek

    def _use(self, value: bytes, generation: int) -> None:
        self._kek, self.kek, self.generation = Sealer(value, self._store_id), value, generation

    def _fingerprint(self) -> str:
        return kek_fingerprint(self.kek, self._store_id)

    def _add(self, connection: Connection, purpose: str, value: bytes) -> None:
        number = connection.execute(
            insert(data_key).returning(data_key.c.id), [{"purpose": purpose, "sealed": b""}]
        ).scalar_one()
        sealed = self._wrapper.seal(value, "data-key", number, purpose)
        connection.execute(update(data_key).where(data_key.c.id == number).values(sealed=sealed))


def _unfit(needed: object, retired: Sequence[object]) -> StoreError:
    found = "the key-encryption key does not fit this key store"
    if retired:
        found = f"the key-encryption key is the one of generation {retired[0].generation}, which was rotated away"  # type: ignore[attr-defined]
    return StoreError(
        f"{found}; it needs {needed.fingerprint}, of generation {needed.generation}",  # type: ignore[attr-defined]
        hint="bring the key-encryption key that the store was last sealed with; without it the stored keys are lost",
    )
