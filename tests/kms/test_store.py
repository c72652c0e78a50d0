"""The key store: what comes in once leaves once, sealed while it is here, gone when it has left."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from pathlib import Path

import pytest

from noclone.clock import ManualClock
from noclone.errors import KeysExhausted, StoreError
from noclone.kms.keys import Refused, StoredKey, values_of
from noclone.kms.pools import BlockName
from noclone.kms.store import Store, StoreSettings
from noclone.records import BlockProvenance, SecretKey
from tests.kms.two_stores import KEK, MakeKey, Place, count_sealed, count_sealed_keys, dec, deposit, enc, pool_of_two


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
