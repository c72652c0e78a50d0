"""The audit log: everything is in it, nothing can be changed in it unseen, and without it nothing is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from noclone.clock import ManualClock
from noclone.errors import KeysExhausted, StoreError
from noclone.kms.keys import Refused
from noclone.kms.store import Store
from noclone.kms.tables import audit
from noclone.records import SecretKey

MakeKey = Callable[..., SecretKey]
Place = Callable[[str], Path | str]


def open_store(place: Place, name: str) -> Store:
    return Store.open(place(name), name=name, kek=bytes(32), clock=ManualClock())


def two(place: Place, make_key: MakeKey) -> tuple[Store, Store]:
    a, b = open_store(place, "alder"), open_store(place, "birch")
    secret = make_key(0, 32 * 40)
    a.deposit(secret, "birch").result()
    b.deposit(secret, "alder").result()
    a.acknowledge("birch", b.acknowledge("alder", a.held("birch").result()).result()).result()
    return a, b


def serve(a: Store, b: Store, number: int = 1) -> list[Any]:
    claimed = a.claim("birch", master="sae-a", slaves=["sae-b"], number=number, size_bits=256).result()
    b.assign("alder", [one.assignment for one in claimed]).result()
    a.deliver_to_master([one.assignment.key_id for one in claimed], "sae-a").result()
    keys = [key for one in claimed for key in one.keys]
    b.collect("sae-b", "sae-a", [key.key_id for key in keys]).result()
    return keys


def what(store: Store) -> list[str]:
    return [line.entry["what"] for line in store.audit_lines()]


def test_every_deed_and_refusal_has_its_entry_and_none_has_key(place: Place, make_key: MakeKey) -> None:
    a, b = two(place, make_key)
    with a, b:
        keys = serve(a, b) + serve(a, b, 10)
        with pytest.raises(KeysExhausted):
            a.claim("birch", master="sae-a", slaves=["sae-b"], number=99, size_bits=256).result()
        for who in ("sae-b", "sae-b2"):
            with pytest.raises(Refused):
                b.collect(who, "sae-a", [keys[0].key_id]).result()
        assert what(a) == ["opened", "deposited"] + ["claimed", "delivered"] * 2 + ["claim refused"]
        assert what(b) == ["opened", "deposited"] + ["promised", "delivered"] * 2 + ["delivery refused"] * 2
        entries = [line.entry for line in b.audit_lines()]
        assert entries[3] == {
            "what": "delivered", "to": "sae-b", "role": "slave", "master": "sae-a", "keys": [keys[0].key_id]
        }  # fmt: skip
        assert entries[5]["keys"]["count"] == 10
        assert [entry["why"] for entry in entries[-2:]] == ["not-found", "not-named"]
        promised = {"request", "peer", "master", "slaves", "what", "number", "keys"}
        assert (entries[4].keys(), entries[4]["number"]) == (promised, 10)
        text = json.dumps([line.entry for store in (a, b) for line in store.audit_lines()])
        assert not any(key.value.hex() in text for key in keys)
        for store in (a, b):
            assert store.verify_audit().problems == ()


def test_looking_leaves_no_entry(place: Place, make_key: MakeKey) -> None:
    a, b = two(place, make_key)
    with a, b:
        before = what(a)
        a.pool("birch").result()
        a.undelivered("birch").result()
        a.sweep().result()
        assert what(a) == before


FORBID = {
    "sqlite": ["CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END"],
    "postgresql": ["CREATE TRIGGER full_ BEFORE INSERT ON audit EXECUTE FUNCTION audit_is_append_only()"],
}
ALLOW = {"sqlite": "DROP TRIGGER full", "postgresql": "DROP TRIGGER full_ ON audit"}


def run(store: Store, *statements: str) -> None:
    """Change the database behind the journal's back."""
    session, store.commits.session = store.commits.session, None
    store.commits.run(lambda c: [c.exec_driver_sql(statement) for statement in statements] and None)
    store.commits.session = session


def test_what_cannot_be_written_down_is_not_done(place: Place, make_key: MakeKey) -> None:
    a, b = two(place, make_key)
    with a, b:
        claimed = a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        keys = serve(a, b, 1)
        ids = [one.assignment.key_id for one in claimed]
        dialect = "postgresql" if "://" in str(place("alder")) else "sqlite"
        pools = [a.pool("birch").result(), b.pool("alder").result()]
        for store in (a, b):
            run(store, *FORBID[dialect])
        attempts: list[Callable[[], Any]] = [
            lambda: a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result(),
            lambda: b.assign("alder", [one.assignment for one in claimed]).result(),
            lambda: a.deliver_to_master(ids, "sae-a").result(),
            lambda: b.collect("sae-b", "sae-a", [keys[0].key_id]).result(),
            lambda: a.give_up(ids).result(),
            lambda: b.void("alder", ids).result(),
            lambda: a.rotate_kek(bytes(range(32))),
        ]
        for attempt in attempts:
            with pytest.raises(StoreError, match=r"no room|append-only"):
                attempt()
        assert [a.pool("birch").result(), b.pool("alder").result()] == pools
        for store in (a, b):
            run(store, ALLOW[dialect])
        assert b.assign("alder", [one.assignment for one in claimed]).result() == {}
        a.deliver_to_master(ids, "sae-a").result()
        assert b.collect("sae-b", "sae-a", ids).result()[0].value == claimed[0].values
        assert a.verify_audit().problems == b.verify_audit().problems == ()


def test_the_database_itself_refuses_changes(place: Place, make_key: MakeKey) -> None:
    a, b = two(place, make_key)
    with a, b:
        for statement in ("UPDATE audit SET time_s = 0", "DELETE FROM audit"):
            with pytest.raises(StoreError, match="append-only"):
                a.commits.run(lambda c, s=statement: c.exec_driver_sql(s))


DISARM = {
    "sqlite": ["DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete"],
    "postgresql": ["DROP TRIGGER audit_append_only ON audit"],
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE audit SET entries = replace(entries, 'sae-b', 'sae-c') WHERE worker = 1 AND number = 2", "altered"),
        ("UPDATE audit SET time_s = time_s + 1 WHERE worker = 1 AND number = 2", "altered"),
        ("DELETE FROM audit WHERE worker = 1 AND number = 2", "rows 2 to 2 are missing"),
        ("DELETE FROM audit WHERE worker = 1 AND number >= 4", "does not reach row"),
        ("DELETE FROM audit WHERE worker = 1", "does not reach row"),
        ("UPDATE audit SET number = CASE number WHEN 2 THEN 30 WHEN 30 THEN 2 ELSE number END", "missing"),
    ],
)
def test_whoever_changes_it_is_found_out(place: Place, make_key: MakeKey, change: str, problem: str) -> None:
    a, b = two(place, make_key)
    with b:
        serve(a, b, 2)
        serve(a, b, 1)
        a.close()
        with open_store(place, "alder") as a:
            assert a.verify_audit().problems == ()
            assert a.verify_audit().chains == 2
            run(a, *DISARM["postgresql" if "://" in str(place("alder")) else "sqlite"], change)
            assert problem in " ".join(a.verify_audit().problems)


def test_only_the_keys_holder_can_make_a_chain(place: Place, make_key: MakeKey) -> None:
    from noclone.kms.journal import verify

    a, b = two(place, make_key)
    with a, b:
        rows = a.commits.run(lambda c: len(c.execute(select(audit)).all()))
        verdict = a.commits.run(lambda c: verify(c, bytes(32)))
        assert len(verdict.problems) == verdict.rows == rows
