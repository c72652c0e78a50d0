"""A block of key relayed over several hops: both ends hold it, applications get it, and nobody else could."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from noclone.errors import NocloneError
from noclone.kms.keys import Refused
from noclone.kms.relay_calls import RelayFailed
from noclone.kms.relay_statements import Notary
from noclone.kms.requests import KeyRequest
from noclone.network.identities import load_kme
from noclone.relayed import RelayProvenance
from noclone.trust.formula import Atom
from noclone.trust.provenance import formula_of_key

CHAIN = "ab bc cd dz"
TWO = "ab bz ac cz"
THREE = "ab bz ac cz ad dz"


def run(network: Any, story: Any) -> None:
    async def whole() -> None:
        try:
            await story(network)
        finally:
            await network.close()

    asyncio.run(whole())


async def keys(network: Any, number: int = 4, **fields: Any) -> list[tuple[bytes, dict[str, Any]]]:
    """Let sae-a and sae-z get keys as applications do; return each value, and its labels."""
    request = KeyRequest.model_validate({"number": number, **fields})
    there = await network.kmes["a"].enc_keys("sae-a", "sae-z", request)
    ids = [key.key_id for key in there.keys]
    here = await network.kmes["z"].dec_keys("sae-z", "sae-a", ids)
    one, other = there.to_json()["keys"], here.to_json()["keys"]
    assert one == other  # the same bytes, and the same labels, at both ends
    return [(base64.b64decode(entry["key"]), entry["key_extension"]) for entry in one]


@pytest.mark.parametrize(
    ("edges", "paths", "threshold", "profile", "nodes"),
    [
        (CHAIN, ["abcdz"], 1, "paths-1", ["b", "c", "d"]),
        (TWO, ["abz", "acz"], 2, "paths-2", ["b", "c"]),
        (THREE, ["abz", "acz", "adz"], 2, "shares-2-3", ["b", "c", "d"]),
        ("ab bz az", ["az", "abz"], 2, "paths-2", ["b"]),
    ],
)
def test_a_relayed_block_serves_applications(
    web: Any, edges: str, paths: list[str], threshold: int, profile: str, nodes: list[str]
) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        made = await network.relays["a"].relay(paths, threshold, 4096)
        assert isinstance(made, RelayProvenance)
        await network.settled()
        assert network.ready_bits("a", "z", profile) == network.ready_bits("z", "a", profile) == 8 * 4096
        found = await keys(network, 8)
        assert len({value for value, _ in found}) == 8
        if "az" not in edges:
            formula = formula_of_key([made], master_site="a", slave_site="z")
            assert found[0][1]["noclone_formula_sha256"] == formula.sha256()
            assert found[0][1]["noclone_nodes"] == nodes
        assert network.events("z", "relay.received")[0]["nodes"] == nodes

    run(web(edges), story)


def test_the_target_may_begin_as_well_and_both_directions_serve(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        await network.relays["z"].relay(["zdcba"], 1, 1024)
        await network.relays["a"].relay(["abcdz"], 1, 1024)
        await network.settled()
        assert network.ready_bits("a", "z", "paths-1") == 8 * 2048
        there = await keys(network, 16)
        request = KeyRequest.model_validate({"number": 16})
        back = await network.kmes["z"].enc_keys("sae-z", "sae-a", request)
        assert not {value for value, _ in there} & {key.value for key in back.keys}

    run(web(CHAIN), story)


def test_key_crosses_only_under_pads(web: Any) -> None:
    """No message holds 16 bytes of the key in a row, in any of the encodings that are used."""

    async def story(network: Any) -> None:
        await network.fill()
        await network.relays["a"].relay(["abz", "acz"], 2, 1024)
        await network.settled()
        found = await keys(network, 16)
        raw = b"".join(
            base64.b64decode(json.loads(text)["message"]["data"])
            for _, _, operation, text in network.said
            if operation == "relay-share"
        )
        everything = " ".join(text for *_, text in network.said)
        for value, _ in found:
            for start in range(0, 32, 16):
                piece = value[start : start + 16]
                assert piece not in raw
                assert piece.hex() not in everything

    run(web(TWO), story)


def test_no_pad_is_used_twice_and_each_is_burned(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        for _ in range(3):
            await network.relays["a"].relay(["abcdz"], 1, 1024)
        pads = [json.loads(text)["message"]["key_id"] for *_, op, text in network.said if op == "relay-share"]
        assert len(set(pads)) == len(pads) == 12
        for sender, receiver, operation, text in network.said:
            if operation == "relay-share":
                key_id = json.loads(text)["message"]["key_id"]
                with pytest.raises(Refused) as refused:
                    network.kmes[receiver].store.collect(f"kme:{receiver}", f"kme:{sender}", [key_id]).result()
                assert refused.value.reason == "not-found"

    run(web(CHAIN), story)


def test_an_application_cannot_get_a_pad(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        await network.relays["a"].relay(["abcdz"], 1, 1024)
        key_id = next(json.loads(text)["message"]["key_id"] for *_, op, text in network.said if op == "relay-share")
        pad = await network.kmes["a"].pad("b", 64)
        for who, master in (("sae-b", "sae-a"), ("kme:b", "kme:a")):
            for wanted in (key_id, pad.key_id):
                with pytest.raises(Refused) as refused:
                    await network.kmes["b"].dec_keys(who, master, [wanted])
                assert refused.value.status == 401

    run(web(CHAIN), story)


@pytest.mark.parametrize("what", ["lost", "answer lost"])
@pytest.mark.parametrize("operation", ["relay-offer", "relay-share", "relay-done"])
def test_what_is_lost_once_is_said_again_and_done_once(web: Any, operation: str, what: str) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        failures = [what]
        network.faults[operation] = lambda *_: failures.pop() if failures else None
        await network.relays["a"].relay(["abcdz"], 1, 1024)
        await network.settled()
        assert network.ready_bits("z", "a", "paths-1") == 8 * 1024
        texts = [text for *_, op, text in network.said if op == operation]
        assert len(texts) == len(set(texts)) + 1  # byte by byte the same
        await keys(network, 16)

    run(web(CHAIN), story)


def test_a_replay_does_nothing_even_after_a_restart(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        await network.relays["a"].relay(["abcdz"], 1, 1024)
        await network.settled()
        before = network.ready_bits("z", "a", "paths-1")
        messages = [(a, b, op, json.loads(text)) for a, b, op, text in network.said]
        for restart in (False, True):
            if restart:
                for node in network.nodes:
                    await network.relays[node].close()
                    network.kmes[node].store.close()
                    network.start(node)
            for sender, receiver, operation, message in messages:
                try:
                    await network.kmes[receiver].handlers[operation](sender, message)
                except NocloneError as error:
                    assert restart or operation in ("relay-offer",), error.message  # noqa: PT017
            await network.settled()
            assert network.ready_bits("z", "a", "paths-1") == network.ready_bits("a", "z", "paths-1") == before
        await keys(network, 16)

    run(web(CHAIN), story)


def test_a_pad_that_came_cannot_carry_another_message(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        await network.relays["a"].relay(["abcdz"], 1, 1024)
        a, b, _, text = next(said for said in network.said if said[2] == "relay-share" and said[0] == "b")
        message = json.loads(text)
        data = bytearray(base64.b64decode(message["message"]["data"]))
        data[0] ^= 1
        message["message"]["data"] = base64.b64encode(data).decode()
        with pytest.raises(NocloneError, match="in another message"):
            await network.kmes[b].handlers["relay-share"](a, message)

    run(web(CHAIN), story)


def altered(path: list[Any], change: Any) -> Any:
    def fault(_own: str, _name: str, _operation: str, message: dict[str, Any]) -> None:
        place: Any = message
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = change(place[path[-1]])

    return fault


def flipped(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[7] ^= 1
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("operation", "path", "change", "reason"),
    [
        ("relay-share", ["message", "data"], flipped, "refused"),
        ("relay-share", ["message", "tag"], lambda tag: f"{int(tag, 16) ^ 1:032x}", "refused"),
        ("relay-share", ["message", "key_id"], lambda _: "0" * 36, "refused"),
        ("relay-share", ["message", "hops", 0, "signature"], flipped, "refused"),
        ("relay-share", ["message", "hops", 0, "blocks", 0, "block"], lambda n: n + 1, "refused"),
        ("relay-share", ["message", "header", "time_s"], lambda t: t + 1, "refused"),
        ("relay-share", ["message", "header", "n_bytes"], lambda n: n - 8, "refused"),
        ("relay-share", ["message", "position"], lambda n: n + 1, "refused"),
        ("relay-done", ["tag"], lambda tag: f"{int(tag, 16) ^ 1:032x}", "mismatch"),
        ("relay-done", ["shares", "0", 1, "signature"], flipped, "unaccounted"),
        ("relay-done", ["shares", "0", 1, "blocks", 0, "link"], lambda _: "x-y", "unaccounted"),
        ("relay-done", ["shares"], lambda _: {}, "unaccounted"),
    ],
)
def test_what_is_altered_is_refused_and_nothing_is_kept(
    web: Any, operation: str, path: list[Any], change: Any, reason: str
) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        network.faults[operation] = altered(path, change)
        patient = network.relays["a"].settings
        if path == ["shares"]:  # word of a share that nobody tells of is waited for in vain: not for as long as else
            network.relays["a"].settings = replace(patient, timeout_s=5.0)
        with pytest.raises(RelayFailed) as failed:
            await network.relays["a"].relay(["abcz"], 1, 1024)
        assert failed.value.reason == reason
        network.relays["a"].settings = patient
        await network.settled()
        assert network.ready_bits("a", "z", "paths-1") == network.ready_bits("z", "a", "paths-1") == 0
        network.faults.clear()
        await network.relays["a"].relay(["abcz"], 1, 1024)
        await network.settled()
        await keys(network, 16)

    run(web("ab bc cz"), story)


def test_a_node_cannot_hide_what_its_pad_was_cut_from(web: Any) -> None:
    """b tells c that its pad came from another block; c knows better, though b signs its lie properly."""

    async def story(network: Any) -> None:
        await network.fill()
        await network.fill("bc", seeded_lie := "bc")  # noqa: F841
        notary: Notary = network.relays["b"]._calls.notary
        honest = notary.add_hop

        def lie(header: Any, share: int, hops: Any, receiver: str, blocks: Any) -> Any:
            from dataclasses import replace

            return honest(header, share, hops, receiver, [replace(block, link="b-c.quiet") for block in blocks])

        notary.add_hop = lie  # type: ignore[method-assign]
        with pytest.raises(RelayFailed) as failed:
            await network.relays["a"].relay(["abcz"], 1, 1024)
        assert failed.value.hop == ("b", "c")

    run(web("ab bc cz"), story)


def test_a_node_that_changes_its_share_is_caught(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        send = network.relays["b"]._calls.send_share

        async def change(header: Any, share: int, before: Any, value: bytearray) -> Any:
            value[100] ^= 4
            return await send(header, share, before, value)

        object.__setattr__(network.relays["b"]._hops, "_calls", _With(network.relays["b"]._calls, send_share=change))
        with pytest.raises(RelayFailed) as failed:
            await network.relays["a"].relay(["abz", "acz"], 2, 1024)
        assert failed.value.reason == "mismatch"
        await network.settled()
        assert network.ready_bits("z", "a", "paths-2") == 0

    run(web(TWO), story)


class _With:
    """Something with one method replaced."""

    def __init__(self, inner: Any, **methods: Any) -> None:
        self._inner, self._methods = inner, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


def test_k_of_n_survives_a_dead_node_and_says_who_may_have_seen_its_share(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        network.faults["relay-share"] = lambda own, name, *_: "lost" if name == "d" else None
        made = await network.relays["a"].relay(["abz", "acz", "adz"], 2, 1024)
        assert [len(hops) for hops in made.shares] == [2, 2, 1]
        formula = formula_of_key([made], master_site="a", slave_site="z")
        assert formula.leaks({Atom("node", "d"), Atom("node", "b")})
        assert not formula.leaks({Atom("node", "d"), Atom("link", "d-z")})
        await network.settled()
        found = await keys(network, 16)
        assert found[0][1]["noclone_formula_sha256"] == formula.sha256()

    run(web(THREE), story)


def test_a_loss_between_two_others_is_told_with_its_place(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill("ab", "bc", "dz")  # c and d share no key
        with pytest.raises(RelayFailed) as failed:
            await network.relays["a"].relay(["abcdz"], 1, 1024)
        assert (failed.value.reason, failed.value.hop) == ("keys-exhausted", ("c", "d"))
        assert network.events("c", "relay.lost")[0]["hop"] == "c-d"

    run(web(CHAIN), story)


def test_who_is_not_on_the_path_cannot_end_a_relay(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        gate = asyncio.Event()
        ask = network.relays["z"]._calls

        async def slow(*arguments: Any, **fields: Any) -> Any:
            await gate.wait()
            return await ask.ask(*arguments, **fields)

        network.relays["z"]._target._calls = _With(ask, ask=slow)
        task = asyncio.create_task(network.relays["a"].relay(["abz"], 1, 1024))
        await asyncio.sleep(0.3)
        transfer = json.loads(network.said[0][3])["header"]["transfer"]
        hops = next(json.loads(text)["message"]["hops"] for *_, op, text in network.said if op == "relay-share")
        report = {"transfer": transfer, "share": 0, "hops": hops, "hop": ["b", "z"], "reason": "x"}
        with pytest.raises(NocloneError):
            await network.kmes["a"].handlers["relay-lost"]("c", report)
        with pytest.raises(NocloneError):
            await network.kmes["a"].handlers["relay-lost"]("c", {**report, "hop": ["c", "z"]})
        await network.kmes["z"].handlers["relay-drop"]("c", {"transfer": transfer})
        gate.set()
        await task

    run(web(TWO), story)


def test_a_full_pool_and_an_unasked_share_are_refused(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        network.kmes["z"].store.wants_key = lambda *_: False
        with pytest.raises(RelayFailed) as failed:
            await network.relays["a"].relay(["abcdz"], 1, 1024)
        assert failed.value.reason == "target-refused"
        del network.kmes["z"].store.wants_key
        network.faults["relay-offer"] = lambda *_: None
        network.kmes["z"].handlers["relay-offer"] = lambda *_: _nothing()
        with pytest.raises(RelayFailed) as failed:
            await network.relays["a"].relay(["abcdz"], 1, 1024)
        assert failed.value.hop == ("d", "z")

    run(web(CHAIN), story)


async def _nothing() -> dict[str, Any]:
    return {}


def test_what_one_end_alone_holds_is_erased_in_time(web: Any) -> None:
    async def story(network: Any) -> None:
        await network.fill()
        network.faults["relay-done"] = lambda *_: "answer lost"
        await network.relays["a"].relay(["abcdz"], 1, 1024)
        await network.settled()
        state = network.kmes["a"].store.pool("z", ("paths-1",)).result()
        assert (state.ready_out_bits, state.held_bits) == (0, 8 * 1024)
        assert await network.relays["a"].sweep() == 0
        network.clock.advance(1000.0)
        assert await network.relays["a"].sweep() == 1
        assert network.kmes["a"].store.pool("z", ("paths-1",)).result().held_bits == 0

    run(web(CHAIN, settings=None), story)


def test_signatures_are_of_the_kme_that_they_name(relay_pki: Any) -> None:
    notaries = {}
    for name in "ab":
        identity = load_kme(relay_pki, name)
        notaries[name] = Notary.load(name, identity.certificate, identity.key, identity.kme_ca)
    certificate, signature = notaries["a"].sign(b"x")
    notaries["b"].check("a", b"x", certificate, signature)
    for name, statement, mark in (("b", b"x", signature), ("a", b"y", signature), ("a", b"x", flipped(signature))):
        with pytest.raises(NocloneError):
            notaries["b"].check(name, statement, certificate, mark)
    for bad in ("", "AAAA", "not base64"):
        with pytest.raises(NocloneError):
            notaries["b"].check("a", b"x", bad, signature)
