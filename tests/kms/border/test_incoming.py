"""Keys that another operator's KME passes on to us: durable, delivered once, acknowledged until that is heard."""

from __future__ import annotations

import asyncio
import base64
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from noclone.kms import border_in, border_messages
from noclone.kms.border_messages import ACK_PATH, KEYS_PATH, VERSIONS_PATH, VOID_PATH
from noclone.kms.keys import Refused
from noclone.network.identities import load_certificate

frontier: Any = sys.modules["border_frontier"]


def run(make: Callable[[], Any], story: Any, fill: bool = True) -> None:
    async def whole() -> None:
        async with make() as border:
            if fill:
                await border.web.fill()
            await story(border)

    asyncio.run(whole())


def test_keys_are_carried_to_their_site_and_acknowledged(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        keys = frontier.some_keys(3)
        assert await border.pass_on(keys) == (202, None)
        await border.until(lambda: border.door.acks())
        assert [(status, set(ids)) for status, ids in border.door.acks()] == [("relayed", set(keys))]
        got = await border.web.kmes["a"].dec_keys("sae-a", "sae-p", list(keys))
        assert {key.key_id: key.value for key in got.keys} == keys
        label = got.to_json()["keys"][0]["key_extension"]
        assert label["noclone_leaks"] == (
            "bootstrap:a-b OR border:b+abroad/p OR domain:abroad OR link:a-b OR node:abroad/p OR node:b OR site:a"
        )
        assert (label["noclone_origin"], label["noclone_domains"]) == ("unknown", ["abroad"])
        crossed = "\n".join(text for *_, text in border.web.said)  # between gate and site: ciphertext only
        for value in keys.values():
            assert value.hex() not in crossed
            assert base64.b64encode(value).decode().rstrip("=") not in crossed
        with pytest.raises(Refused):
            await border.web.kmes["a"].dec_keys("sae-a", "sae-p", list(keys)[:1])

    run(make, story)


def test_a_key_for_the_gates_own_application_goes_nowhere_else(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        keys = frontier.some_keys(1, 8)
        assert await border.pass_on(keys, target_sae_ids=["sae-b"]) == (202, None)
        await border.until(lambda: border.door.acks())
        got = await border.web.kmes["b"].dec_keys("sae-b", "sae-p", list(keys))
        assert got.keys[0].value == next(iter(keys.values()))
        assert border.web.said == []

    run(make, story, fill=False)


def test_two_targets_get_a_copy_each_and_nobody_else_does(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        keys = frontier.some_keys(1)
        assert (await border.pass_on(keys, target_sae_ids=["sae-a", "sae-a2"]))[0] == 202
        await border.until(lambda: border.door.acks())
        a = border.web.kmes["a"]
        first = await a.dec_keys("sae-a", "sae-p", list(keys))
        second = await a.dec_keys("sae-a2", "sae-p", list(keys))
        assert first.keys[0].value == second.keys[0].value

    run(make, story)


def test_a_replay_is_one_key_and_is_told_again(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        keys = frontier.some_keys(1)
        body = frontier.container(keys)
        assert (await border.ask("POST", KEYS_PATH, body))[0] == 202
        await border.until(lambda: len(border.door.acks()) == 1)
        a = border.web.kmes["a"]
        await a.dec_keys("sae-a", "sae-p", list(keys))
        assert (await border.ask("POST", KEYS_PATH, body))[0] == 202
        await border.until(lambda: len(border.door.acks()) == 2)
        assert border.door.acks()[1] == ("relayed", list(keys))
        with pytest.raises(Refused):  # it does not come back
            await a.dec_keys("sae-a", "sae-p", list(keys))

    run(make, story)


def test_another_key_under_a_known_id_is_refused_without_saying_that_nothing_is_kept(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        keys = frontier.some_keys(1)
        await border.pass_on(keys)
        (key_id,) = keys
        for other in ({"keys": {key_id: bytes(32)}}, {"keys": keys, "target_sae_ids": ["sae-b"]},
                      {"keys": keys, "initiator_sae_id": "sae-q"}):  # fmt: skip
            status, problem = await border.pass_on(other.pop("keys"), **other)
            assert (status, list(problem["details"])) == (503, ["key_id_conflict"])
        await border.until(lambda: border.door.acks())
        got = await border.web.kmes["a"].dec_keys("sae-a", "sae-p", [key_id])
        assert got.keys[0].value == keys[key_id]

    run(make, story)


UUID = "550e8400-e29b-41d4-a716-446655440000"
VALUE = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("changes", "status", "name"),
    [
        ({"initiator_sae_id": "stranger"}, 400, "initiator_sae_id_not_recognized"),
        ({"target_sae_ids": ["stranger"]}, 400, "target_sae_id_not_recognized"),
        ({"target_sae_ids": ["sae-q"]}, 400, "invalid_routing"),
        ({"target_sae_ids": ["sae-a", "sae-b"]}, 503, "no_route_multiple_targets"),
        ({"target_sae_ids": ["sae-a", "sae-a"]}, 400, "malformed_property"),
        ({"target_sae_ids": []}, 400, "malformed_property"),
        ({"initiator_sae_id": "kme:a"}, 400, "malformed_property"),
        ({"initiator_sae_id": "a b"}, 400, "malformed_property"),
        ({"initiator_sae_id": "x" * 65}, 400, "malformed_property"),
        ({"ack_callback_url": None}, 400, "missing_parameters"),
        ({"ack_callback_url": "https://evil.example/kmapi/v1/ext_keys/ack"}, 400, "malformed_property"),
        ({"ack_callback_url": "https://127.0.0.1:9999@evil.example/"}, 400, "malformed_property"),
        ({"ack_callback_url": "http://127.0.0.1:9999/"}, 400, "malformed_property"),
        ({"extension_mandatory": {"E32473_ext1": 1}}, 503, "unsupported_mandatory_extension"),
        ({"extension_mandatory": []}, 400, "malformed_property"),
        ({"keys": []}, 400, "malformed_property"),
        ({"keys": [{"key_id": "no", "value": VALUE}]}, 400, "malformed_property"),
        ({"keys": [{"key_id": UUID, "value": "%"}]}, 400, "malformed_property"),
        ({"keys": [{"key_id": UUID, "value": ""}]}, 400, "malformed_property"),
        ({"keys": [{"key_id": UUID}]}, 400, "malformed_property"),
        ({"keys": 2 * [{"key_id": UUID, "value": VALUE}]}, 400, "malformed_property"),
    ],
)
def test_what_cannot_be_is_refused_in_the_standards_words(
    make: Callable[[], Any], changes: dict[str, Any], status: int, name: str
) -> None:
    async def story(border: Any) -> None:
        found, problem = await border.ask("POST", KEYS_PATH, frontier.container(frontier.some_keys(1), **changes))
        assert (found, list(problem["details"])) == (status, [name])
        assert problem["type"].startswith("https://qkd.etsi.org/gs020-interop-kms/")
        assert (problem["status"], bool(problem["title"])) == (status, True)
        assert border.web.kmes["b"].store.commits.run(_count) == 0  # nothing is kept

    run(make, story, fill=False)


def _count(connection: Any) -> int:
    from sqlalchemy import func, select

    from noclone.kms.tables import border_key

    return int(connection.execute(select(func.count()).select_from(border_key)).scalar_one())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"keys": 1, "keys": 2}', b"[" * 5000, b"x" * (3 << 20)])
@pytest.mark.parametrize("path", [KEYS_PATH, ACK_PATH, VOID_PATH])
def test_nonsense_is_400(make: Callable[[], Any], path: str, body: bytes) -> None:
    async def story(border: Any) -> None:
        status, problem = await border.ask("POST", path, body)
        assert (status, problem) == (200, None) if (path, body) == (ACK_PATH, b"[]") else status == 400
        assert status == 200 or problem["details"]

    run(make, story, fill=False)


def test_who_is_not_the_other_kme_gets_401_and_no_other_call_exists(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        for who in ("kmes/a/kme", "saes/sae-1/sae"):
            certificate = load_certificate(border.pki / f"{who}.crt")
            for method, path in (("GET", VERSIONS_PATH), ("POST", KEYS_PATH), ("POST", ACK_PATH), ("POST", VOID_PATH)):
                status, problem = await border.ask(method, path, [], certificate)
                assert (status, list(problem["details"])) == (401, ["unauthorized"])
        assert await border.ask("GET", VERSIONS_PATH) == (200, {"versions": ["v1"]})
        assert (await border.ask("GET", KEYS_PATH))[0] == 405
        assert (await border.ask("GET", "/kmapi/v2/ext_keys"))[0] == 404

    run(make, story, fill=False)


def test_an_optional_extension_that_nobody_knows_does_no_harm(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        assert (await border.pass_on(frontier.some_keys(1), extension_optional={"E32473_x": {"y": 1}}))[0] == 202

    run(make, story)


def test_void_before_delivery_after_it_and_of_what_never_came(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        keys, a = frontier.some_keys(2), border.web.kmes["a"]
        early, late = keys
        await border.pass_on(keys)
        await border.until(lambda: border.door.acks())
        await a.dec_keys("sae-a", "sae-p", [late])
        never = str(uuid.uuid4())
        assert await border.void([early, late, never]) == (202, None)
        await border.until(lambda: len(border.door.acks()) == 4)
        told = {ids[0]: status for status, ids in border.door.acks()[1:]}
        assert told == {early: "voided", late: "failed to void", never: "key not present"}
        with pytest.raises(Refused):
            await a.dec_keys("sae-a", "sae-p", [early])
        assert (await border.pass_on({never: bytes(32), early: keys[early]}))[0] == 202  # they came too late
        await border.until(lambda: len(border.door.acks()) == 5)
        assert (border.door.acks()[4][0], set(border.door.acks()[4][1])) == ("failed", {never, early})
        for key_id in (never, early):
            with pytest.raises(Refused):
                await a.dec_keys("sae-a", "sae-p", [key_id])
        assert (await border.void([early], target_sae_ids=["sae-b"]))[0] == 400  # not of these applications

    run(make, story)


def test_everything_between_two_applications_is_voided_only_when_that_is_meant(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        keys = frontier.some_keys(2)
        await border.pass_on(keys)
        await border.until(lambda: border.door.acks())
        status, problem = await border.void([])
        assert (status, list(problem["details"])) == (400, ["no_all_confirmation"])
        assert (await border.void([], all_confirmation=True))[0] == 202
        await border.until(lambda: len(border.door.acks()) == 2)
        assert (border.door.acks()[1][0], set(border.door.acks()[1][1])) == ("voided", set(keys))

    run(make, story)


def test_an_acknowledgement_is_repeated_until_it_is_heard(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        answers: list[Any] = ["lost", (503, None), (200, None)]
        border.door.usual = lambda path, body: answers.pop(0) if path == ACK_PATH else (202, None)
        await border.pass_on(frontier.some_keys(1))
        await border.until(lambda: not answers)
        assert len(border.door.acks()) == 3
        assert len({str(ack) for ack in border.door.acks()}) == 1

    run(make, story)


def test_what_the_other_side_does_not_know_any_more_is_voided(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        border.door.usual = lambda path, body: (
            (400 if body[0]["ack_status"] == "relayed" else 200, None) if path == ACK_PATH else (202, None)
        )
        keys = frontier.some_keys(1)
        await border.pass_on(keys)
        await border.until(lambda: len(border.door.acks()) == 2)
        assert border.door.acks()[1][0] == "voided"
        with pytest.raises(Refused):
            await border.web.kmes["a"].dec_keys("sae-a", "sae-p", list(keys))

    run(make, story)


def test_without_key_for_pads_it_waits_and_then_fails(make: Callable[[], Any]) -> None:
    async def story(border: Any) -> None:
        await border.pass_on(frontier.some_keys(1))
        await asyncio.sleep(0.3)
        assert border.door.acks() == []
        border.web.clock.advance(10.0)
        await border.until(lambda: border.door.acks())
        assert border.door.acks()[0][0] == "failed"

    run(make, story, fill=False)


def test_a_restart_goes_on_with_what_was_accepted(make: Callable[[], Any]) -> None:
    keys = frontier.some_keys(2)

    async def first() -> None:
        border = make()
        await border.web.fill()
        border.web.dead.add("a")
        async with border:
            await border.pass_on(keys)
            await asyncio.sleep(0.2)
            assert border.door.acks() == []

    async def second(border: Any) -> None:
        await border.web.kmes["a"].resume("b")
        await border.web.kmes["b"].resume("a")
        await border.until(lambda: border.door.acks())
        assert (border.door.acks()[0][0], set(border.door.acks()[0][1])) == ("relayed", set(keys))
        got = await border.web.kmes["a"].dec_keys("sae-a", "sae-p", list(keys))
        assert {key.key_id: key.value for key in got.keys} == keys

    asyncio.run(first())
    run(make, second, fill=False)


def test_too_many_keys_at_a_time_are_too_many(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border_in, "WAITING_MAX", 3)
    monkeypatch.setattr(border_messages, "KEYS_MAX", 1024)

    async def story(border: Any) -> None:
        assert (await border.pass_on(frontier.some_keys(4)))[0] == 503
        assert (await border.pass_on(frontier.some_keys(1025)))[0] == 400

    run(make, story, fill=False)
