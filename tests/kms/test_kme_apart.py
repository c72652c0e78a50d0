"""Two KMEs that were apart: promises in doubt, blocks that one end has, ends that were restored."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from noclone.kms.kme import Kme
from noclone.kms.store import Store
from tests.kms.asking import ids, refusal, values, wanted


def test_with_the_peer_out_of_reach_nothing_is_taken(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        pair.peers["alder"].connected = False
        before = pair.a.store.pool("birch").result()
        refused = await refusal(pair.a.enc_keys("sae-a", "sae-b", wanted()))
        assert (refused.status, refused.reason) == (503, "peer-unreachable")
        assert pair.a.store.pool("birch").result() == before
        pair.peers["alder"].connected = True
        assert len((await pair.a.enc_keys("sae-a", "sae-b", wanted())).keys) == 1

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["lost-request", "lost-answer"])
def test_a_promise_whose_outcome_is_unknown_is_voided_at_both_ends(pair: Any, fault: str) -> None:
    async def story() -> None:
        await pair.deposit(640)
        pair.peers["alder"].faults.append(fault)
        assert (await refusal(pair.a.enc_keys("sae-a", "sae-b", wanted(number=2)))).status == 503
        await pair.a.close()
        assert pair.a.store.undelivered("birch").result() == []
        assert pair.b.store.pool("alder").result().reserved_keys == 0
        rest = await pair.a.enc_keys("sae-a", "sae-b", wanted(number=8))
        assert values(await pair.b.dec_keys("sae-b", "sae-a", ids(rest))) == values(rest)

    asyncio.run(story())


def test_doubts_that_the_peer_could_not_hear_are_settled_when_it_is_back(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit(640)
        peer = pair.peers["alder"]
        peer.faults.append("lost-answer")
        original = peer.reserve

        async def reserve_then_go(assignments: Any) -> Any:
            try:
                return await original(assignments)
            finally:
                peer.connected = False

        peer.reserve = reserve_then_go
        pair.a.add_peer(peer)
        assert (await refusal(pair.a.enc_keys("sae-a", "sae-b", wanted()))).status == 503
        await pair.a.close()
        [(doubtful, _)] = pair.a.store.undelivered("birch").result()
        assert pair.b.store.pool("alder").result().reserved_keys == 1
        peer.connected = True
        await pair.a.resume("birch")
        assert pair.a.store.undelivered("birch").result() == []
        assert (await refusal(pair.b.dec_keys("sae-b", "sae-a", [doubtful]))).status == 400

    asyncio.run(story())


def test_settling_leaves_requests_under_way_alone(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        peer, gate = pair.peers["alder"], asyncio.Event()
        original = peer.reserve

        async def slow(assignments: Any) -> Any:
            answer = await original(assignments)
            await gate.wait()
            return answer

        peer.reserve = slow
        pair.a.add_peer(peer)
        request = asyncio.create_task(pair.a.enc_keys("sae-a", "sae-b", wanted()))
        while not pair.b.store.pool("alder").result().reserved_keys:
            await asyncio.sleep(0.01)
        await pair.a.settle("birch")
        gate.set()
        delivered = await request
        assert values(await pair.b.dec_keys("sae-b", "sae-a", ids(delivered))) == values(delivered)

    asyncio.run(story())


def test_a_master_restored_from_a_backup_still_serves_fresh_keys_only(pair: Any, tmp_path: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        pair.a.store.close()
        shutil.copy(tmp_path / "alder.db", tmp_path / "backup.db")
        pair.b.store.close()
        pair.open()
        old = await pair.a.enc_keys("sae-a", "sae-b", wanted(number=5))
        pair.close()
        shutil.copy(tmp_path / "backup.db", tmp_path / "alder.db")
        pair.open()
        new = await pair.a.enc_keys("sae-a", "sae-b", wanted(number=5))
        assert not set(values(new)) & set(values(old))
        assert values(await pair.b.dec_keys("sae-b", "sae-a", ids(new))) == values(new)
        assert values(await pair.b.dec_keys("sae-b", "sae-a", ids(old))) == values(old)
        assert any(event.kind == "key.refused" for event in pair.a.events)

    asyncio.run(story())


def test_a_block_of_the_far_end_first_becomes_usable_when_ours_arrives(pair: Any, make_key: Any) -> None:
    async def story() -> None:
        key = make_key(0)
        assert not await pair.b.deposit(key, "alder")
        assert await pair.a.deposit(key, "birch")
        assert not await pair.a.deposit(key, "birch")
        assert len((await pair.b.enc_keys("sae-b", "sae-a", wanted())).keys) == 1

    asyncio.run(story())


def test_blocks_that_were_stored_apart_meet_on_resume(pair: Any, make_key: Any) -> None:
    async def story() -> None:
        key = make_key(0)
        pair.peers["alder"].connected = pair.peers["birch"].connected = False
        assert not await pair.a.deposit(key, "birch")
        assert not await pair.b.deposit(key, "alder")
        assert (await pair.a.status("sae-a", "sae-b"))["stored_key_count"] == 0
        pair.peers["alder"].connected = True
        await pair.a.resume("birch")
        assert (await pair.a.status("sae-a", "sae-b"))["stored_key_count"] == 64
        assert (await pair.b.status("sae-b", "sae-a"))["stored_key_count"] == 64

    asyncio.run(story())


@pytest.mark.parametrize("name", ["alder", "birch"])
def test_a_restored_end_and_the_other_both_say_that_the_pool_is_void(pair: Any, tmp_path: Any, name: str) -> None:
    other = {"alder": "birch", "birch": "alder"}[name]
    sae = {"alder": "sae-a", "birch": "sae-b"}

    async def story() -> None:
        await pair.deposit(1024)
        store = pair.kmes[name].store
        store.back_up(tmp_path / "backup")
        await pair.deposit(1024)
        store.close()
        pair.clock.advance(60.0)
        restored = Store.restore(tmp_path / "new.db", tmp_path / "backup", kek=pair.keks[name], clock=pair.clock)
        kme = pair.kmes[name] = Kme(restored, pair.kmes[other].saes, settings=pair.kmes[other].settings)
        kme.add_peer(pair.peers[name])
        pair.peers[other].other = kme
        refused = await refusal(kme.enc_keys(sae[name], sae[other], wanted()))
        assert (refused.status, refused.reason) == (503, "pool-void")
        assert refused.message.startswith(f"this pool is void: the key store of {name} was restored from a backup")
        refused = await refusal(pair.kmes[other].enc_keys(sae[other], sae[name], wanted()))
        assert (refused.status, refused.reason) == (503, "pool-void")
        assert refused.message.startswith(f"this pool is void: the key store of {name} was restored from a backup")
        pair.blocks += 1
        await pair.deposit(1024)  # new key: all is well again, and what is used up then is just used up
        for master, slave in ((name, other), (other, name)):
            got = await pair.kmes[master].enc_keys(sae[master], sae[slave], wanted(number=16))
            assert len(values(await pair.kmes[slave].dec_keys(sae[slave], sae[master], ids(got)))) == 16
            refused = await refusal(pair.kmes[master].enc_keys(sae[master], sae[slave], wanted()))
            assert refused.reason == "keys-exhausted"

    asyncio.run(story())
