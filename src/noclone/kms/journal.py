"""The audit log: what the store did for whom, in the same transaction as the deed; no entry, no deed.

In: entries, noted while a transaction runs.  Out: one row for each transaction, chained to the one before by a keyed
hash, whose key the KEK seals: without the KEK nobody can alter, drop or add a row unseen. Each worker has a chain of
its own, so that none waits for another; a new chain begins with the heads of those before it, so that none can lose its
end. No key bytes, nor anything computed from them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from noclone.kms.keyring import Keyring
from noclone.kms.sealing import encode
from noclone.kms.tables import audit

HEADS_MAX = 64
IDS_SHOWN = 8
NEW_ROW = insert(audit)


class Journal:
    """One worker's chain. Used by the thread that commits, and by nobody else."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.worker = 0
        self._number = -1
        self._digest = b""
        self._written: tuple[int, bytes] | None = None
        self._entries: list[dict[str, Any]] = []

    def begin(self, connection: Connection, worker: int, what: str, **fields: Any) -> None:
        """Start a worker's chain, in the transaction that made the worker."""
        self.worker, self._number, self._digest, self._written, self._entries = worker, -1, b"", None, []
        self.note(what, heads=_heads(connection, worker), **fields)

    def note(self, what: str, **fields: Any) -> None:
        """Add an entry to the transaction under way."""
        self._entries.append({"what": what, **fields})

    def write(self, connection: Connection, now_s: float) -> None:
        """Write the row of the transaction under way, if it has entries; an error ends the transaction."""
        if not self._entries:
            return
        text = json.dumps(self._entries, separators=(",", ":"))
        number = self._number + 1
        digest = _link(self.keyring.chain_key(), self._digest, self.worker, number, now_s, text)
        row = {"worker": self.worker, "number": number, "time_s": now_s, "entries": text, "digest": digest}
        connection.execute(NEW_ROW, [row])
        self._written = number, digest

    def committed(self) -> None:
        """The transaction is durable."""
        if self._written is not None:
            self._number, self._digest = self._written
        self.forget()

    def forget(self) -> None:
        """The transaction came to nothing, and so do its entries."""
        self._written, self._entries = None, []


def ids(key_ids: Sequence[str]) -> Any:
    """Name keys: a few by their ids, many by their number and a hash of the ids in order."""
    if len(key_ids) <= IDS_SHOWN:
        return list(key_ids)
    return {"count": len(key_ids), "sha256": hashlib.sha256("\n".join(key_ids).encode()).hexdigest()}


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the audit log."""

    worker: int
    number: int
    time_s: float
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the audit log is whole. `problems` is empty if it is."""

    rows: int
    chains: int
    problems: tuple[str, ...]


def lines(connection: Connection) -> Iterator[Line]:
    """Yield all entries in the order of time."""
    order = (audit.c.time_s, audit.c.worker, audit.c.number)
    for row in connection.execute(select(audit).order_by(*order)):
        for entry in json.loads(row.entries):
            yield Line(row.worker, row.number, row.time_s, entry)


def verify(connection: Connection, key: bytes) -> Verdict:
    """Check every link of every chain, and that each reaches as far as later chains say."""
    problems: list[str] = []
    heads: dict[int, tuple[int, bytes]] = {}
    digests: dict[tuple[int, int], bytes] = {}
    expected: list[tuple[int, int, str]] = []
    rows = 0
    for row in connection.execute(select(audit).order_by(audit.c.worker, audit.c.number)):
        rows += 1
        number, previous = heads.get(row.worker, (-1, b""))
        digest = bytes(row.digest)
        if row.number != number + 1:
            problems.append(f"worker {row.worker}: rows {number + 1} to {row.number - 1} are missing")
        elif not hmac.compare_digest(digest, _link(key, previous, row.worker, row.number, row.time_s, row.entries)):
            problems.append(f"worker {row.worker}: row {row.number} was altered, or stands in another's place")
        heads[row.worker] = row.number, digest
        for entry in json.loads(row.entries) if row.number == 0 else ():
            expected += [(int(worker), at, head) for worker, (at, head) in entry.get("heads", {}).items()]
            digests |= {(int(worker), at): b"" for worker, (at, _) in entry.get("heads", {}).items()}
    for worker, at in digests:
        found = connection.execute(
            select(audit.c.digest).where(audit.c.worker == worker, audit.c.number == at)
        ).scalar()
        digests[worker, at] = bytes(found or b"")
    for worker, at, head in expected:
        if digests[worker, at].hex() != head:
            problems.append(f"worker {worker}: its chain does not reach row {at}, which a later worker saw")
    return Verdict(rows, len(heads), tuple(dict.fromkeys(problems)))


def _heads(connection: Connection, worker: int) -> dict[int, tuple[int, str]]:
    """Return where the chains of the last workers before this one end."""
    last = select(audit.c.worker, func.max(audit.c.number).label("number")).where(audit.c.worker < worker)
    found = connection.execute(last.group_by(audit.c.worker).order_by(audit.c.worker.desc()).limit(HEADS_MAX)).all()
    out = {}
    for row in found:
        at = select(audit.c.digest).where(audit.c.worker == row.worker, audit.c.number == row.number)
        out[row.worker] = (row.number, bytes(connection.execute(at).scalar_one()).hex())
    return out


def _link(key: bytes, previous: bytes, worker: int, number: int, time_s: float, entries: str) -> bytes:
    bound = encode("noclone-audit-1", previous, worker, number, repr(float(time_s)), entries)
    return hashlib.blake2b(bound, key=key, digest_size=32).digest()
