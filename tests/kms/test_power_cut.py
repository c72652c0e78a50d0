"""Power cuts: whatever unsynced sectors the disk keeps or loses, no delivered key comes back and no promise is lost.

A virtual file system under SQLite (apsw) records each write, sync, truncation and deletion. A cut is a moment in that
record: what was synced is there, of what was not each 512-byte sector is kept or lost at random. As SQLite tests itself
(its test6.c).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from noclone.clock import ManualClock
from noclone.errors import StoreError
from noclone.kms.keys import Refused
from noclone.kms.store import Store
from noclone.records import SecretKey

SECTOR = 512
KEK = {"alder": bytes(32), "birch": bytes(range(32))}
Record = list[tuple[Any, ...]]


class Disk(apsw.VFS):
    """A file system that keeps a record. The record also takes what applications were told, in between."""

    def __init__(self, name: str) -> None:
        self.record: Record = []
        self.vfs = name
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return File(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:
        self.record.append(("delete", Path(name).name))
        super().xDelete(name, sync)


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self.disk = disk
        self.name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary").name
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.disk.record.append(("write", self.name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self.disk.record.append(("truncate", self.name, size))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self.disk.record.append(("sync", self.name))
        super().xSync(flags)


class Cursor:
    """The little of Python's database interface that SQLAlchemy uses."""

    def __init__(self, connection: apsw.Connection, synchronous: str) -> None:
        self.connection = connection
        self.synchronous = synchronous
        self.arraysize = 1
        self.lastrowid, self.rowcount = 0, -1
        self.description: Any = None
        self.rows: list[Any] = []

    def execute(self, sql: str, parameters: Any = ()) -> None:
        sql = sql.replace("synchronous=FULL", f"synchronous={self.synchronous}")
        before = self.connection.total_changes()
        cursor = self.connection.cursor()
        cursor.exec_trace = self._look
        found = cursor.execute(sql, tuple(parameters))
        self.rows = list(found)
        self.rowcount = self.connection.total_changes() - before
        self.lastrowid = self.connection.last_insert_rowid()

    def _look(self, cursor: apsw.Cursor, *_: Any) -> bool:
        """Note the columns before the first row is fetched: afterwards there is none to ask."""
        self.description = tuple((column[0],) + (None,) * 6 for column in cursor.get_description()) or None
        return True

    def executemany(self, sql: str, many: Any) -> None:
        for parameters in many:
            self.connection.cursor().execute(sql, tuple(parameters))

    def fetchall(self) -> list[Any]:
        rows, self.rows = self.rows, []
        return rows

    def fetchone(self) -> Any:
        return self.rows.pop(0) if self.rows else None

    def close(self) -> None:
        self.rows = []


class Database:
    """A connection in the shape of the standard library's."""

    def __init__(self, path: Path, disk: Disk, synchronous: str) -> None:
        self.raw = apsw.Connection(str(path), vfs=disk.vfs)
        self.synchronous = synchronous
        self.isolation_level = None

    def create_function(self, *_: Any, **__: Any) -> None:
        return

    def cursor(self) -> Cursor:
        return Cursor(self.raw, self.synchronous)

    def commit(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("COMMIT")

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")

    def close(self) -> None:
        self.raw.close()


def after_cut(record: Record, moment: int, luck: random.Random) -> Iterator[tuple[str, bytes]]:
    """Return the files that are found after a power cut at a moment of the record."""
    durable: dict[str, bytearray] = {}
    unsynced: dict[str, list[tuple[Any, ...]]] = {}
    for operation, name, *rest in record[:moment]:
        if operation == "sync":
            content = durable.setdefault(name, bytearray())
            for old in unsynced.pop(name, []):
                apply(content, old, 1.0, luck)
        elif operation == "delete":
            durable.pop(name, None)
            unsynced.pop(name, None)
        elif operation in ("write", "truncate"):
            unsynced.setdefault(name, []).append((operation, *rest))
    for name, changes in unsynced.items():
        content = durable.setdefault(name, bytearray())
        share = luck.choice((0.0, 0.5, 0.9, 1.0))
        for change in changes:
            apply(content, change, share, luck)
    for name, content in durable.items():
        yield name, bytes(content)


def apply(content: bytearray, change: tuple[Any, ...], share: float, luck: random.Random) -> None:
    """Let a change reach the disk: each sector of it with probability `share`."""
    if change[0] == "truncate":
        if luck.random() < share:
            del content[change[1] :]
        return
    _, offset, data = change
    for start in range(0, len(data), SECTOR):
        if luck.random() < share:
            piece, place = data[start : start + SECTOR], offset + start
            content.extend(bytes(max(0, place + len(piece) - len(content))))
            content[place : place + len(piece)] = piece


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The record of two KMEs as they are."""
    return make_history(tmp_path_factory.mktemp("disk"), "FULL")


def make_history(folder: Path, synchronous: str) -> dict[str, Record]:
    """Record two KMEs that serve keys, with what their applications were told."""
    disks = {name: Disk(f"cut-{name}-{synchronous}-{os.getpid()}") for name in KEK}
    stores = {}
    for name, disk in disks.items():
        path = folder / f"{name}.db"
        stores[name] = Store.open(
            path,
            name=name,
            kek=KEK[name],
            clock=ManualClock(),
            creator=lambda path=path, disk=disk: Database(path, disk, synchronous),
        )
    a, b = stores["alder"], stores["birch"]
    for number in range(3):
        key = make_block(number)
        a.deposit(key, "birch").result()
        b.deposit(key, "alder").result()
        a.acknowledge("birch", b.acknowledge("alder", a.held("birch").result()).result()).result()
        for _ in range(6):
            claimed = a.claim("birch", master="sae-a", slaves=["sae-b"], number=2, size_bits=512).result()
            assert b.assign("alder", [r.assignment for r in claimed]).result() == {}
            keys = [key for r in claimed for key in r.keys]
            ids = [key.key_id for key in keys]
            disks["birch"].record.append(("told", "promised", ids))
            a.deliver_to_master([r.assignment.key_id for r in claimed], "sae-a").result()
            disks["alder"].record.append(("told", "delivered", [(key.key_id, key.value) for key in keys]))
            got = b.collect("sae-b", "sae-a", ids[:1]).result()
            disks["birch"].record.append(("told", "collected", [key.key_id for key in got]))
    records = {name: list(disk.record) for name, disk in disks.items()}
    for store in stores.values():
        store.close()
    return records


def make_block(number: int) -> SecretKey:
    from noclone.bits import words_from_bytes
    from noclone.records import BlockProvenance, Origin

    data = random.Random(number).randbytes(2048)
    origin = BlockProvenance(
        "l", "alder", "birch", number, "p", Origin("simulated"), "x", "fixed-length", 0.0, 0.0, "b", 0.0
    )
    return SecretKey(words_from_bytes(data), 8 * len(data), origin)


def reopen(folder: Path, name: str, files: dict[str, bytes]) -> Store | None:
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    try:
        return Store.open(folder / f"{name}.db", name=name, kek=KEK[name], clock=ManualClock())
    except StoreError:
        return None


def told(record: Record, moment: int, what: str) -> list[Any]:
    return [one for entry in record[:moment] if entry[:2] == ("told", what) for one in entry[2]]


def examine_slave(store: Store, record: Record, moment: int) -> None:
    collected = told(record, moment, "collected")
    for key_id in collected:
        with pytest.raises(Refused):
            store.collect("sae-b", "sae-a", [key_id]).result()
    in_flight = {one for entry in record[moment:] if entry[:2] == ("told", "collected") for one in entry[2][:1]}
    missing = 0
    for key_id in set(told(record, moment, "promised")) - set(collected):
        try:
            store.collect("sae-b", "sae-a", [key_id]).result()
        except Refused:
            assert key_id in in_flight  # its collection was durable, the answer never left
            missing += 1
    assert missing <= 1


def examine_master(store: Store, record: Record, moment: int) -> None:
    used = {value[i : i + 32] for _, value in told(record, moment, "delivered") for i in range(0, len(value), 32)}
    bits = store.pool("birch").result().ready_out_bits
    if bits >= 256:
        number = min(bits // 256, 128)
        fresh = store.claim("birch", master="sae-a", slaves=["sae-b"], number=number, size_bits=256).result()
        assert not used & {key.value for reservation in fresh for key in reservation.keys}


def cut(history: dict[str, Record], folder: Path, count: int, seed: int) -> int:
    """Cut the power `count` times at each end; return how many stores opened again."""
    luck = random.Random(seed)
    examine: dict[str, Callable[[Store, Record, int], None]] = {"alder": examine_master, "birch": examine_slave}
    opened = 0
    for n in range(count):
        for name, record in history.items():
            moment = luck.randrange(len(record)) + 1
            store = reopen(folder / f"{name}-{n}", name, dict(after_cut(record, moment, luck)))
            if store is None:  # allowed only before anybody was told anything
                assert not [entry for entry in record[:moment] if entry[0] == "told"]
                continue
            opened += 1
            with store:
                examine[name](store, record, moment)
    return opened


def test_no_power_cut_brings_a_key_back_or_loses_a_promise(history: dict[str, Record], tmp_path: Path) -> None:
    assert cut(history, tmp_path, 40, seed=1) > 40


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_power_cut_of_thousands_does(history: dict[str, Record], tmp_path: Path) -> None:
    for seed in range(10):
        assert (
            cut(history, tmp_path / str(seed) if (tmp_path / str(seed)).mkdir() is None else tmp_path, 100, seed) > 100
        )


def test_the_usual_advice_would_not_do(tmp_path: Path) -> None:
    """With synchronous=NORMAL, which passes every `kill -9`, the same cuts break the rules: so the harness bites."""
    lazy = make_history(tmp_path, "NORMAL")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        cut(lazy, tmp_path, 100, seed=1)
