"""Several workers on one PostgreSQL: no key twice, none lost, and a worker that is gone can do nothing any more."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from noclone.errors import KeysExhausted, StoreError
from noclone.kms.keys import Refused
from noclone.kms.store import Store
from noclone.kms.tables import block, key, worker
from noclone.records import SecretKey

KEK = bytes(32)
LOAD = Path(__file__).with_name("worker_load.py")
MakeKey = Callable[..., SecretKey]


def open_alder(url: Any) -> Store:
    return Store.open(url, name="alder", kek=KEK)


def open_birch(url: Any) -> Store:
    return Store.open(url, name="birch", kek=KEK)


def fill(a: Store, b: Store, make_key: MakeKey, blocks: int, n_bytes: int) -> None:
    for number in range(blocks):
        secret = make_key(number, n_bytes)
        a.deposit(secret, "birch").result()
        b.deposit(secret, "alder").result()
    a.acknowledge("birch", b.acknowledge("alder", a.held("birch").result()).result()).result()


def settle(a: Store, b: Store) -> list[str]:
    """Do as `Kme.settle` does."""
    doubtful = [key_id for key_id, _ in a.undelivered("birch").result()]
    b.void("alder", doubtful).result()
    a.give_up(doubtful).result()
    return doubtful


def test_workers_under_load_and_one_killed_half_way(postgres: Any, tmp_path: Path, make_key: MakeKey) -> None:
    alder, birch = postgres.url(), postgres.url()
    with open_alder(alder) as a, open_birch(birch) as b:
        fill(a, b, make_key, blocks=6, n_bytes=64 * 100)
        logs = [tmp_path / f"worker-{n}" for n in range(3)]
        workers = [
            subprocess.Popen(
                [sys.executable, str(LOAD), alder, birch, str(log), "40"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for log in logs
        ]
        try:
            for process in workers:
                assert process.stdout is not None
                assert process.stdin is not None
                assert process.stdout.readline() == b"ready\n"
            for process in workers:
                process.stdin.write(b"go\n")
                process.stdin.flush()
            while not logs[0].exists() or len(logs[0].read_bytes()) < 1500:
                assert workers[0].poll() is None
                time.sleep(0.005)
            workers[0].kill()
            for process in workers[1:]:
                assert process.wait(60) == 0
        finally:
            for process in workers:
                process.kill()
                process.wait(10)
                process.stdin.close()
                process.stdout.close()
        seen = [json.loads(line) for log in logs for line in log.read_text().splitlines() if line.endswith("]")]
        examine(a, b, seen)


def examine(a: Store, b: Store, seen: list[list[str]]) -> None:
    masters = {key_id: value for who, key_id, value in seen if who == "master"}
    slaves = {key_id: value for who, key_id, value in seen if who == "slave"}
    assert len(masters) + len(slaves) == len(seen), "somebody got a key twice"
    assert len(set(masters.values())) == len(masters), "a byte is in two keys"
    assert all(masters[key_id] == value for key_id, value in slaves.items())
    assert len(masters) > 80
    voided = settle(a, b)
    assert not set(voided) & set(masters)
    assert settle(a, b) == []
    lost = 0
    for key_id in set(masters) - set(slaves):
        try:
            [got] = b.collect("sae-b", "sae-a", [key_id]).result()
        except Refused:
            lost += 1  # collected by the worker that was killed before it could tell
        else:
            assert got.value.hex() == masters[key_id]
    assert lost <= 3
    with pytest.raises(KeysExhausted):
        a.claim("birch", master="sae-a", slaves=["sae-b"], number=601, size_bits=256).result()
    account = a.account("alder-birch")
    assert account.promised_bits == 0
    assert account.ready_bits + account.delivered_bits + account.burned_bits == account.deposited_bits
    assert account.burned_bits <= 256 * 3
    assert account.delivered_bits - 256 * len(masters) <= 256 * 3  # delivered, and killed before it was noted


def test_a_worker_settles_its_own_and_the_dead_ones_and_nobody_elses(postgres: Any, make_key: MakeKey) -> None:
    alder, birch = postgres.url(), postgres.url()
    with open_alder(alder) as a, open_birch(birch) as b, open_alder(alder) as other:
        fill(a, b, make_key, 1, 640)
        gone = open_alder(alder)
        claims = {}
        for name, store in (("a", a), ("other", other), ("gone", gone)):
            [claims[name]] = store.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        b.assign("alder", [one.assignment for one in claims.values()]).result()
        in_doubt = {key_id for key_id, _ in a.undelivered("birch").result()}
        assert in_doubt == {claims["a"].assignment.key_id}
        break_connection(postgres, gone)
        in_doubt = {key_id for key_id, _ in a.undelivered("birch").result()}
        assert in_doubt == {claims["a"].assignment.key_id, claims["gone"].assignment.key_id}
        other.deliver_to_master([claims["other"].assignment.key_id], "sae-a").result()
        with pytest.raises(StoreError, match="delivered twice, or after its end"):  # it is another worker now
            gone.deliver_to_master([claims["gone"].assignment.key_id], "sae-a").result()
        settle(a, b)
        [fresh] = gone.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        assert fresh.assignment.key_id not in {one.assignment.key_id for one in claims.values()}
        gone.close()
        states = select(worker.c.state).order_by(worker.c.id)
        assert a.commits.run(lambda c: c.execute(states).scalars().all()) == ["working", "working", "fenced", "ended"]


def break_connection(postgres: Any, store: Store) -> None:
    pid = store.commits.run(lambda c: c.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    postgres.query(f"SELECT pg_terminate_backend({pid})")
    while postgres.query(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"):
        time.sleep(0.01)


def test_workers_take_different_blocks_and_wait_for_each_other_before_they_say_no(
    postgres: Any, make_key: MakeKey
) -> None:
    alder, birch = postgres.url(), postgres.url()
    with open_alder(alder) as a, open_birch(birch) as b, open_alder(alder) as other:
        fill(a, b, make_key, 2, 640)
        locked, release = threading.Event(), threading.Event()

        def hold(connection: Any) -> None:
            connection.execute(select(block.c.id).where(block.c.number == 0).with_for_update()).all()
            locked.set()
            release.wait(20)

        held = other.commits.submit(hold)
        assert locked.wait(10)
        first = a.claim("birch", master="sae-a", slaves=["sae-b"], number=3, size_bits=256).result(10)
        assert {span.block for one in first for span in one.assignment.spans} == {1}
        waiting = a.claim("birch", master="sae-a", slaves=["sae-b"], number=17, size_bits=256)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        release.set()
        held.result(10)
        assert sum(run.assignment.number for run in waiting.result(10)) == 17
        with pytest.raises(KeysExhausted):
            a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result(10)


def test_two_workers_that_claim_everything_at_once_get_all_of_it(postgres: Any, make_key: MakeKey) -> None:
    """Near exhaustion workers wait in the order of the blocks: no deadlock, no refusal while key is left."""
    alder, birch = postgres.url(), postgres.url()
    with open_alder(alder) as a, open_birch(birch) as b, open_alder(alder) as other:
        fill(a, b, make_key, 10, 64 * 4)
        got: list[str] = []

        def ask(store: Store) -> None:
            for _ in range(10):
                claimed = store.claim("birch", master="sae-a", slaves=["sae-b"], number=2, size_bits=256).result()
                got.extend(key.value.hex() for one in claimed for key in one.keys)

        threads = [threading.Thread(target=ask, args=(store,)) for store in (a, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == len(set(got)) == 40
        left = a.commits.run(lambda c: c.execute(select(block.c.state, block.c.left_0, block.c.open_0)).all())
        assert set(left) == {("ready", 0, 0)}


def test_the_same_promise_at_two_workers_counts_once(postgres: Any, make_key: MakeKey) -> None:
    alder, birch = postgres.url(), postgres.url()
    with open_alder(alder) as a, open_birch(birch) as b, open_birch(birch) as other:
        fill(a, b, make_key, 1, 64 * 20)
        for _ in range(10):
            [one] = a.claim("birch", master="sae-a", slaves=["sae-b"], number=2, size_bits=256).result()
            futures = [store.assign("alder", [one.assignment]) for store in (b, other)]
            assert [future.result() for future in futures] == [{}, {}]
        assert b.pool("alder").result().reserved_keys == 20


def test_a_server_that_crashes_keeps_what_it_said_was_durable(postgres: Any, make_key: MakeKey) -> None:
    alder, birch = postgres.url(), postgres.url()
    with open_alder(alder) as a, open_birch(birch) as b:
        fill(a, b, make_key, 1, 64 * 20)
        claimed = [
            one
            for _ in range(4)
            for one in a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        ]
        assert b.assign("alder", [one.assignment for one in claimed]).result() == {}
        ids = [one.assignment.key_id for one in claimed]
        a.deliver_to_master(ids[:2], "sae-a").result()
        b.collect("sae-b", "sae-a", ids[:1]).result()
        postgres.crash()
        with pytest.raises(StoreError):
            b.collect("sae-b", "sae-a", ids[1:2]).result()
        postgres.start()
        with pytest.raises(Refused):
            b.collect("sae-b", "sae-a", ids[:1]).result()
        [got] = b.collect("sae-b", "sae-a", ids[1:2]).result()
        assert got.value == claimed[1].values
        assert sorted(settle(a, b)) == sorted(ids[2:])
        fresh = a.claim("birch", master="sae-a", slaves=["sae-b"], number=16, size_bits=256).result()
        assert not {key.value for one in fresh for key in one.keys} & {one.values for one in claimed}


def test_a_server_without_fsync_is_refused(postgres: Any) -> None:
    postgres.query("ALTER SYSTEM SET fsync = off")
    try:
        postgres.query("ALTER SYSTEM RESET fsync")
        postgres.query("ALTER SYSTEM SET full_page_writes = off")
        postgres.query("SELECT pg_reload_conf()")
        while postgres.query("SHOW full_page_writes") != [("off",)]:
            time.sleep(0.01)
        with pytest.raises(StoreError, match="full_page_writes off"):
            open_alder(postgres.url())
    finally:
        postgres.query("ALTER SYSTEM RESET full_page_writes")
        postgres.query("SELECT pg_reload_conf()")
        while postgres.query("SHOW full_page_writes") != [("on",)]:
            time.sleep(0.01)


def test_a_url_that_leads_nowhere_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened") as refused:
        open_alder(f"postgresql+psycopg://noclone@/postgres?host={tmp_path}")
    assert "server running" in refused.value.hint


def test_a_sqlite_worker_after_a_crash_is_another_one(tmp_path: Path, make_key: MakeKey) -> None:
    with open_alder(tmp_path / "a.db") as a, open_birch(tmp_path / "b.db") as b:
        fill(a, b, make_key, 1, 640)
        [claimed] = a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        a.commits.run(lambda c: c.execute(update(key).values(worker=99)))
        with pytest.raises(StoreError):
            a.deliver_to_master([claimed.assignment.key_id], "sae-a").result()
        assert [key_id for key_id, _ in a.undelivered("birch").result()] == [claimed.assignment.key_id]
