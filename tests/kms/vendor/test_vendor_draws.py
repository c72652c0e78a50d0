"""Key from a vendor's system: both ends get the same, say whose word it rests on, and use nothing twice."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import pytest

from noclone.client import Refusal
from noclone.combined import provenance_from_json
from noclone.errors import NocloneError
from noclone.kms import vendor_draws, vendor_fetches
from noclone.kms.keys import Refused
from noclone.kms.policies import Policies, Policy
from noclone.kms.suites import Suites
from noclone.kms.vendor_draws import DrawFailed
from noclone.kms.vendor_messages import Offer, epsilon_of
from noclone.trust.explanation import explanation, lines


def test_applications_get_the_vendors_key_on_the_vendors_word(shop: Any) -> None:
    async def story() -> list[Any]:
        await shop.alice.draw()
        return await shop.keys(4)

    keys = asyncio.run(story())
    drawn = b"".join(key.value for key in shop.vendor.made)
    assert all(base64.b64decode(key["key"]) in drawn for key in keys)  # the vendor's bytes, whole
    label = keys[0]["key_extension"]
    assert label["noclone_origin"] == "hardware"
    assert label["noclone_leaks"] == "link:acme OR site:a OR site:b OR vendor:acme"
    assert label["noclone_proofs"] == ["the vendor's word (no-proof)"]
    # 1024 bytes and the 32 that are burned are 33 keys of 32 bytes; each may fail, as the vendor states.
    assert len(shop.vendor.made) == 33
    assert label["noclone_epsilon"] == pytest.approx(33e-12)
    events = [event for event in shop.web.kmes["a"].events.since(0) if event.kind == "vendor.drawn"]
    assert (events[0].data["bits"], events[0].data["keys"], shop.bits) == (8192, 33, {"a": 8192, "b": 8192})
    blocks = [provenance_from_json(events[0].data["provenance"])]
    told = explanation(blocks, master_site="a", slave_site="b")
    assert told["claim"] == "on the vendor's word: information-theoretic"
    assert any("Acme" in line and "on its vendor's word" in line for line in lines(told))
    everything = "\n".join(event.to_json() for kme in shop.web.kmes.values() for event in kme.events.since(0))
    assert not any(key.value.hex() in everything or base64.b64encode(key.value).decode() in everything
                   for key in shop.vendor.made)  # fmt: skip
    assert not any(shop.vendor.made[0].value.hex() in text for *_, text in shop.web.said)


def test_blocks_follow_each_other_and_their_epsilons_add_up(shop: Any) -> None:
    async def story() -> list[Any]:
        return [await shop.alice.draw() for _ in range(3)]

    records = asyncio.run(story())
    assert [record.block for record in records] == [0, 1, 2]
    each = epsilon_of(shop.link, 33)
    assert [record.cumulative_epsilon for record in records] == pytest.approx([each, 2 * each, 3 * each])
    assert len({key.key_id for key in shop.vendor.made}) == 99


def test_nobody_states_an_epsilon(shop: Any) -> None:
    shop.link = replace(shop.link, epsilon=None)
    shop.start()

    async def story() -> Any:
        record = await shop.alice.draw()
        return record, await shop.keys(1)

    record, keys = asyncio.run(story())
    assert record.epsilon == record.cumulative_epsilon == keys[0]["key_extension"]["noclone_epsilon"] == 1.0
    told = explanation([record], master_site="a", slave_site="b")
    assert told["claim"] == "on the vendor's word, who states no epsilon: information-theoretic"
    policy = Policy(("sae-a", "sae-b"), "link")
    assert (
        policy.violation([record], ("a", "b"), 0.0, Suites()) == "nobody states how probably it fails: its epsilon is 1"
    )


@pytest.mark.parametrize(
    ("extension", "kind", "seeded"),
    [
        ({"noclone_origin": "simulated"}, "simulated", False),
        ({"noclone_origin": "simulated", "noclone_seeded": True}, "simulated", True),
        ({"noclone_origin": "recorded"}, "recorded", False),
        ({"noclone_origin": "from the moon"}, "unknown", False),
        ({"noclone_origin": "hardware"}, "hardware", False),
        ({"acme_age_s": 4}, "hardware", False),
    ],
)
def test_a_vendors_key_is_never_more_than_the_vendor_says(
    shop: Any, extension: dict[str, Any], kind: str, seeded: bool
) -> None:
    shop.vendor.extension = extension

    async def story() -> list[Any]:
        await shop.alice.draw()
        return await shop.keys(1)

    if kind == "unknown":  # no word of ours: the other end refuses what it cannot read
        with pytest.raises(DrawFailed):
            asyncio.run(story())
        return
    (key,) = asyncio.run(story())
    assert (key["key_extension"]["noclone_origin"], key["key_extension"]["noclone_seeded"]) == (kind, seeded)
    live = Policy(("sae-a", "sae-b"), "link", simulated=False)
    for kme in shop.web.kmes.values():
        kme.policies = Policies([live])

    if kind == "hardware":
        assert asyncio.run(shop.keys(1))
    else:
        with pytest.raises(Refused) as refused:
            asyncio.run(shop.keys(1))
        assert refused.value.detail == "it comes from no live hardware"


def test_one_end_cannot_call_hardware_what_the_other_knows_to_be_simulated(shop: Any) -> None:
    shop.vendor.other_extension = {"noclone_origin": "simulated"}
    with pytest.raises(DrawFailed, match="say different things"):
        asyncio.run(shop.alice.draw())
    assert shop.web.ready_bits("a", "b", "link") == shop.web.ready_bits("b", "a", "link") == 0


def test_different_bytes_at_the_two_ends_are_caught(shop: Any) -> None:
    shop.vendor.altered = True
    with pytest.raises(DrawFailed, match="gave different keys for the same ids") as failed:
        asyncio.run(shop.alice.draw())
    assert (failed.value.reason, failed.value.keys) == ("bob-refused", 33)
    lost = [event.data for event in shop.web.kmes["b"].events.since(0) if event.kind == "vendor.lost"]
    assert [(event["reason"], event["keys"]) for event in lost] == [("mismatch", 33)]
    assert shop.web.ready_bits("a", "b", "link") == 0
    shop.vendor.altered = False
    assert asyncio.run(shop.alice.draw()).block == 0  # no block had this number


def test_a_vendor_that_gives_a_key_twice_is_not_believed(shop: Any) -> None:
    asyncio.run(shop.alice.draw())
    shop.vendor.repeats = True
    with pytest.raises(DrawFailed, match="gave a key id that it gave before"):
        asyncio.run(shop.alice.draw())
    for node in "ab":  # what was used is known after a restart as well
        shop.web.kmes[node].store.close()
        shop.web.start(node)
    shop.start()
    with pytest.raises(DrawFailed, match="gave a key id that it gave before"):
        asyncio.run(shop.alice.draw())
    shop.vendor.repeats = False
    assert asyncio.run(shop.alice.draw()).block == 1


def test_when_the_vendor_has_none_it_is_asked_ever_less_often(shop: Any) -> None:
    shop.vendor.refusals = [Refusal(503, "no key", []) for _ in range(3)]
    slept: list[float] = []

    async def story() -> None:
        real = asyncio.sleep

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await real(0)

        vendor_draws.asyncio.sleep = sleep  # type: ignore[attr-defined]
        try:
            task = asyncio.create_task(shop.alice.run())
            while not shop.bits["a"]:
                await real(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        finally:
            vendor_draws.asyncio.sleep = real  # type: ignore[attr-defined]

    asyncio.run(story())
    assert [pause for pause in slept if pause in (0.01, 0.02)] == [0.01, 0.02, 0.02]
    kinds = [event.kind for event in shop.web.kmes["a"].events.since(0) if event.kind.startswith("link.")]
    assert kinds == ["link.down", "link.up"]
    assert shop.web.ready_bits("a", "b", "link") >= 8192


def test_bob_asks_again_when_his_end_is_busy(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_fetches, "BUSY_PAUSE_S", 0.01)
    real = shop.vendor.dec_keys
    busy = [Refusal(503, "busy", [])]

    async def dec_keys(master: str, key_ids: Any) -> Any:
        if busy:
            raise busy.pop()
        return await real(master, key_ids)

    shop.vendor.dec_keys = dec_keys
    asyncio.run(shop.alice.draw())
    assert shop.web.ready_bits("b", "a", "link") == 8192


@pytest.mark.parametrize("fault", ["lost", "answer lost"])
def test_an_offer_is_made_again_as_it_was(shop: Any, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_draws, "BUSY_PAUSE_S", 0.01)
    faults = [fault, fault]
    shop.web.faults["vendor-draw"] = lambda *_: faults.pop() if faults else None
    asyncio.run(shop.alice.draw())
    offers = [text for _, _, operation, text in shop.web.said if operation == "vendor-draw"]
    assert len(offers) == 3
    assert len(set(offers)) == 1
    assert shop.web.ready_bits("a", "b", "link") == shop.web.ready_bits("b", "a", "link") == 8192
    assert len([e for e in shop.web.kmes["b"].events.since(0) if e.kind == "vendor.drawn"]) == 1


def test_bob_believes_nobody_but_alice_and_nothing_that_does_not_fit(shop: Any) -> None:
    async def story() -> None:
        await shop.alice.draw()
        (text,) = [text for _, _, operation, text in shop.web.said if operation == "vendor-draw"]
        import json

        message = json.loads(text)
        handler = shop.web.kmes["b"].handlers["vendor-draw"]
        assert await handler("a", message) == {"held": True}  # a replay is answered, and does nothing
        with pytest.raises(NocloneError, match="no such link"):
            await handler("z", message)
        other = json.loads(text)
        other["offer"]["record"]["time_s"] += 1
        with pytest.raises(NocloneError, match="another block of this number"):
            await handler("a", other)
        for field, value in (("epsilon", 1e-20), ("proof", "lim2014"), ("statement", "fixed-length"), ("bob", "z")):
            other = json.loads(text)
            other["offer"]["record"] |= {"block": 7, field: value}
            with pytest.raises(NocloneError, match="do not say the same"):
                await handler("a", other)
        other = json.loads(text)
        other["offer"]["record"]["block"] = 7
        with pytest.raises(NocloneError, match="gave a key id that it gave before"):
            await handler("a", other)
        for broken in ({}, {"key_ids": []}, {"key_ids": ["a", "a"]}, {"n_bytes": 32}, {"n_bytes": True}, {"tag": "00"}):
            with pytest.raises(ValueError):
                Offer.from_json({**message["offer"], **broken} if broken else {})

    asyncio.run(story())


def test_a_relay_can_cross_a_vendors_link(shop: Any) -> None:
    async def story() -> list[Any]:
        await shop.alice.draw()
        await shop.web.fill("bz")
        await shop.web.relays["a"].relay(["abz"], 1, 256)
        await shop.web.settled()
        return await shop.keys(1, "a", "z")

    (key,) = asyncio.run(story())
    assert key["key_extension"]["noclone_origin"] == "hardware"
    assert "vendor:acme" in key["key_extension"]["noclone_leaks"]
    assert "node:b" in key["key_extension"]["noclone_leaks"]


def test_a_full_pool_asks_for_nothing(shop: Any) -> None:
    async def story() -> None:
        task = asyncio.create_task(shop.alice.run())
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    shop.link = replace(shop.link, stock_bits=20_000)
    shop.start()
    asyncio.run(story())
    assert shop.bits["a"] == 3 * 8192


def test_two_draws_at_a_time_are_one_too_many(shop: Any) -> None:
    async def story() -> None:
        held = asyncio.Event()
        real = shop.vendor.dec_keys

        async def dec_keys(master: str, key_ids: Any) -> Any:
            await held.wait()
            return await real(master, key_ids)

        shop.vendor.dec_keys = dec_keys
        first, second = asyncio.create_task(shop.alice.draw()), asyncio.create_task(shop.alice.draw())
        done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(DrawFailed, match="under way"):
            done.pop().result()
        held.set()
        await asyncio.wait([first, second])

    asyncio.run(story())
