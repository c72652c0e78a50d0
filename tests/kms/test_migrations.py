"""A store that an older program made opens with everything that it held; a newer one is refused and left alone."""

from __future__ import annotations

import os
import sqlite3
import uuid
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy.exc import OperationalError

from noclone.clock import ManualClock
from noclone.errors import KeysExhausted, StoreError
from noclone.kms import migrations
from noclone.kms.store import Store
from noclone.kms.tables import VERSION

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
