"""The key store as a file: whose it is, what can be read in it, and what a full disk does."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from noclone.errors import StoreError
from noclone.kms.store import Store, StoreSettings
from tests.kms.two_stores import KEK, MakeKey, Place, dec, deposit, enc, pool_of_two


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
