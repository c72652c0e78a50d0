"""Another key-encryption key: everything is as before, the old one opens nothing, and a crash leaves one that fits."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from noclone.clock import ManualClock
from noclone.errors import StoreError
from noclone.kms.kekfile import KekFile
from noclone.kms.sealing import Sealer
from noclone.kms.store import Store
from noclone.kms.tables import block, data_key
from noclone.records import SecretKey

OLD, NEW, BIRCH = bytes(range(32)), bytes(range(32, 64)), bytes(32)
MakeKey = Callable[..., SecretKey]
Place = Callable[[str], Path | str]


def two(place: Place, kek: Any, make_key: MakeKey) -> tuple[Store, Store, SecretKey]:
    a = Store.open(place("a"), name="alder", kek=kek, clock=ManualClock())
    b = Store.open(place("b"), name="birch", kek=BIRCH, clock=ManualClock())
    secret = make_key(0, 32 * 20)
    a.deposit(secret, "birch").result()
    b.deposit(secret, "alder").result()
    a.acknowledge("birch", b.acknowledge("alder", a.held("birch").result()).result()).result()
    return a, b, secret


def reserve(master: Store, slave: Store, number: int) -> list[Any]:
    who = {"alder": "sae-a", "birch": "sae-b"}
    claimed = master.claim(
        slave.name, master=who[master.name], slaves=[who[slave.name]], number=number, size_bits=256
    ).result()
    assert slave.assign(master.name, [one.assignment for one in claimed]).result() == {}
    master.deliver_to_master([one.assignment.key_id for one in claimed], who[master.name]).result()
    return [key for one in claimed for key in one.keys]


def test_everything_opens_as_before_and_the_old_kek_opens_nothing(place: Place, make_key: MakeKey) -> None:
    a, b, _ = two(place, OLD, make_key)
    secret, refill = os.urandom(640), os.urandom(256)
    with b:
        before = reserve(b, a, 2)
        a.ledger("alder-birch").load(secret)
        a.ledger("alder-birch").refill(4, refill, 1e-9)
        assert a.rotate_kek(NEW) == 2
        between = reserve(b, a, 1)
        a.close()
        with pytest.raises(StoreError, match=r"of generation 1, which was rotated away; it needs .*, of generation 2"):
            Store.open(place("a"), name="alder", kek=OLD, clock=ManualClock())
        with pytest.raises(StoreError, match="does not fit this key store; it needs"):
            Store.open(place("a"), name="alder", kek=BIRCH, clock=ManualClock())
        a = Store.open(place("a"), name="alder", kek=NEW, clock=ManualClock())
        with a:
            got = a.collect("sae-a", "sae-b", [key.key_id for key in before + between]).result()
            assert [key.value for key in got] == [key.value for key in before + between]
            assert reserve(a, b, 3)
            assert reserve(b, a, 3)
            assert a.ledger("alder-birch").load(secret).segments[4] == (refill, 0)
            assert a.verify_audit().problems == ()
            assert opens_nothing(a, Sealer(OLD, a.session.store_id))
            assert not opens_nothing(a, Sealer(NEW, a.session.store_id))
            with pytest.raises(StoreError, match="in use already"):
                a.rotate_kek(NEW)


def opens_nothing(store: Store, sealer: Sealer) -> bool:
    def look(connection: Any) -> bool:
        found = [(row.sealed, ("data-key", row.id, row.purpose)) for row in connection.execute(select(data_key))]
        for row in connection.execute(select(block).where(block.c.dek.is_not(None))):
            found.append((row.dek, ("dek", "alder", "birch", row.link, row.number)))
        assert len(found) >= 5
        return not any(opens(sealer, sealed, context) for sealed, context in found)

    return store.commits.run(look)


def opens(sealer: Sealer, sealed: bytes, context: tuple[Any, ...]) -> bool:
    try:
        sealer.open(sealed, *context)
    except StoreError:
        return False
    return True


def kek_file(folder: Path, value: bytes) -> KekFile:
    path = folder / "kek"
    path.write_text(value.hex() + "\n")
    path.chmod(0o600)
    return KekFile(path)


def test_the_file_of_the_new_kek_takes_the_old_ones_place(tmp_path: Path, make_key: MakeKey) -> None:
    file = kek_file(tmp_path, OLD)
    a, b, _ = two(lambda name: tmp_path / f"{name}.db", file, make_key)
    with a, b:
        value = file.prepare()
        assert file.prepare() == value
        assert stat.S_IMODE(file.next.stat().st_mode) == 0o600
        assert file() == (OLD, value)
        a.rotate_kek(value)
        file.settle(OLD)  # says the wrong one: nothing happens
        assert file() == (OLD, value)
    for _ in range(2):  # the first opening brings the files in order
        Store.open(tmp_path / "a.db", name="alder", kek=file, clock=ManualClock()).close()
        assert file() == (value,)
        assert not file.next.exists()
    assert OLD.hex().encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_kek_that_was_being_overwritten_does_no_harm(tmp_path: Path, make_key: MakeKey) -> None:
    file = kek_file(tmp_path, OLD)
    a, b, _ = two(lambda name: tmp_path / f"{name}.db", file, make_key)
    with a, b:
        value = file.prepare()
        a.rotate_kek(value)
    file.path.write_text(value.hex()[:20])
    with Store.open(tmp_path / "a.db", name="alder", kek=file, clock=ManualClock()) as a:
        assert a.pool("birch").result().ready_out_bits == 2560
    assert file() == (value,)


def test_workers_go_on_while_another_process_rotates(postgres: Any, tmp_path: Path, make_key: MakeKey) -> None:
    file = kek_file(tmp_path, OLD)
    places = {"a": postgres.url(), "b": postgres.url()}
    a, b, _ = two(places.__getitem__, file, make_key)
    deaf = Store.open(places["a"], name="alder", kek=OLD, clock=ManualClock())
    with a, b:
        before = reserve(b, a, 1)
        with Store.open(places["a"], name="", kek=file, clock=ManualClock()) as upkeep:
            value = file.prepare()
            upkeep.rotate_kek(value)
            during = reserve(b, a, 1)
            file.settle(value)
        after = reserve(b, a, 1)
        assert a.session.keyring.generation == 2
        got = a.collect("sae-a", "sae-b", [key.key_id for key in before + during + after]).result()
        assert [key.value for key in got] == [key.value for key in before + during + after]
        with pytest.raises(StoreError, match="rotated away"):  # it has no file to read the new one from
            reserve(deaf, b, 1)
        deaf.close()
