"""The pad book: pads fetched ahead and kept at both ends, so that much can be sent at once.

In: delivered keys, joined to batches that both ends have.  Out: each batch once. A batch leaves the sender's book,
durably, before a byte of it is used, and is then in memory only; the receiver's book notes, durably, that it granted
the batch before the sender hears so. Each end is the other's witness: a byte could be used twice only if both books
were restored from backups (docs/one-time-pad.md; tests/models/pads.pml is checked exhaustively for small books).

SQLite with synchronous=FULL: with less, every `kill -9` is survived and a power cut brings used pads back. Each batch
is sealed under a key of its own, so that forgetting a batch is to overwrite 60 bytes, not a megabyte.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from noclone.apps.gathered_commits import GatheredCommits, Result
from noclone.apps.own_key import own_key
from noclone.apps.whole_file import disk_error
from noclone.crypto.one_time_pad import erase
from noclone.errors import InputError, StoreError
from noclone.kms.sealing import KEK_BYTES, NONCE_BYTES, Sealer

FILE, KEY_FILE = "pads.db", "pads.key"
BUSY_MS = 10_000
Role = Literal["out", "in"]
Connect = Callable[[Path], Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, peer TEXT NOT NULL, role TEXT NOT NULL,
    n_bytes INTEGER NOT NULL, granted INTEGER NOT NULL, opened TEXT NOT NULL, label TEXT NOT NULL, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pad (number INTEGER PRIMARY KEY REFERENCES batch (number), sealed BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of pad that left the sender's book. Its repr does not show it."""

    id: str
    value: bytearray = field(repr=False)
    label: dict[str, Any]


class PadBook:
    """An application's pads, with all its peers, in both directions. Threads, and processes, may share one book.

    Args:
        folder: The application's own; made, and private, if it is missing.
        connect: Opens the database; for tests.

    Raises:
        StoreError: The book cannot be opened, or lost its key.
    """

    def __init__(self, folder: Path, connect: Connect | None = None) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / FILE
            is_old = path.exists()
            self._sealer = Sealer(own_key(folder / KEY_FILE, needed=is_old), "noclone-pads")
            path.touch(0o600)
        except OSError as error:
            raise disk_error(folder, error) from None
        self.folder = folder
        self._database = (connect or _connect)(path)
        self._commits = GatheredCommits(self._database)
        with self._trouble():
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=FAST", f"busy_timeout={BUSY_MS}"):
                self._database.execute(f"PRAGMA {pragma}").fetchall()
            for statement in filter(str.strip, SCHEMA.split(";")):
                self._database.execute(statement)

    def add(self, peer: str, role: Role, batch_id: str, value: bytes, label: dict[str, Any]) -> None:
        """Keep a batch that both ends have, durably.

        Args:
            role: "out" to seal with, "in" to open with.
            label: What its keys stand on, as their KME says.

        Raises:
            InputError: There is one of that name.
        """
        key, sealed = self._seal(value, batch_id, peer, role)

        def work(database: Any) -> None:
            if database.execute("SELECT 1 FROM batch WHERE id = ?", (batch_id,)).fetchall():
                raise InputError(f"the pad book has a batch {batch_id} already")
            row = (batch_id, peer, role, len(value), 0, "[]", json.dumps(label), key)
            database.execute("INSERT INTO batch VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            database.execute("INSERT INTO pad SELECT number, ? FROM batch WHERE id = ?", (sealed, batch_id))

        self._durably(work)

    def stock(self, peer: str, role: Role) -> tuple[int, int]:
        """Return how many bytes of pad were never granted, and how many the smallest batch of them has."""
        query = "SELECT coalesce(sum(n_bytes), 0), coalesce(min(n_bytes), 0) FROM batch WHERE peer = ? AND role = ?"
        ((total, least),) = self._look(query + " AND granted = 0", (peer, role))
        return int(total), int(least)

    def peers(self) -> list[tuple[str, Role]]:
        """Return with whom there are pads, and in which direction."""
        return sorted(tuple(row) for row in self._look("SELECT DISTINCT peer, role FROM batch"))

    def propose(self, peer: str, n_bytes: int) -> list[str]:
        """Return batches for the receiver to grant, so many bytes of them as far as there are, the oldest first."""
        query = "SELECT id, n_bytes FROM batch WHERE peer = ? AND role = 'out' ORDER BY number"
        out: list[str] = []
        for batch_id, size in self._look(query, (peer,)):
            if n_bytes <= 0:
                break
            out.append(batch_id)
            n_bytes -= size
        return out

    def grant(self, peer: str, batch_ids: Sequence[str]) -> list[str]:
        """Note, durably, that the sender may use these batches, and return them: those that were never granted."""
        query = "UPDATE batch SET granted = 1 WHERE id = ? AND peer = ? AND role = 'in' AND granted = 0 RETURNING id"

        def work(database: Any) -> list[str]:
            rows = [database.execute(query, (batch_id, peer)).fetchall() for batch_id in dict.fromkeys(batch_ids)]
            return [found for row in rows for (found,) in row]

        return self._durably(work)

    def take(self, peer: str, proposed: Sequence[str], granted: Sequence[str]) -> list[Batch]:
        """Remove batches from the book, durably, and return those that were granted; the others are lost.

        A batch that the receiver does not grant was granted before: to this book, before it was restored.
        """
        query = "SELECT key, sealed, label FROM pad JOIN batch USING (number) "
        query += "WHERE id = ? AND peer = ? AND role = 'out'"

        def work(database: Any) -> list[Batch]:
            out = []
            for batch_id in proposed:
                for key, sealed, label in database.execute(query, (batch_id, peer)).fetchall():
                    if batch_id in granted:
                        value = self._unseal(key, sealed, batch_id, peer, "out")
                        out.append(Batch(batch_id, value, json.loads(label)))
                    _forget(database, batch_id)
            return out

        return self._durably(work)

    def label(self, peer: str, batch_id: str) -> dict[str, Any] | None:
        """Return what a received batch stands on; None if there is none, or all of it was opened."""
        query = "SELECT label FROM batch WHERE id = ? AND peer = ? AND role = 'in'"
        rows = self._look(query, (batch_id, peer))
        return json.loads(rows[0][0]) if rows else None

    def read(self, peer: str, batch_id: str) -> tuple[bytearray, list[list[int]]]:
        """Return a received batch, and which parts of it were opened before.

        Raises:
            InputError: There is none.
        """
        query = (
            "SELECT key, sealed, opened FROM pad JOIN batch USING (number) WHERE id = ? AND peer = ? AND role = 'in'"
        )
        rows = self._look(query, (batch_id, peer))
        if not rows:
            raise InputError(
                f"this book has no pad {batch_id} of {peer}",
                hint="it was opened before, or sealed with pads that this book never had; ask for it to be sealed anew",
            )
        key, sealed, opened = rows[0]
        return self._unseal(key, sealed, batch_id, peer, "in"), json.loads(opened)

    def erase(self, peer: str, parts: Sequence[tuple[str, int, int]]) -> None:
        """Note, durably, that parts of received batches were opened: they never are again. Whole ones are forgotten.

        Args:
            parts: Batch, first byte, number of bytes.
        """
        new: dict[str, list[tuple[int, int]]] = {}
        for batch_id, start, n_bytes in parts:
            new.setdefault(batch_id, []).append((start, start + n_bytes))

        def work(database: Any) -> None:
            for batch_id, ranges_now in new.items():
                query = "SELECT opened, n_bytes FROM batch WHERE id = ? AND peer = ? AND role = 'in'"
                for opened, n_bytes in database.execute(query, (batch_id, peer)).fetchall():
                    ranges = merged([*map(tuple, json.loads(opened)), *ranges_now])
                    if ranges == [(0, n_bytes)]:
                        _forget(database, batch_id)
                    else:
                        database.execute(
                            "UPDATE batch SET opened = ?, granted = 1 WHERE id = ?", (json.dumps(ranges), batch_id)
                        )

        self._durably(work)

    def tidy(self) -> None:
        """Overwrite what was opened of batches that have more: to be done when the book is closed for a while."""
        query = "SELECT number, id, peer, opened, key, sealed FROM batch JOIN pad USING (number) "
        query += "WHERE role = 'in' AND opened <> '[]'"

        def work(database: Any) -> None:
            for number, batch_id, peer, opened, key, sealed in database.execute(query).fetchall():
                value = self._unseal(key, sealed, batch_id, peer, "in")
                for start, end in json.loads(opened):
                    value[start:end] = bytes(end - start)
                key, anew = self._seal(bytes(value), batch_id, peer, "in")
                database.execute("UPDATE batch SET key = ? WHERE number = ?", (key, number))
                database.execute("UPDATE pad SET sealed = ? WHERE number = ?", (anew, number))
                erase(value)

        self._durably(work)

    def close(self) -> None:
        """Close the book."""
        self._database.close()

    def __enter__(self) -> PadBook:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _seal(self, value: bytes, batch_id: str, peer: str, role: Role) -> tuple[bytes, bytes]:
        """Seal a batch under a key of its own; return that key, sealed under the book's, and the batch."""
        key = os.urandom(KEK_BYTES)
        sealed = AESGCM(key).encrypt(bytes(NONCE_BYTES), value, None)  # one key, one use: any nonce will do
        return self._sealer.seal(key, "pads", batch_id, peer, role), sealed

    def _unseal(self, key: bytes, sealed: bytes, batch_id: str, peer: str, role: Role) -> bytearray:
        try:
            cipher = AESGCM(self._sealer.open(key, "pads", batch_id, peer, role))
            return bytearray(cipher.decrypt(bytes(NONCE_BYTES), sealed, None))
        except InvalidTag:
            raise StoreError(
                f"the batch {batch_id} of the pad book does not open: it was altered",
                hint="do not use this book; remove it at both ends and fill it anew",
            ) from None

    def _durably(self, work: Callable[[Any], Result]) -> Result:
        """Do all of some work, durably, or nothing; together with that of other threads."""
        with self._trouble():
            return self._commits.run(work)

    def _look(self, query: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        with self._trouble():
            return self._commits.look(query, parameters)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"the pad book {self.folder / FILE} cannot be used ({error})",
                hint="is there space on the disk, and is nobody else holding the book?",
            ) from None


def merged(ranges: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Join ranges [start, end) that touch or overlap."""
    out: list[tuple[int, int]] = []
    for start, end in sorted((one[0], one[1]) for one in ranges):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def _forget(database: Any, batch_id: str) -> None:
    database.execute("DELETE FROM pad WHERE number = (SELECT number FROM batch WHERE id = ?)", (batch_id,))
    database.execute("DELETE FROM batch WHERE id = ?", (batch_id,))


def _connect(path: Path) -> Any:
    return sqlite3.connect(os.fspath(path), isolation_level=None, check_same_thread=False)
