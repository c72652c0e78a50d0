"""Restored stores deliver nothing that was delivered: one end, both ends, the old backup after the newer one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noclone.clock import ManualClock
from noclone.errors import KeysExhausted, StoreError
from noclone.kms.keys import Refused
from noclone.kms.store import Store
from noclone.records import SecretKey

KEKS = {"alder": bytes(range(32)), "birch": bytes(32)}
OTHER = {"alder": "birch", "birch": "alder"}
SAE = {"alder": "sae-a", "birch": "sae-b"}
MakeKey = Callable[..., SecretKey]


class Ends:
    """Two stores that can be backed up, lost and restored; and every key that anybody ever got."""

    def __init__(self, folder: Path, place: Callable[[str], Path | str], make_key: MakeKey) -> None:
        self.folder, self.place, self.make_key = folder, place, make_key
        self.clock = ManualClock()
        self.generation = dict.fromkeys(KEKS, 0)
        self.stores = {name: self.open(name) for name in KEKS}
        self.delivered: dict[str, list[bytes]] = {}
        self.blocks = 0

    def where(self, name: str) -> Path | str:
        return self.place(f"{name}-{self.generation[name]}")

    def open(self, name: str) -> Store:
        return Store.open(self.where(name), name=name, kek=KEKS[name], clock=self.clock)

    def deposit(self, number: int, n_bytes: int = 640) -> None:
        secret = self.make_key(number, n_bytes)
        for name, store in self.stores.items():
            store.deposit(secret, OTHER[name]).result()
        self.compare()

    def compare(self) -> None:
        for name, store in self.stores.items():
            both = self.stores[OTHER[name]].acknowledge(name, store.held(OTHER[name]).result()).result()
            store.acknowledge(OTHER[name], both).result()

    def serve(self, name: str, number: int, *, collect: bool = True) -> list[str]:
        """Ask as a master at one end, as `Kme.enc_keys` does; return the ids."""
        near, far = self.stores[name], self.stores[OTHER[name]]
        agreed: list[Any] = []
        for _ in range(4):
            want = number - sum(one.assignment.number for one in agreed)
            slaves = [SAE[far.name]]
            claimed = near.claim(far.name, master=SAE[name], slaves=slaves, number=want, size_bits=256).result()
            refused = far.assign(name, [one.assignment for one in claimed]).result()
            agreed += [one for one in claimed if one.assignment.key_id not in refused]
            lost = [
                (one.assignment, refused[one.assignment.key_id]) for one in claimed if one.assignment.key_id in refused
            ]
            near.give_up([promise.key_id for promise, _ in lost], lost).result()
            if not lost:
                break
        near.deliver_to_master([one.assignment.key_id for one in agreed], SAE[name]).result()
        keys = [key for one in agreed for key in one.keys]
        ids = [key.key_id for key in keys]
        for key in keys:
            self.delivered.setdefault(key.key_id, []).append(key.value)
        if collect:
            got = far.collect(SAE[far.name], SAE[name], ids).result()
            assert [key.value for key in got] == [key.value for key in keys]
        return ids

    def back_up(self, name: str, label: str) -> Path:
        path = self.folder / f"{name}.{label}"
        assert self.stores[name].back_up(path) > 5
        return path

    def restore(self, name: str, source: Path) -> None:
        self.stores[name].close()
        self.generation[name] += 1
        self.stores[name] = Store.restore(self.where(name), source, kek=KEKS[name], clock=self.clock)

    def check(self) -> None:
        """No key id, and no byte, was given to a master twice."""
        assert all(len(values) == 1 for values in self.delivered.values())
        values = [value for found in self.delivered.values() for value in found]
        assert len(values) == len(set(values))
        for store in self.stores.values():
            assert store.verify_audit().problems == ()

    def refuses(self, name: str, ids: list[str]) -> bool:
        """Say whether a slave gets none of these keys."""
        for key_id in ids:
            try:
                self.stores[name].collect(SAE[name], SAE[OTHER[name]], [key_id]).result()
            except Refused:
                continue
            return False
        return True

    def close(self) -> None:
        for store in self.stores.values():
            store.close()


@pytest.fixture
def ends(tmp_path: Path, place: Callable[[str], Path | str], make_key: MakeKey) -> Any:
    ends = Ends(tmp_path, place, make_key)
    ends.deposit(0)
    ends.deposit(1)
    yield ends
    ends.close()


def test_a_backup_has_no_key_and_no_data_key_that_opens_any(ends: Ends) -> None:
    from sqlalchemy import select

    from noclone.kms.tables import block, data_key, key, piece, segment

    ends.serve("alder", 2, collect=False)
    ends.stores["birch"].ledger("alder-birch").load(os.urandom(640))
    ends.stores["birch"].ledger("alder-birch").refill(4, os.urandom(256), 1e-9)
    text = ends.back_up("birch", "one").read_text()
    secrets = []
    for column in (piece.c.sealed, block.c.dek, key.c.sealed, segment.c.sealed):
        query = select(column).where(column.is_not(None))
        secrets += ends.stores["birch"].commits.run(lambda c, q=query: c.execute(q).scalars().all())
    opening = select(data_key.c.sealed).where(data_key.c.purpose == "secrets")
    secrets += ends.stores["birch"].commits.run(lambda c: c.execute(opening).scalars().all())
    assert len(secrets) >= 9
    assert not any(bytes(secret).hex()[:32] in text for secret in secrets)
    assert (ends.folder / "birch.one").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="cannot be written"):
        ends.back_up("birch", "one")


@pytest.mark.parametrize("name", ["alder", "birch"])
def test_one_end_restored_delivers_nothing_old_and_goes_on(ends: Ends, name: str) -> None:
    """Whichever role it has: its pool is empty, what its slaves were promised is void, new key flows."""
    other = OTHER[name]
    ends.serve(name, 2)
    waiting = ends.serve(other, 1, collect=False)
    backup = ends.back_up(name, "one")
    later = ends.serve(name, 2)
    ends.serve(other, 2)
    uncollected = ends.serve(other, 1, collect=False)
    ends.deposit(2)
    ends.restore(name, backup)
    pool = ends.stores[name].pool(other).result()
    assert (pool.ready_out_bits, pool.ready_in_bits, pool.held_bits, pool.reserved_keys) == (0, 0, 0, 0)
    assert ends.refuses(name, waiting + uncollected)
    with pytest.raises(KeysExhausted):
        ends.serve(name, 1)
    assert gets_nothing(ends, other)  # it finds out, and burns or holds what is void here
    assert ends.refuses(other, later)  # collected before
    ends.deposit(10)
    ends.serve(name, 3)
    ends.serve(other, 3)
    ends.check()
    assert "restored" in [line.entry["what"] for line in ends.stores[name].audit_lines()]


def gets_nothing(ends: Ends, name: str) -> bool:
    """Ask until the pool is empty; say whether every answer was empty."""
    for _ in range(10):
        try:
            if ends.serve(name, 1):
                return False
        except KeysExhausted:
            return True
    return False


def test_both_ends_restored_and_the_old_backup_after_the_newer(ends: Ends) -> None:
    ends.serve("alder", 2)
    old = {name: ends.back_up(name, "old") for name in KEKS}
    taken = ends.serve("alder", 3) + ends.serve("birch", 3)
    uncollected = ends.serve("alder", 2, collect=False)
    new = {name: ends.back_up(name, "new") for name in KEKS}
    ends.serve("birch", 2)
    block = 10
    for backups in (new, old, new, old):
        for name in KEKS:
            ends.restore(name, backups[name])
        ends.compare()
        for name in KEKS:
            with pytest.raises(KeysExhausted):
                ends.serve(name, 1)
        assert ends.refuses("birch", uncollected + taken)
        assert ends.refuses("alder", taken)
        ends.clock.advance(60)
        ends.deposit(block)
        block += 1
        ends.serve("alder", 4)
        ends.serve("birch", 4)
        ends.check()


def test_a_restored_link_leaves_out_the_numbers_of_blocks_that_came_after(ends: Ends) -> None:
    secret = os.urandom(640)
    ledger = ends.stores["alder"].ledger("alder-birch")
    ledger.load(secret)
    ledger.mark(0, 3, 7)
    ledger.refill(4, os.urandom(256), 1e-9)
    ledger.mark(4, 1, 8)
    backup = ends.back_up("alder", "one")
    ends.clock.advance(100)
    ends.restore("alder", backup)
    state = ends.stores["alder"].ledger("alder-birch").load(secret)
    assert state.last_block == 108
    assert state.segments == {0: (bytes(192) + secret[192:-64], 3)}  # a refill does not come back
    assert ends.stores["alder"].ledger("alder-birch").marks() == {0: 3, 4: 1}
    ends.clock.advance(1e9)
    ends.restore("alder", backup)
    assert ends.stores["alder"].ledger("alder-birch").load(secret).last_block < 8 + 1_000_000


def test_a_backup_that_was_altered_or_cut_is_refused_and_makes_no_store(ends: Ends) -> None:
    backup = ends.back_up("alder", "one")
    lines = backup.read_bytes().splitlines(keepends=True)
    spoiled = {
        "cut": lines[:-1],
        "shorter": lines[:5] + lines[6:],
        "longer": [*lines, lines[-2]],
        "altered": [line.replace(b'"erased"', b'"void"').replace(b'"ready"', b'"spent"') for line in lines],
        "another": [b'{"noclone_kms_backup": 2}\n', *lines[1:]],
        "torn": [*lines[:-2], lines[-2][:20]],
        "nothing": [b"PK"],
    }
    for name, content in spoiled.items():
        path = ends.folder / name
        path.write_bytes(b"".join(content))
        with pytest.raises(StoreError, match="backup"):
            Store.restore(ends.place("fresh"), path, kek=KEKS["alder"], clock=ends.clock)
    with pytest.raises(StoreError, match="does not fit"):
        Store.restore(ends.place("fresh"), backup, kek=bytes([7]) * 32, clock=ends.clock)
    with pytest.raises(StoreError, match="cannot be read"):
        Store.restore(ends.place("fresh"), ends.folder / "nowhere", kek=KEKS["alder"], clock=ends.clock)
    with pytest.raises(StoreError, match="there is a key store already"):
        Store.restore(closed(ends), backup, kek=KEKS["alder"], clock=ends.clock)
    Store.restore(ends.place("fresh"), backup, kek=KEKS["alder"], clock=ends.clock).close()


def closed(ends: Ends) -> Path | str:
    """Return where a store is that nobody has open."""
    Store.open(ends.place("third"), name="cedar", kek=KEKS["alder"], clock=ends.clock).close()
    return ends.place("third")
