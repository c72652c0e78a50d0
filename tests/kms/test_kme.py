"""The KME's rules, straight: who may have which key, and what happens when the other KME fails in the middle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from noclone.errors import KmeError
from noclone.kms.containers import Delivered
from noclone.kms.keys import Refused
from noclone.kms.kme import Kme
from noclone.trust.provenance import formula_of_key
from tests.kms.asking import ids, refusal, values, wanted


def test_two_requests_before_one_collection_lose_nothing(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        first = await pair.a.enc_keys("sae-a", "sae-b", wanted(number=2))
        second = await pair.a.enc_keys("sae-a", "sae-b", wanted(number=1, size=512))
        got = await pair.b.dec_keys("sae-b", "sae-a", [*ids(second), *ids(first)])
        assert values(got) == values(second) + values(first)

    asyncio.run(story())


def test_both_directions_work_and_never_share_a_byte(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit(2048)
        there = [await pair.a.enc_keys("sae-a", "sae-b", wanted(number=8)) for _ in range(4)]
        back = [await pair.b.enc_keys("sae-b", "sae-a", wanted(number=8)) for _ in range(4)]
        everything = [value for delivered in (*there, *back) for value in values(delivered)]
        assert len(set(everything)) == 64
        assert values(await pair.a.dec_keys("sae-a", "sae-b", ids(back[0]))) == values(back[0])
        exhausted = await refusal(pair.a.enc_keys("sae-a", "sae-b", wanted()))
        assert (exhausted.status, exhausted.reason) == (503, "keys-exhausted")

    asyncio.run(story())


def test_a_burst_beyond_the_stock_serves_exactly_the_stock(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit(640)
        calls = [pair.a.enc_keys("sae-a", "sae-b", wanted()) for _ in range(25)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        served = [answer for answer in answers if isinstance(answer, Delivered)]
        refused = [answer for answer in answers if isinstance(answer, Refused)]
        assert (len(served), len(refused)) == (10, 15)
        assert {answer.status for answer in refused} == {503}
        for delivered in served:
            assert values(await pair.b.dec_keys("sae-b", "sae-a", ids(delivered))) == values(delivered)

    asyncio.run(story())


def test_only_the_named_applications_get_a_copy_each_once(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        shared = await pair.a.enc_keys("sae-a", "sae-b", wanted(additional_slave_SAE_IDs=["sae-b2"]))
        assert (await refusal(pair.b.dec_keys("sae-b3", "sae-a", ids(shared)))).status == 401
        assert (await refusal(pair.a.dec_keys("sae-a", "sae-a", ids(shared)))).status == 401
        assert (await refusal(pair.a.dec_keys("sae-a2", "sae-a", ids(shared)))).status == 401
        assert (await refusal(pair.b.dec_keys("sae-b", "sae-a2", ids(shared)))).status == 400
        for sae in ("sae-b", "sae-b2"):
            assert values(await pair.b.dec_keys(sae, "sae-a", ids(shared))) == values(shared)
            assert (await refusal(pair.b.dec_keys(sae, "sae-a", ids(shared)))).status == 400

    asyncio.run(story())


def test_an_application_that_hangs_up_leaves_no_promise_behind(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        peer = pair.peers["alder"]
        original, gate = peer.reserve, asyncio.Event()

        async def slow(assignments: Any) -> Any:
            answer = await original(assignments)
            gate.set()
            await asyncio.sleep(0.05)
            return answer

        peer.reserve = slow
        pair.a.add_peer(peer)
        request = asyncio.create_task(pair.a.enc_keys("sae-a", "sae-b", wanted()))
        await gate.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await pair.a.close()
        assert pair.a.store.undelivered("birch").result() == []
        assert pair.b.store.pool("alder").result().reserved_keys == 0

    asyncio.run(story())


def test_both_masters_at_once_do_not_wait_for_each_other(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit(64 * 200)

        async def many(kme: Kme, caller: str, slave: str) -> int:
            return len([await kme.enc_keys(caller, slave, wanted(number=2)) for _ in range(10)])

        async with asyncio.timeout(120):
            done = await asyncio.gather(
                *(many(pair.a, "sae-a", "sae-b") for _ in range(8)), *(many(pair.b, "sae-b", "sae-a") for _ in range(8))
            )
        assert done == [10] * 16

    asyncio.run(story())


def test_concurrent_use_delivers_each_key_once_and_keeps_every_promise(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit(64 * 300)
        seen: list[str] = []

        async def work(n: int) -> None:
            for _ in range(n):
                delivered = await pair.a.enc_keys("sae-a", "sae-b", wanted(number=2))
                seen.extend(ids(delivered))
                twice = await asyncio.gather(
                    pair.b.dec_keys("sae-b", "sae-a", ids(delivered)),
                    pair.b.dec_keys("sae-b", "sae-a", ids(delivered)),
                    return_exceptions=True,
                )
                got = [answer for answer in twice if isinstance(answer, Delivered)]
                assert [values(answer) for answer in got] == [values(delivered)]

        await asyncio.gather(*(work(10) for _ in range(15)))
        assert len(seen) == len(set(seen)) == 300
        assert pair.a.store.account("alder-birch").delivered_bits == 300 * 256

    asyncio.run(story())


def test_status_says_what_there_is(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        await pair.a.enc_keys("sae-a", "sae-b", wanted(number=4))
        status = await pair.a.status("sae-a", "sae-b")
        assert status == {
            "source_KME_ID": "alder",
            "target_KME_ID": "birch",
            "master_SAE_ID": "sae-a",
            "slave_SAE_ID": "sae-b",
            "key_size": 256,
            "stored_key_count": 60,
            "max_key_count": (1 << 28) // 256,
            "max_key_per_request": 128,
            "max_key_size": 65_536,
            "min_key_size": 64,
            "max_SAE_ID_count": 16,
        }

    asyncio.run(story())


def test_containers_say_that_simulated_keys_are_simulated(pair: Any, make_key: Any) -> None:
    async def story() -> None:
        for number, seeded in ((0, False), (1, True)):
            key = make_key(number, 64, seeded=seeded)
            await pair.a.deposit(key, "birch")
            await pair.b.deposit(key, "alder")
        delivered = await pair.a.enc_keys("sae-a", "sae-b", wanted(size=512))
        container = delivered.to_json()
        assert "simulated" in container["key_container_extension"]["noclone_notice"]
        mark = container["keys"][0]["key_extension"]
        assert mark["noclone_origin"] == "simulated"
        assert mark["noclone_seeded"] is True  # one seeded part makes all of it so
        assert mark["noclone_epsilon"] == pytest.approx(2e-10)
        assert mark["noclone_cumulative_epsilon"] == pytest.approx(2e-10)
        assert all(name.startswith("noclone_") for name in mark)
        formula = formula_of_key(delivered.keys[0].provenance, master_site="alder", slave_site="birch")
        assert (mark["noclone_leaks"], mark["noclone_formula_sha256"]) == (str(formula), formula.sha256())
        same = (await pair.b.dec_keys("sae-b", "sae-a", ids(delivered))).to_json()
        assert same["keys"][0] == container["keys"][0]
        assert delivered.keys[0].value.hex() not in repr(delivered)

    asyncio.run(story())


def test_events_tell_who_got_which_key_and_never_the_key(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit()
        delivered = await pair.a.enc_keys("sae-a", "sae-b", wanted())
        await pair.b.dec_keys("sae-b", "sae-a", ids(delivered))
        [first] = [event for event in pair.a.events if event.kind == "key.delivered"]
        [second] = [event for event in pair.b.events if event.kind == "key.delivered"]
        assert first.data == {
            "key_id": ids(delivered)[0],
            "keys": 1,
            "master": "sae-a",
            "slave": "sae-b",
            "bits": 256,
        }
        assert (first.subject, second.subject) == ("sae:sae-a", "sae:sae-b")
        text = first.to_json() + second.to_json()
        assert values(delivered)[0].hex() not in text

    asyncio.run(story())


def test_a_full_disk_gives_503_and_loses_nothing(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit(640)
        store = pair.b.store
        pages = store.commits.run(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
        filler = "CREATE TABLE filler (x BLOB)"
        store.commits.run(lambda c: c.exec_driver_sql(filler))
        store.commits.run(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar_one())
        outcomes = []
        for _ in range(3):
            try:
                outcomes.append(await pair.a.enc_keys("sae-a", "sae-b", wanted(size=65_536 // 64)))
            except KmeError as refused:
                outcomes.append(refused)
        store.commits.run(lambda c: c.exec_driver_sql("PRAGMA max_page_count=100000").scalar_one())
        await pair.a.close()
        await pair.a.settle("birch")
        for delivered in outcomes:
            if isinstance(delivered, Delivered):
                assert values(await pair.b.dec_keys("sae-b", "sae-a", ids(delivered))) == values(delivered)
            else:
                assert isinstance(delivered, Refused)
                assert delivered.status == 503
        assert pair.b.store.pool("alder").result().reserved_keys == 0

    asyncio.run(story())


def test_applications_at_one_kme_share_keys_that_never_leave_it(pair: Any) -> None:
    async def story() -> None:
        got = await pair.a.enc_keys("sae-a", "sae-a2", wanted(number=2, additional_slave_SAE_IDs=["sae-a"]))
        for who in ("sae-a2", "sae-a"):
            assert values(await pair.a.dec_keys(who, "sae-a", ids(got))) == values(got)
        assert (await refusal(pair.a.dec_keys("sae-a2", "sae-a", ids(got)))).status == 400
        label = got.to_json()["keys"][0]["key_extension"]
        assert (label["noclone_origin"], label["noclone_leaks"]) == ("local", "site:alder")
        assert pair.a.store.pool("alder").result().reserved_keys == 0

    asyncio.run(story())
