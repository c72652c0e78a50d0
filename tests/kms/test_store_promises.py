"""Promises between two key stores: restored ends, repeated and malformed ones, keys that are void."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from noclone.clock import ManualClock
from noclone.errors import StoreError
from noclone.kms.keys import Assignment, Refused, Span, key_id_of
from noclone.kms.store import Store
from tests.kms.two_stores import KEK, MakeKey, Place, dec, deposit, enc, pool_of_two


def test_a_master_restored_from_a_backup_is_refused_by_the_other_end(tmp_path: Path, make_key: MakeKey) -> None:
    a, b = pool_of_two(tmp_path, make_key(0))
    enc(a, b, 3)
    a.close()
    shutil.copy(tmp_path / "a.db", tmp_path / "backup.db")
    a = Store.open(tmp_path / "a.db", name="alder", kek=KEK, clock=ManualClock())
    delivered = enc(a, b, 5)
    dec(b, delivered)
    a.close()
    a = Store.open(tmp_path / "backup.db", name="alder", kek=KEK, clock=ManualClock())
    with a, b:
        again = a.claim("birch", master="sae-a", slaves=["sae-b"], number=2, size_bits=256).result()
        assert {r.assignment.key_id for r in again} <= {key.key_id for key in delivered}
        refused = b.assign("alder", [r.assignment for r in again]).result()
        assert {refusal.reason for refusal in refused.values()} == {"already-assigned"}
        a.give_up(list(refused), [(r.assignment, refused[r.assignment.key_id]) for r in again]).result()
        fresh = enc(a, b, 4)  # what the peer saw promised is burned: the next claim is good at once
        assert not {key.value for key in fresh} & {key.value for key in delivered}
        assert dec(b, fresh) == [key.value for key in fresh]


def test_a_slave_restored_from_a_backup_knows_no_block_that_came_later(tmp_path: Path, make_key: MakeKey) -> None:
    a, b = pool_of_two(tmp_path, make_key(0, 64))
    b.close()
    shutil.copy(tmp_path / "b.db", tmp_path / "backup.db")
    b = Store.open(tmp_path / "b.db", name="birch", kek=bytes(32), clock=ManualClock())
    deposit(a, b, make_key(1))
    enc(a, b)
    b.close()
    b = Store.open(tmp_path / "backup.db", name="birch", kek=bytes(32), clock=ManualClock())
    with a, b:
        claimed = a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        refused = b.assign("alder", [r.assignment for r in claimed]).result()
        assert [refusal.reason for refusal in refused.values()] == ["unknown-block"]
        a.give_up(list(refused), [(r.assignment, refused[r.assignment.key_id]) for r in claimed]).result()
        assert [name.number for name in a.held("birch").result()] == [1]


def test_the_same_promise_counts_once_and_another_one_is_refused(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        [claimed] = a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        promise = claimed.assignment
        assert b.assign("alder", [promise]).result() == {}
        assert b.assign("alder", [promise]).result() == {}
        other = Assignment(promise.key_id, "another", "sae-a", ("sae-b2",), 256, promise.spans)
        assert b.assign("alder", [other]).result()[promise.key_id].reason == "already-assigned"
        assert dec(b, list(claimed.keys)) == [claimed.values]


@pytest.mark.parametrize(
    "change",
    [
        {"key_id": str(uuid.UUID(int=7))},
        {"size_bits": 255},
        {"size_bits": 264},
        {"size_bits": 0},
        {"slaves": ("sae-b", "sae-b")},
        {"spans": (Span("alder-birch", 0, 0, 2),)},
        {"spans": (Span("alder-birch", 0, 0, 1), Span("alder-birch", 0, 0, 1)), "size_bits": 512},
    ],
)
def test_a_malformed_promise_is_refused_and_takes_nothing(
    place: Place, make_key: MakeKey, change: dict[str, object]
) -> None:
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        before = b.pool("alder").result()
        fields = {
            "key_id": key_id_of(Span("alder-birch", 0, 0, 1), 0),
            "request": "r",
            "master": "sae-a",
            "slaves": ("sae-b",),
            "size_bits": 256,
            "spans": (Span("alder-birch", 0, 0, 1),),
        }
        promise = Assignment(**{**fields, **change})  # type: ignore[arg-type]
        assert [r.reason for r in b.assign("alder", [promise]).result().values()] == ["malformed"]
        assert b.pool("alder").result() == before


def test_a_voided_key_reaches_nobody_however_late_its_promise_comes(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        early, late = (
            a.claim("birch", master="sae-a", slaves=["sae-b"], number=number, size_bits=256).result()[0]
            for number in (1, 2)
        )
        assert b.assign("alder", [early.assignment]).result() == {}
        undelivered = [key_id for key_id, _ in a.undelivered("birch").result()]
        assert sorted(undelivered) == sorted([early.assignment.key_id, late.assignment.key_id])
        b.void("alder", undelivered).result()
        a.give_up(undelivered).result()
        assert list(b.assign("alder", [late.assignment]).result()) == [late.assignment.key_id]
        for claimed in (early, late):
            with pytest.raises(Refused):
                dec(b, list(claimed.keys))
            with pytest.raises(StoreError):
                a.deliver_to_master([claimed.assignment.key_id], "sae-a").result()
        assert a.undelivered("birch").result() == []


def test_a_delivered_key_cannot_be_voided_by_another_peer(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        keys = enc(a, b)
        b.void("cedar", [keys[0].key_id]).result()
        assert dec(b, keys) == [keys[0].value]
