"""A store that an older program made opens with everything that it held; a newer one is refused and left alone."""

from __future__ import annotations

import os
import sqlite3
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from noclone.clock import ManualClock
from noclone.errors import KeysExhausted, StoreError
from noclone.kms import migrations
from noclone.kms.keys import Assignment, Span, key_id_of
from noclone.kms.locks import insert_rows
from noclone.kms.reservations import key_row
from noclone.kms.store import Store
from noclone.kms.tables import VERSION, block, delivery, key, meta

KEK = bytes(range(32))


def open_store(path: Path) -> Store:
    return Store.open(path, name="alder", kek=KEK, clock=ManualClock())


def test_a_store_of_version_2_opens_with_all_that_it_held(tmp_path: Path, version_2: ModuleType) -> None:
    ready, held, value = os.urandom(32 * 9), os.urandom(32 * 4), os.urandom(33)
    key_id, secret, refill = str(uuid.uuid4()), os.urandom(640), os.urandom(256)
    waiting = {key_id: value}
    version_2.build(tmp_path / "a.db", KEK, ready=ready, held=held, waiting=waiting, link_secret=secret, refill=refill)
    for _ in range(2):  # the second time it is a store of this version
        with open_store(tmp_path / "a.db") as store:
            pool = store.pool("birch", ["link"]).result()
            assert (pool.ready_out_bits, pool.ready_in_bits, pool.held_bits) == (256 * 5, 256 * 4, 256 * 4)
            assert pool.reserved_keys == 1
    with open_store(tmp_path / "a.db") as store:
        claimed = store.claim("birch", master="sae-a", slaves=["sae-b"], number=5, size_bits=256, profiles=["link"])
        keys = [key.value for run in claimed.result() for key in run.keys]
        assert keys == [ready[i : i + 32] for i in range(0, 32 * 9, 64)]
        [key] = store.collect("sae-a", "sae-b", [key_id]).result()
        assert key.value == value
        state = store.ledger("alder-birch").load(secret)
        assert state.segments == {0: (bytes(192) + secret[192:-64], 3), 6: (bytes(64) + refill[64:], 1)}
        assert (state.last_block, state.cumulative_epsilon) == (7, 2e-10)
        store.acknowledge("birch", store.held("birch").result()).result()
        with pytest.raises(KeysExhausted):
            store.claim("birch", master="sae-a", slaves=["sae-b"], number=3, size_bits=256).result()
        [run] = store.claim("birch", master="sae-a", slaves=["sae-b"], number=2, size_bits=256).result()
        assert [key.value for key in run.keys] == [held[:32], held[64:96]]


def test_a_store_of_version_3_keeps_its_profiles(tmp_path: Path, version_2: ModuleType) -> None:
    ready = os.urandom(32 * 9)
    version_2.build(tmp_path / "a.db", KEK, ready=ready)
    database = sqlite3.connect(tmp_path / "a.db")
    database.executescript("""
        ALTER TABLE block ADD COLUMN profile VARCHAR NOT NULL DEFAULT 'link';
        UPDATE block SET profile = 'paths-1';
        UPDATE meta SET value = CAST('3' AS BLOB) WHERE name = 'version';
    """)
    database.close()
    with open_store(tmp_path / "a.db") as store:
        assert store.pool("birch", ["link"]).result().ready_out_bits == 0
        claimed = store.claim("birch", master="sae-a", slaves=["sae-b"], number=5, size_bits=256, profiles=["paths-1"])
        keys = [key.value for run in claimed.result() for key in run.keys]
        assert keys == [ready[i : i + 32] for i in range(0, 32 * 9, 64)]


def test_a_migration_that_fails_leaves_the_old_store(
    tmp_path: Path, version_2: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    version_2.build(path, KEK, ready=os.urandom(320))
    before = dump(path)

    def fail(connection: object, *_: object) -> None:
        raise OperationalError("the disk is gone", None, Exception("disk I/O error"))

    last = max(migrations.STEPS)
    working = migrations.STEPS[last]
    monkeypatch.setitem(migrations.STEPS, last, lambda *a: (working(*a), fail(*a)))
    with pytest.raises(StoreError, match="disk I/O error"):
        open_store(path)
    assert dump(path) == before
    monkeypatch.undo()
    with open_store(path) as store:
        assert store.pool("birch").result().ready_out_bits == 256 * 5


@pytest.mark.parametrize(
    ("version", "words"), [(str(VERSION + 1), "knows"), ("1", "cannot be brought"), ("?", "cannot")]
)
def test_a_store_of_an_unknown_version_is_refused_and_left_alone(
    tmp_path: Path, version_2: ModuleType, version: str, words: str
) -> None:
    path = tmp_path / "a.db"
    version_2.build(path, KEK)
    database = sqlite3.connect(path)
    database.execute("UPDATE meta SET value = ? WHERE name = 'version'", (version.encode(),))
    database.commit()
    database.close()
    before = dump(path)
    with pytest.raises(StoreError, match=words) as refused:
        open_store(path)
    assert version in refused.value.message
    assert dump(path) == before


def dump(path: Path) -> list[str]:
    database = sqlite3.connect(path)
    lines = list(database.iterdump())
    database.close()
    return lines


def test_a_store_of_version_4_has_its_atoms_in_pieces_and_its_keys_in_runs(place: Any, make_key: Any) -> None:
    data = make_key(0, 32 * 150)
    values = [data.to_bytes()[i : i + 32] for i in range(0, 32 * 150, 64)]
    with Store.open(place("a"), name="birch", kek=KEK, clock=ManualClock()) as store:
        store.deposit(data, "alder").result()
        store.acknowledge("alder", store.held("alder").result()).result()
        name = str(uuid.uuid4())  # as ids were then
        store.commits.run(lambda c: make_version_4(c, store, name, data.to_bytes()))
    for _ in range(2):
        with Store.open(place("a"), name="birch", kek=KEK, clock=ManualClock()) as store:
            pool = store.pool("alder").result()
            assert (pool.ready_in_bits, pool.ready_out_bits, pool.reserved_keys) == (256 * 75, 256 * 75, 1)
    with Store.open(place("a"), name="birch", kek=KEK, clock=ManualClock()) as store:
        [old] = store.collect("sae-b", "sae-a", [name]).result()
        assert old.value == bytes(range(32))
        run = Assignment(key_id_of(Span(data.provenance.link, 0, 0, 75), 0), "r", "sae-a", ("sae-b",), 256,
                         (Span(data.provenance.link, 0, 0, 75),), 75)  # fmt: skip
        assert store.assign("alder", [run]).result() == {}
        assert [key.value for key in store.collect("sae-b", "sae-a", run.key_ids).result()] == values
        claimed = store.claim("alder", master="sae-b", slaves=["sae-a"], number=75, size_bits=256).result()
        assert b"".join(one.values for one in claimed) == b"".join(
            data.to_bytes()[i : i + 32] for i in range(32, 32 * 150, 64)
        )


def make_version_4(connection: Any, store: Store, key_id: str, data: bytes) -> None:
    """Turn a store into what version 4 would have made, with a key that waits for its slave."""
    run = connection.exec_driver_sql
    blob = "BYTEA" if connection.dialect.name == "postgresql" else "BLOB"
    keyring, row = store.session.keyring, connection.execute(select(block)).one()
    sealed, number = keyring.seal(bytes(range(32)), "key", key_id, "alder", "slave")
    promise = Assignment(key_id, "r", "sae-a", ("sae-b",), 256, (Span(row.link, 0, 400, 1),))
    insert_rows(connection, key, [
        {**key_row(promise, "alder", "slave", 0.0, 9e9), "sealed": sealed, "data_key": number}
    ])  # fmt: skip
    waiting = {"key_id": key_id, "recipient": "sae-b", "delivered_s": None, "collected": None}
    insert_rows(connection, delivery, [waiting])
    for statement in (
        'ALTER TABLE "key" DROP COLUMN number',
        'ALTER TABLE "key" DROP COLUMN waiting',
        "ALTER TABLE delivery DROP COLUMN collected",
        "DROP TABLE piece",
        f"CREATE TABLE atom (block_id INTEGER, direction INTEGER, position INTEGER, sealed {blob} NOT NULL, "
        "PRIMARY KEY (block_id, direction, position))",
    ):
        run(statement)
    if connection.dialect.name == "postgresql":
        run('ALTER TABLE "key" ALTER COLUMN key_id TYPE VARCHAR COLLATE "default"')
        run('ALTER TABLE delivery ALTER COLUMN key_id TYPE VARCHAR COLLATE "default"')
    opener = keyring.block(row.dek, "birch", "alder", row.link, row.number)
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    for i in range(len(data) // 32):
        nonce = (i % 2).to_bytes(4, "big") + (i // 2).to_bytes(8, "big")
        sealed = opener._cipher.encrypt(nonce, data[32 * i : 32 * i + 32], opener._context)
        run(f"INSERT INTO atom VALUES ({row.id}, {i % 2}, {i // 2}, {mark})", (sealed,))
    connection.execute(update(meta).where(meta.c.name == "version").values(value=b"4"))
