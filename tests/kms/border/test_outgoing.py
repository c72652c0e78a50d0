"""Keys that we pass on to another operator's KME: released only after `relayed`, voided whenever that is in doubt."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from noclone.kms import border_out
from noclone.kms.border_messages import ACK_PATH, KEYS_PATH, VOID_PATH
from noclone.kms.keys import Refused
from noclone.kms.requests import KeyRequest

frontier: Any = sys.modules["border_frontier"]


def run(make: Callable[[], Any], story: Any, fill: bool = True) -> None:
    async def whole() -> None:
        async with make() as border:
            if fill:
                await border.web.fill()
            await story(border)

    asyncio.run(whole())


def ask_for(border: Any, sae: str = "sae-a", number: int = 2, slave: str = "sae-p", **more: Any) -> asyncio.Task[Any]:
    request = KeyRequest.model_validate({"number": number, **more})
    kme = border.web.kmes[border.web.saes[sae]]
    return asyncio.create_task(kme.enc_keys(sae, slave, request))


async def ack(border: Any, status: str, body: Any, ids: list[str] | None = None) -> tuple[int, Any]:
    told = {
        "key_id_container": [{"key_id": i} for i in ids or [key["key_id"] for key in body["keys"]]],
        "ack_status": status,
        "initiator_sae_id": body["initiator_sae_id"],
        "target_sae_ids": body["target_sae_ids"],
    }
    found: tuple[int, Any] = await border.ask("POST", ACK_PATH, [told])
    return found


def states(border: Any) -> set[str]:
    from sqlalchemy import select

    from noclone.kms.tables import border_key

    rows = border.web.kmes["b"].store.commits.run(
        lambda c: list(c.execute(select(border_key.c.state).where(border_key.c.direction == "out")).scalars())
    )
    return set(rows)


async def body_of(border: Any) -> Any:
    await border.until(lambda: border.door.sent(KEYS_PATH))
    return border.door.sent(KEYS_PATH)[-1]


@pytest.mark.parametrize("sae", ["sae-a", "sae-b"])
def test_a_master_gets_its_keys_once_the_other_side_has_them(make: Callable[[], Any], sae: str) -> None:
    async def story(border: Any) -> None:
        task = ask_for(border, sae, 3, size=128, additional_slave_SAE_IDs=["sae-q"])
        body = await body_of(border)
        assert (body["initiator_sae_id"], body["target_sae_ids"]) == (sae, ["sae-p", "sae-q"])
        assert body["ack_callback_url"] == "https://127.0.0.1:8888/kmapi/v1/ext_keys/ack"
        await asyncio.sleep(0.2)
        assert not task.done()  # 202 says nothing yet
        assert await ack(border, "relayed", body, [body["keys"][0]["key_id"]]) == (200, None)
        await asyncio.sleep(0.2)
        assert not task.done()  # all or none
        assert await ack(border, "relayed", body, [key["key_id"] for key in body["keys"][1:]]) == (200, None)
        got = await task
        assert [(key.key_id, base64.b64encode(key.value).decode()) for key in got.keys] == [
            (key["key_id"], key["value"]) for key in body["keys"]
        ]
        assert all(uuid.UUID(key.key_id).version == 4 for key in got.keys)
        label = got.to_json()["keys"][0]["key_extension"]
        assert "domain:abroad" in label["noclone_leaks"]
        assert ("site:b" if sae == "sae-b" else "node:b") in label["noclone_leaks"]
        crossed = "\n".join(text for *_, text in border.web.said)
        assert not any(key["value"].rstrip("=") in crossed for key in body["keys"])
        events = "\n".join(event.to_json() for kme in border.web.kmes.values() for event in kme.events.since(0))
        assert not any(key["value"] in events for key in body["keys"])
        assert await ack(border, "relayed", body) == (200, None)  # once more does no harm

    run(make, story)


def test_the_same_keys_are_sent_again_while_nobody_knows(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(border_out, "RETRY_S", (0.01,))

    async def story(border: Any) -> None:
        border.door.answers = ["lost", (503, {}), (408, {}), (202, None)]
        task = ask_for(border)
        await border.until(lambda: len(border.door.sent(KEYS_PATH)) == 4)
        sent = border.door.sent(KEYS_PATH)
        assert all(body == sent[0] for body in sent)
        await ack(border, "relayed", sent[0])
        assert len((await task).keys) == 2
        assert border.door.sent(VOID_PATH) == []

    run(make, story)


@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_is_the_end_and_nothing_is_voided(make: Callable[[], Any], status: int) -> None:
    async def story(border: Any) -> None:
        border.door.answers = [(status, {"type": "x", "details": {"why": "because\x00"}})]
        with pytest.raises(Refused) as refused:
            await ask_for(border)
        assert (refused.value.status, refused.value.reason, refused.value.detail) == (503, "border-refused", "because")
        await asyncio.sleep(0.2)
        assert (states(border), border.door.sent(VOID_PATH)) == ({"failed"}, [])

    run(make, story)


def test_without_an_acknowledgement_the_keys_are_voided(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        with pytest.raises(Refused) as refused:
            await ask_for(border)
        assert (refused.value.status, refused.value.reason) == (503, "border-timeout")
        await border.until(lambda: border.door.sent(VOID_PATH))
        body, void = border.door.sent(KEYS_PATH)[0], border.door.sent(VOID_PATH)[0]
        assert set(void["key_ids"]) == {key["key_id"] for key in body["keys"]}
        assert await ack(border, "relayed", body) == (200, None)  # too late: it changes nothing
        assert states(border) == {"voiding"}
        assert await ack(border, "failed to void", body) == (200, None)
        assert states(border) == {"void"}
        assert border.web.kmes["a"].store.undelivered("b").result() == []
        assert border.web.kmes["a"].store.pool("b").result().reserved_keys == 0

    run(make, story)


def test_when_a_part_fails_all_of_it_is_void(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        task = ask_for(border, number=3)
        body = await body_of(border)
        ids = [key["key_id"] for key in body["keys"]]
        await ack(border, "relayed", body, ids[:2])
        await ack(border, "failed", body, ids[2:])
        with pytest.raises(Refused) as refused:
            await task
        assert refused.value.reason == "border-failed"
        await border.until(lambda: border.door.sent(VOID_PATH))
        assert set(border.door.sent(VOID_PATH)[0]["key_ids"]) == set(ids[:2])

    run(make, story)


def test_acknowledgements_of_other_keys_or_other_applications_are_none(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        task = ask_for(border)
        body = await body_of(border)
        for wrong in ({"initiator_sae_id": "sae-b"}, {"target_sae_ids": ["sae-q"]}):
            status, problem = await ack(border, "relayed", body | wrong)
            assert (status, list(problem["details"])) == (400, ["key_not_present"])
        status, _ = await ack(border, "relayed", body, [str(uuid.uuid4())])
        assert status == 400
        status, problem = await ack(border, "delivered", body)
        assert (status, list(problem["details"])) == (400, ["ack_not_understood"])
        assert not task.done()
        await ack(border, "relayed", body)
        await task

    run(make, story)


def test_when_its_master_is_gone_the_keys_are_voided(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        task = ask_for(border)
        body = await body_of(border)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await border.until(lambda: border.door.sent(VOID_PATH))
        assert set(border.door.sent(VOID_PATH)[0]["key_ids"]) == {key["key_id"] for key in body["keys"]}

    run(make, story)


def test_who_does_not_fetch_what_was_relayed_does_not_get_it(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(border_out, "PICK_UP_S", 0.5)

    async def story(border: Any) -> None:
        border.web.faults["border-order"] = lambda own, name, operation, message: "answer lost"
        task = ask_for(border)
        body = await body_of(border)
        await ack(border, "relayed", body)
        with pytest.raises(Refused) as refused:
            await task
        assert refused.value.status == 503
        await border.until(lambda: border.door.sent(VOID_PATH))

    run(make, story)


def test_what_was_under_way_at_a_stop_is_void_after_it(make: Callable[[], Any]) -> None:
    async def first() -> None:
        async with make() as border:
            await border.web.fill()
            task = ask_for(border)
            await body_of(border)
            await border.rest()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def second(border: Any) -> None:
        await border.until(lambda: border.door.sent(VOID_PATH))
        void = border.door.sent(VOID_PATH)[0]
        body = {**void, "keys": [{"key_id": i} for i in void["key_ids"]]}
        assert await ack(border, "voided", body) == (200, None)
        assert states(border) == {"void"}
        await border.web.kmes["a"].resume("b")
        assert border.web.kmes["a"].store.undelivered("b").result() == []

    asyncio.run(first())
    run(make, second, fill=False)


@pytest.mark.parametrize(
    ("wanted", "slave", "reason"),
    [
        ({"number": 129}, "sae-p", "bad-number"),
        ({"size": 12}, "sae-p", "bad-size"),
        ({"size": 1 << 20}, "sae-p", "bad-size"),
        ({"additional_slave_SAE_IDs": ["sae-b"]}, "sae-p", "unknown-slave"),
        ({"additional_slave_SAE_IDs": ["sae-p"]}, "sae-p", "duplicate-slave"),
        ({}, "nobody", "unknown-slave"),
    ],
)
def test_what_cannot_be_asked_is_400(make: Callable[[], Any], wanted: Any, slave: str, reason: str) -> None:
    async def story(border: Any) -> None:
        with pytest.raises(Refused) as refused:
            await ask_for(border, slave=slave, **{"number": 1, **wanted})
        assert (refused.value.status, refused.value.reason) == (400, reason)
        assert border.door.said == []

    run(make, story, fill=False)


def test_a_stranger_of_our_own_domain_can_order_and_carry_nothing(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        task = ask_for(border)
        body = await body_of(border)
        order = next(json.loads(text) for _, _, what, text in border.web.said if what == "border-order")
        cargo = next(json.loads(text) for _, _, what, text in border.web.said if what == "border-carry")
        gate, site = border.web.kmes["b"], border.web.kmes["a"]
        with pytest.raises(Exception, match="cannot share keys over this border"):
            await gate.handlers["border-order"]("z", {**order, "request": str(uuid.uuid4())})
        with pytest.raises(Exception, match="no such border"):
            await gate.handlers["border-order"]("a", {**order, "domain": "elsewhere"})
        for change in ({"number": 0}, {"number": True}, {"size_bits": 9}, {"slaves": []}, {"request": "x"}):
            with pytest.raises(ValueError):
                await gate.handlers["border-order"]("a", {**order, "request": str(uuid.uuid4()), **change})
        with pytest.raises(Exception, match="does not come from a border of ours"):
            await site.handlers["border-carry"]("z", cargo)
        assert await site.handlers["border-carry"]("b", cargo) == {}  # a replay is answered, and does nothing
        fresh = {**cargo, "cargo": {**cargo["cargo"], "request": str(uuid.uuid4())}}
        with pytest.raises(Exception, match="nobody here waits for these keys"):
            await site.handlers["border-carry"]("b", fresh)
        for change in ({"role": "slave"}, {"master": "sae-b"}, {"slaves": ["nobody"]}):
            with pytest.raises(Exception, match="not here, or not there"):
                await site.handlers["border-carry"]("b", {**cargo, "cargo": {**cargo["cargo"], **change}})
        for change in ({"data": "AA=="}, {"tag": "00"}, {"cargo": {}}, {"pad": 1}):
            with pytest.raises(ValueError):
                await site.handlers["border-carry"]("b", {**cargo, **change})
        await ack(border, "relayed", body)
        await task

    run(make, story)


def test_status_says_what_can_be_carried_now(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        at_site = await border.web.kmes["a"].status("sae-a", "sae-p")
        assert (at_site["source_KME_ID"], at_site["target_KME_ID"], at_site["stored_key_count"]) == ("a", "p", 256)
        assert (await border.web.kmes["b"].status("sae-b", "sae-p"))["stored_key_count"] > 1000

    run(make, story)
