"""The key store: what comes in once leaves once, sealed while it is here, gone when it has left."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from noclone.clock import ManualClock
from noclone.errors import KeysExhausted, StoreError
from noclone.kms.keys import Assignment, Refused, Span, StoredKey, key_id_of, values_of
from noclone.kms.pools import BlockName
from noclone.kms.store import Store, StoreSettings
from noclone.records import BlockProvenance, SecretKey

KEK = bytes(range(32))
MakeKey = Callable[..., SecretKey]
Place = Callable[[str], Path | str]


def pool_of_two(
    place: Place | Path, key: SecretKey, clock: ManualClock | None = None, settings: StoreSettings | None = None
) -> tuple[Store, Store]:
    clock = clock or ManualClock()
    where = (lambda name: place / f"{name}.db") if isinstance(place, Path) else place
    a = Store.open(where("a"), name="alder", kek=KEK, clock=clock, settings=settings)
    b = Store.open(where("b"), name="birch", kek=bytes(32), clock=clock, settings=settings)
    deposit(a, b, key)
    return a, b


def deposit(a: Store, b: Store, key: SecretKey) -> None:
    assert a.deposit(key, "birch").result()
    assert b.deposit(key, "alder").result()
    both = b.acknowledge("alder", a.held("birch").result()).result()
    a.acknowledge("birch", both).result()


def enc(
    a: Store, b: Store, number: int = 1, size_bits: int = 256, slaves: tuple[str, ...] = ("sae-b",)
) -> list[StoredKey]:
    """Ask for keys as a master at `a`, with the whole promise."""
    claimed = a.claim(b.name, master="sae-a", slaves=slaves, number=number, size_bits=size_bits).result()
    assert b.assign(a.name, [r.assignment for r in claimed]).result() == {}
    a.deliver_to_master([r.assignment.key_id for r in claimed], "sae-a").result()
    return [key for r in claimed for key in r.keys]


def dec(b: Store, keys: list[StoredKey], recipient: str = "sae-b") -> list[bytes]:
    return [key.value for key in b.collect(recipient, "sae-a", [key.key_id for key in keys]).result()]


@pytest.mark.parametrize(("number", "size_bits"), [(1, 256), (3, 8), (2, 1000), (5, 4096), (1, 65_536)])
def test_both_ends_get_the_same_bytes_of_the_size_asked_for(
    place: Place, make_key: MakeKey, number: int, size_bits: int
) -> None:
    a, b = pool_of_two(place, make_key(0, 32_768))
    with a, b:
        keys = enc(a, b, number, size_bits)
        assert [len(key.value) * 8 for key in keys] == [size_bits] * number
        assert dec(b, keys) == [key.value for key in keys]
        assert keys[0].provenance[0].link == "alder-birch"


def test_no_byte_of_a_block_is_in_two_keys(place: Place, make_key: MakeKey) -> None:
    block = make_key(0, 2048)
    a, b = pool_of_two(place, block)
    with a, b:
        from_a = enc(a, b, number=32)
        claimed = b.claim("alder", master="sae-b", slaves=["sae-a"], number=32, size_bits=256).result()
        assert a.assign("birch", [r.assignment for r in claimed]).result() == {}
        values = [key.value for key in from_a] + [key.value for r in claimed for key in r.keys]
        assert sorted(values) == sorted(block.to_bytes()[i : i + 32] for i in range(0, 2048, 32))
        with pytest.raises(KeysExhausted):
            a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=8).result()


def test_a_request_that_is_too_large_takes_nothing(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0, 640))
    with a, b:
        with pytest.raises(KeysExhausted, match=r"2560 bits of key .* 2816 were asked for"):
            a.claim("birch", master="sae-a", slaves=["sae-b"], number=11, size_bits=256).result()
        assert len(enc(a, b, number=10)) == 10


class Relayed:
    """A provenance of another profile, in the shape that the store asks for."""

    def __init__(self, block: BlockProvenance, profile: str) -> None:
        self.link, self.block, self.profile = block.link, block.block, profile
        self._json = block.to_json()

    def to_json(self) -> dict[str, object]:
        return self._json


def relayed(key: SecretKey, profile: str) -> SecretKey:
    return SecretKey(key.bits, key.n_bits, Relayed(key.provenance, profile))  # type: ignore[arg-type]


def test_claims_choose_by_profile_in_the_order_given(place: Place, make_key: MakeKey) -> None:
    first, second, third = make_key(0, 320), relayed(make_key(1, 640), "paths-2"), make_key(2, 320)
    a, b = pool_of_two(place, first)
    with a, b:
        deposit(a, b, second)
        deposit(a, b, third)

        def blocks(number: int, profiles: list[str] | None) -> list[int]:
            claim = a.claim("birch", master="sae-a", slaves=["sae-b"], number=number, size_bits=256, profiles=profiles)
            return [span.block for r in claim.result() for span in r.assignment.spans for _ in range(span.count)]

        assert blocks(2, ["paths-2"]) == [1, 1]
        assert blocks(6, ["link", "paths-2"]) == [0] * 5 + [2]
        assert blocks(6, ["paths-2", "link"]) == [1] * 6
        for profiles in (["paths-2", "shares-2-3"], []):
            with pytest.raises(KeysExhausted, match=r"of paths-2, shares-2-3|of no profile"):
                blocks(3, profiles)
        assert blocks(6, None) == [1] * 2 + [2] * 4
        assert [a.pool("birch", kinds).result().ready_in_bits // 256 for kinds in (["link"], ["paths-2"], None)] == [
            10,
            10,
            20,
        ]


def test_each_profile_has_room_of_its_own(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0, 320), settings=StoreSettings(capacity_bits=2560))
    with a, b:
        assert not a.wants_key("birch")
        assert a.wants_key("birch", "paths-2")
        deposit(a, b, relayed(make_key(1, 320), "paths-2"))
        assert not a.wants_key("birch", "paths-2")


def test_many_used_up_blocks_hide_nothing(tmp_path: Path, make_key: MakeKey) -> None:
    """One-sided demand leaves blocks that are ready, and empty for us."""
    a, b = pool_of_two(tmp_path, make_key(0, 64))
    with a, b:
        for number in range(1, 30):
            deposit(a, b, make_key(number, 64))
        for number in (7, 18):
            claim = a.claim("birch", master="sae-a", slaves=["sae-b"], number=number, size_bits=256).result()
            assert [span.block for r in claim for span in r.assignment.spans][-1] == (6 if number == 7 else 24)
        plan = "EXPLAIN QUERY PLAN SELECT id FROM block WHERE peer = 'birch' AND open_0 = 1 AND id > 3 ORDER BY id"
        [row] = a.commits.run(lambda c: c.exec_driver_sql(plan).all())
        assert "block_open_0" in row[-1]


def test_a_key_can_span_blocks_and_names_them(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0, 320))
    with a, b:
        deposit(a, b, make_key(1, 320))
        keys = enc(a, b, 1, 256 * 8)
        assert [block.block for block in keys[0].provenance] == [0, 1]
        assert dec(b, keys) == [keys[0].value]


def test_a_block_is_of_no_use_until_both_ends_hold_it(place: Place, make_key: MakeKey) -> None:
    key = make_key(0)
    with Store.open(place("a"), name="alder", kek=KEK) as a:
        assert a.deposit(key, "birch").result()
        assert not a.deposit(key, "birch").result()
        assert a.pool("birch").result().held_bits == key.n_bits
        with pytest.raises(KeysExhausted):
            a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        assert a.acknowledge("birch", [BlockName("alder-birch", 0, 127)]).result() == []
        assert a.acknowledge("cedar", a.held("birch").result()).result() == []
        assert a.acknowledge("birch", a.held("birch").result()).result() == [BlockName("alder-birch", 0, 128)]
        assert a.pool("birch").result().ready_out_bits == key.n_bits // 2


def test_each_named_recipient_gets_a_copy_once_and_the_last_one_erases(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        keys = enc(a, b, slaves=("sae-b", "sae-b2"))
        with pytest.raises(Refused) as stranger:
            dec(b, keys, "sae-b3")
        assert stranger.value.status == 401
        assert dec(b, keys, "sae-b2") == dec(b, keys, "sae-b") == [keys[0].value]
        for recipient in ("sae-b", "sae-b2"):
            with pytest.raises(Refused) as again:
                dec(b, keys, recipient)
            assert (again.value.status, again.value.message) == (400, "one or more keys specified are not found on KME")
        assert b.pool("alder").result().reserved_keys == 0


def test_unknown_ids_another_master_and_a_mixed_request(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        keys = enc(a, b, 2)
        for ids, master in (([str(uuid.uuid4())], "sae-a"), ([keys[0].key_id], "sae-a2")):
            with pytest.raises(Refused) as refused:
                b.collect("sae-b", master, ids).result()
            assert refused.value.status == 400
        with pytest.raises(Refused) as mixed:
            b.collect("sae-b", "sae-a", [keys[0].key_id, str(uuid.uuid4())]).result()
        assert mixed.value.status == 400
        with pytest.raises(Refused) as outsider:
            b.collect("sae-b2", "sae-a", [keys[0].key_id, str(uuid.uuid4())]).result()
        assert outsider.value.status == 401
        assert dec(b, keys) == [key.value for key in keys]


def test_a_master_gets_its_keys_once(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        keys = enc(a, b)
        with pytest.raises(StoreError, match="delivered twice"):
            a.deliver_to_master([keys[0].key_id], "sae-a").result()


def test_time_ends_atoms_and_keys(place: Place, make_key: MakeKey) -> None:
    clock = ManualClock()
    a, b = pool_of_two(place, make_key(0), clock, StoreSettings(lifetime_s=100))
    with a, b:
        keys = enc(a, b)
        clock.advance(96)
        with pytest.raises(KeysExhausted):  # the other end may be about to erase it
            a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        clock.advance(4)
        with pytest.raises(Refused) as gone:
            dec(b, keys)
        assert gone.value.status == 400
        assert (b.sweep().result().blocks, b.sweep().result().keys) == (1, 0)
        account = b.account("alder-birch")
        assert (account.ready_bits, account.promised_bits) == (0, 0)
        assert account.burned_bits == account.deposited_bits
        assert count_sealed(b) == 0


def count_sealed(store: Store) -> int:
    from sqlalchemy import func, select

    from noclone.kms.tables import key, piece

    def count(connection):  # type: ignore[no-untyped-def]
        atoms = connection.execute(select(func.count()).select_from(piece)).scalar_one()
        keys = connection.execute(select(func.count()).select_from(key).where(key.c.sealed.is_not(None))).scalar_one()
        return atoms + keys

    return store.commits.run(count)


def count_sealed_keys(store: Store) -> int:
    count = 'SELECT COUNT(*) FROM "key" WHERE sealed IS NOT NULL'
    return int(store.commits.run(lambda c: c.exec_driver_sql(count).scalar_one()))


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


def test_the_wrong_key_encryption_key_another_kme_and_another_unit_are_refused(place: Place) -> None:
    path = place("a")
    Store.open(path, name="alder", kek=KEK).close()
    with pytest.raises(StoreError, match="key-encryption key does not fit"):
        Store.open(path, name="alder", kek=bytes(32))
    with pytest.raises(StoreError, match="made for kme = alder, not birch"):
        Store.open(path, name="birch", kek=KEK)
    with pytest.raises(StoreError, match="unit_bits"):
        Store.open(path, name="alder", kek=KEK, settings=StoreSettings(unit_bits=128))
    Store.open(path, name="alder", kek=KEK).close()


def test_one_process_at_a_time_and_nothing_but_a_store(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with (
        Store.open(path, name="alder", kek=KEK),
        pytest.raises(StoreError, match="locked") as busy,
    ):
        Store.open(path, name="alder", kek=KEK)
    assert "another process" in busy.value.hint
    (tmp_path / "junk.db").write_bytes(b"this is no database at all, just some text" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(tmp_path / "junk.db", name="alder", kek=KEK)
    with pytest.raises(StoreError):
        Store.open(Path("/proc/nowhere/a.db"), name="alder", kek=KEK)


def test_no_key_lies_in_the_clear_in_any_file(tmp_path: Path, make_key: MakeKey) -> None:
    key = make_key(0, 65_536)
    a, b = pool_of_two(tmp_path, key)
    keys = enc(a, b, 50, 512)
    ledger = a.ledger("alder-birch")
    refill = os.urandom(640)
    ledger.load(os.urandom(640))
    ledger.refill(1, refill, 1e-9)
    dec(b, keys[:20])
    data = key.to_bytes()
    canaries = [data[i : i + 16] for i in range(0, len(data) - 16, 16)] + [refill[:16], KEK]

    def search() -> None:
        raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert len(raw) > len(data)
        found = {raw[i : i + 16] for i in range(len(raw))} & set(canaries)
        assert not found

    search()
    a.close()
    b.close()
    search()
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_key_bytes_are_in_no_repr_and_no_error(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        [claimed] = a.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256).result()
        for text in (
            repr(claimed),
            str(claimed),
            repr(a),
            repr(a.session.keyring),
            repr(a.ledger("x").load(bytes(128))),
        ):
            assert claimed.values.hex() not in text
            assert repr(claimed.values)[2:-1] not in text
            assert "\\x00" not in text


def sealed_piece(store: Store, first: int) -> bytes:
    from sqlalchemy import select

    from noclone.kms.tables import piece

    query = select(piece.c.sealed).where(piece.c.direction == 0, piece.c.first == first)
    return bytes(store.commits.run(lambda c: c.execute(query).scalar_one()))


def test_an_altered_piece_and_a_moved_one_do_not_open(place: Place, make_key: MakeKey) -> None:
    from sqlalchemy import update

    from noclone.kms.tables import piece

    a, b = pool_of_two(place, make_key(0, 64 * 140))
    with a, b:
        first, second = (sealed_piece(b, position) for position in (0, 60))
        swap = update(piece).where(piece.c.direction == 0)
        b.commits.run(lambda c: c.execute(swap.where(piece.c.first == 0).values(sealed=second)))
        b.commits.run(
            lambda c: c.execute(swap.where(piece.c.first == 60).values(sealed=first[:-1] + bytes([first[-1] ^ 1])))
        )
        for _ in range(2):
            claimed = a.claim("birch", master="sae-a", slaves=["sae-b"], number=60, size_bits=256).result()
            with pytest.raises(StoreError, match="altered, moved"):
                b.assign("alder", [r.assignment for r in claimed]).result()
        assert len(enc(a, b)) == 1


def test_a_run_is_collected_in_any_parts_by_each_of_its_recipients(place: Place, make_key: MakeKey) -> None:
    """What all have is gone from the store at once, though its run is not; what anybody waits for is still there."""
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        keys = enc(a, b, 20, 264, slaves=("sae-b", "sae-b2"))
        values = [key.value for key in keys]
        assert dec(b, keys[5:8]) == values[5:8]
        assert b.pool("alder").result().reserved_keys == 20
        assert dec(b, [keys[7], keys[0], keys[19]], "sae-b2") == [values[7], values[0], values[19]]
        assert b.pool("alder").result().reserved_keys == 19
        opened = b.commits.run(lambda c: opened_run(c, b, keys[0].key_id))
        assert opened == [value if i != 7 else bytes(33) for i, value in enumerate(values)]
        for recipient, some in (("sae-b", keys[4:6]), ("sae-b2", keys[19:])):
            with pytest.raises(Refused) as again:
                dec(b, some, recipient)
            assert again.value.status == 400
        assert dec(b, keys[:5] + keys[8:]) == values[:5] + values[8:]
        assert dec(b, keys[1:7] + keys[8:19], "sae-b2") == values[1:7] + values[8:19]
        assert b.pool("alder").result().reserved_keys == 0
        assert count_sealed_keys(b) == 0
        between = f"{keys[0].key_id[:-10]}{1:010x}"  # a key of two atoms begins at every other one
        with pytest.raises(Refused) as unknown:
            b.collect("sae-b", "sae-a", [between]).result()
        assert unknown.value.status == 400


def opened_run(connection, store: Store, name: str) -> list[bytes]:  # type: ignore[no-untyped-def]
    from sqlalchemy import select

    from noclone.kms.tables import key

    row = connection.execute(select(key).where(key.c.key_id == name)).one()
    keyring = store.session.keyring
    return values_of(keyring.open(row.sealed, row.data_key, "key", name, row.peer, "slave"), row.number)


def test_a_request_for_parts_of_many_runs(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0))
    with a, b:
        keys = [key for number in (1, 7, 3, 1, 5) for key in enc(a, b, number)]
        some = [keys[i] for i in (16, 2, 9, 0, 11, 4)]
        assert dec(b, some) == [key.value for key in some]
        rest = [key for key in keys if key not in some]
        with pytest.raises(Refused):
            dec(b, [*rest, some[0]])
        assert dec(b, rest) == [key.value for key in rest]


def test_threads_never_get_the_same_key_and_lose_none(place: Place, make_key: MakeKey) -> None:
    a, b = pool_of_two(place, make_key(0, 64 * 400))
    masters: list[StoredKey] = []
    slaves: list[bytes] = []

    def ask() -> None:
        for _ in range(25):
            keys = enc(a, b, 2)
            masters.extend(keys)
            slaves.extend(dec(b, keys))

    with a, b:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(masters) == 400
        assert max(Counter(key.key_id for key in masters).values()) == 1
        assert Counter(key.value for key in masters) == Counter(slaves)
        account = a.account("alder-birch")
        assert account.delivered_bits == 400 * 256
        assert account.ready_bits + account.delivered_bits == account.deposited_bits


def test_a_full_disk_is_an_error_and_changes_nothing(tmp_path: Path, make_key: MakeKey) -> None:
    a, b = pool_of_two(tmp_path, make_key(0))
    with a, b:
        limit(a, pages_more=1)
        before = a.pool("birch").result()
        with pytest.raises(StoreError, match="full") as full:
            a.deposit(make_key(1, 1 << 20), "birch").result()
        assert "free some space" in full.value.hint
        assert a.pool("birch").result() == before
        limit(a, pages_more=10_000)
        deposit(a, b, make_key(1, 1 << 16))
        keys = enc(a, b, 3)
        assert dec(b, keys) == [key.value for key in keys]


def limit(store: Store, pages_more: int) -> None:
    """Let the database grow by a few pages at most, as on a disk that is nearly full."""
    count = store.commits.run(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    store.commits.run(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={count + pages_more}").scalar_one())


def test_one_failing_operation_does_not_take_the_others_down(place: Place) -> None:
    with Store.open(place("a"), name="alder", kek=KEK) as store:
        gate = threading.Event()
        blocked = store.commits.submit(lambda _: gate.wait(5))
        bad = store.commits.submit(lambda c: c.exec_driver_sql("SELECT * FROM nowhere"))
        good = store.commits.submit(lambda _: 7)
        broken = store.commits.submit(lambda _: 1 // 0)
        gate.set()
        assert blocked.result()
        assert good.result() == 7
        with pytest.raises(StoreError, match="nothing was changed"):
            bad.result()
        with pytest.raises(ZeroDivisionError):
            broken.result()
    with pytest.raises(StoreError, match="closed"):
        store.commits.submit(lambda _: 1)
