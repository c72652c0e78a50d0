"""Two key stores that hold the same blocks, and what a master and a slave do with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from noclone.clock import ManualClock
from noclone.kms.keys import StoredKey
from noclone.kms.store import Store, StoreSettings
from noclone.records import SecretKey

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
