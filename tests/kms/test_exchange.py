"""Combining key between two served KMEs: what it gives, what it is bound to, and what nobody can talk them into."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from noclone.combined import CombinedProvenance, combined_profile
from noclone.crypto.combiners import MODES, Mode
from noclone.crypto.kems import DEFAULT_SUITE
from noclone.errors import AuthenticationError, KmeError, NocloneError
from noclone.kms.calls import PeerRefused
from noclone.kms.exchange import Exchange
from noclone.kms.exchange_messages import Offer
from noclone.kms.keys import Refused
from noclone.kms.naming import name_keys
from noclone.kms.policies import Policies, Policy
from noclone.kms.relay_statements import ECDSA_P256, ML_DSA_65
from noclone.kms.requests import KeyRequest
from noclone.kms.signers import Signers
from noclone.kms.suites import Suites
from noclone.trust.formula import Atom
from noclone.trust.provenance import claim, formula_of_key

INNER = {mode: "" if mode == "kem" else "link" for mode in MODES}
SITES = ("alder", "birch")


def run(story: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(240):
            await story

    asyncio.run(bounded())


async def fetch(net: Any, profile: str, size: int = 256) -> tuple[Any, Any]:
    """Get a key of a profile as its master, and as its slave."""
    policy = Policy(("sae-a", "sae-b"), profile, require="post-quantum")
    suites = net.alder.kme.policies.suites
    net.alder.kme.policies = Policies([policy], suites)
    (one,) = (await net.alder.kme.enc_keys("sae-a", "sae-b", KeyRequest(size=size))).keys
    (two,) = (await net.birch.kme.dec_keys("sae-b", "sae-a", [one.key_id])).keys
    return one, two


@pytest.mark.parametrize("mode", MODES)
def test_both_ends_get_the_same_keys_of_a_combined_block(serve: Callable[[], Any], mode: Mode) -> None:
    async def story() -> None:
        async with serve() as net:
            made = await net.alder.exchange.exchange("birch", mode, 1024, INNER[mode])
            assert made.profile == combined_profile(mode, DEFAULT_SUITE, INNER[mode])
            assert made.signatures == (ECDSA_P256, ML_DSA_65)
            one, two = await fetch(net, f"{mode}:*" + (":link" if INNER[mode] else ""))
            assert one.value == two.value
            assert one.provenance == two.provenance == (made,)
            assert CombinedProvenance.from_json(made.to_json()) == made
            kinds = {event.kind for name in SITES for event in net.events[name]}
            assert "exchange.made" in kinds

    run(story())


def test_the_formula_tells_what_must_fall(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            qkd = Atom("link", "alder-birch")
            kems = {Atom("alg", "ML-KEM-768"), Atom("alg", "X25519")}
            forged = {Atom("alg", f"{name}@session") for name in (ECDSA_P256, ML_DSA_65)}
            kdf = Atom("alg", "HKDF-SHA384")
            for mode in MODES:
                made = await net.alder.exchange.exchange("birch", mode, 128, INNER[mode])
                formula = formula_of_key([made], master_site="alder", slave_site="birch")
                alone = mode == "kem"
                assert formula.leaks(kems) == alone
                assert formula.leaks(forged) == alone
                assert formula.leaks({qkd}) is False
                assert formula.leaks(kems | {qkd})
                assert formula.leaks(forged | {qkd})
                assert not formula.leaks({Atom("alg", "X25519"), Atom("alg", f"{ECDSA_P256}@session"), qkd})
                assert formula.leaks({kdf}) == (mode != "everlasting")
                assert formula.leaks({kdf, qkd})
            made = await net.alder.exchange.exchange("birch", "everlasting", 128, "link")
            assert claim([made]).startswith("about the model only, for the light is simulated: information-theoretic")
            made = await net.alder.exchange.exchange("birch", "catkdf", 128, "link")
            assert claim([made]).startswith("computational (HKDF-SHA384), and it takes both")

    run(story())


def test_requirements_are_predicates_on_the_formula(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            met = {
                "everlasting": {"information-theoretic", "hybrid", "post-quantum"},
                "catkdf": {"hybrid", "post-quantum"},
                "caskdf": {"hybrid", "post-quantum"},
                "kem": {"post-quantum"},
            }
            for mode in MODES:
                made = await net.alder.exchange.exchange("birch", mode, 128, INNER[mode])
                profile = f"{mode}:*" + (f":{INNER[mode]}" if INNER[mode] else "")
                for require in ("information-theoretic", "hybrid", "post-quantum"):
                    policy = Policy(("sae-a", "sae-b"), profile, require=require)  # type: ignore[arg-type]
                    problem = policy.violation([made], SITES, made.time_s, Suites())
                    assert (problem is None) == (require in met[mode]), (mode, require, problem)
            plain = (await net.alder.kme.pad("birch", 32)).provenance
            for require in ("hybrid", "post-quantum"):
                policy = Policy(("sae-a", "sae-b"), "link", require=require)  # type: ignore[arg-type]
                assert policy.violation(plain, SITES, 1.7e9, Suites()) == "no post-quantum algorithm protects it"

    run(story())


def test_a_delivered_key_is_bound_to_its_names(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            made = await net.alder.exchange.exchange("birch", "catkdf", 1024, "link")
            claimed = await net.stores["alder"].claim(
                "birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=256, profiles=[made.profile]
            )
            promise = claimed[0].assignment
            # The other KME is told of another application: it holds another key.
            await net.birch.kme.on_reserve("alder", [replace(promise, slaves=("sae-b2",))])
            (theirs,) = (await net.birch.kme.dec_keys("sae-b2", "sae-a", [promise.key_id])).keys
            assert theirs.value != claimed[0].keys[0].value
            for changed in (
                {"slaves": ("sae-b", "sae-b2")},
                {"master": "sae-a2"},
                {"key_id": promise.key_id[:-1] + "f"},
                {"size_bits": 248},
            ):
                other = name_keys(b"v" * 32, replace(promise, **changed), *SITES, [made])
                assert other != name_keys(b"v" * 32, promise, *SITES, [made])
            assert name_keys(b"v" * 32, promise, *SITES, [made]) != name_keys(b"v" * 32, promise, *SITES[::-1], [made])
            other = replace(made, transcript="0" * 96)
            assert name_keys(b"v" * 32, promise, *SITES, [made]) != name_keys(b"v" * 32, promise, *SITES, [other])
            everlasting = replace(made, mode="everlasting")
            assert name_keys(b"v" * 32, promise, *SITES, [everlasting]) == b"v" * 32

    run(story())


def test_the_qkd_key_serves_once_and_at_both_ends(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            key = await net.alder.kme.pad("birch", 32 + 64)

            async def same(*_: Any) -> Any:
                return key

            await net.alder.exchange.exchange("birch", "catkdf", 32, "link")
            net.alder.kme.pad = same
            await net.alder.exchange.exchange("birch", "catkdf", 32, "link")
            with pytest.raises(PeerRefused, match="not found"):
                await net.alder.exchange.exchange("birch", "everlasting", 32, "link")

    run(story())


def test_ends_that_do_not_hold_the_same_qkd_key_find_out(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            pad = net.alder.kme.pad

            async def wrong(*arguments: Any) -> Any:
                key = await pad(*arguments)
                return replace(key, value=bytes([key.value[0] ^ 1]) + key.value[1:])

            net.alder.kme.pad = wrong
            for mode in ("everlasting", "catkdf", "caskdf"):
                with pytest.raises(AuthenticationError, match="does not hold the key"):
                    await net.alder.exchange.exchange("birch", mode, 32, "link")

    run(story())


class Meddler:
    """Sits between two KMEs, past TLS, and changes what the initiator says or hears."""

    def __init__(self, link: Any, change: Callable[[str, dict[str, Any]], dict[str, Any]]) -> None:
        self._ask, self._change = link.ask, change
        link.ask = self.ask

    async def ask(self, operation: str, **fields: Any) -> Any:
        fields = self._change(operation, fields)
        answer = await self._ask(operation, **fields)
        return self._change("answer", answer) if operation == "exchange-offer" else answer


def offer_changed(name: str, value: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    def change(operation: str, fields: dict[str, Any]) -> dict[str, Any]:
        if operation != "exchange-offer":
            return fields
        return {"offer": {**fields["offer"], name: value(fields["offer"][name])}}

    return change


def answer_changed(name: str, value: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    def change(operation: str, fields: dict[str, Any]) -> dict[str, Any]:
        if operation != "answer":
            return fields
        return {**fields, "answer": {**fields["answer"], name: value(fields["answer"][name])}}

    return change


def flipped(texts: list[str]) -> list[str]:
    swap = "B" if texts[-1][8] == "A" else "A"
    return [*texts[:-1], texts[-1][:8] + swap + texts[-1][9:]]


MEDDLING = {
    "another suite": offer_changed("suite", lambda _: "mlkem1024-x25519"),
    "another combiner": offer_changed("mode", lambda _: "everlasting"),
    "no qkd": lambda operation, fields: (
        {"offer": {**fields["offer"], "mode": "kem", "key_id": "", "inner": "", "parts": []}}
        if operation == "exchange-offer"
        else fields
    ),
    "another block": offer_changed("block", lambda block: block + 2),
    "another time": offer_changed("time_s", lambda time_s: time_s + 1),
    "another length": offer_changed("n_bytes", lambda n: n + 32),
    "another public key": offer_changed("public", flipped),
    "the public keys swapped": offer_changed("public", lambda keys: keys[::-1]),
    "an empty public key": offer_changed("public", lambda keys: ["", keys[1]]),
    "no public key": offer_changed("public", lambda _: []),
    "no signatures": offer_changed("signatures", lambda _: []),
    "the classical signature alone": offer_changed("signatures", lambda entries: entries[:1]),
    "the classical signature twice": offer_changed("signatures", lambda entries: [entries[0], entries[0]]),
    "signatures that are none": offer_changed("signatures", lambda _: [1, None]),
    "other blocks": offer_changed("parts", lambda parts: [[parts[0][0], 7, parts[0][2]]]),
    "another ciphertext": answer_changed("ciphertexts", flipped),
    "an empty ciphertext": answer_changed("ciphertexts", lambda texts: ["", texts[1]]),
    "one ciphertext": answer_changed("ciphertexts", lambda texts: texts[:1]),
    "another tag": answer_changed("tag", lambda tag: "00" * 16 + tag[32:]),
    "no tag": answer_changed("tag", lambda _: ""),
    "no signatures in the answer": answer_changed("signatures", lambda _: []),
    "the classical signature alone in the answer": answer_changed("signatures", lambda entries: entries[:1]),
    "an answer to another offer": answer_changed("offer", lambda _: "0" * 96),
    "no answer": lambda operation, fields: {} if operation == "answer" else fields,
}


@pytest.mark.parametrize("what", MEDDLING)
def test_nobody_between_them_can_talk_two_kmes_into_something_else(serve: Callable[[], Any], what: str) -> None:
    async def story() -> None:
        async with serve() as net:
            Meddler(net.alder._links["birch"], MEDDLING[what])
            with pytest.raises(NocloneError):
                await net.alder.exchange.exchange("birch", "catkdf", 256, "link")
            for name, peer in (SITES, SITES[::-1]):
                profile = combined_profile("catkdf", DEFAULT_SUITE, "link")
                state = await net.stores[name].pool(peer, (profile,))
                assert (state.ready_out_bits, state.ready_in_bits, state.held_bits) == (0, 0, 0)

    run(story())


def test_a_tag_of_the_initiator_that_is_wrong_gives_no_block(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:

            def change(operation: str, fields: dict[str, Any]) -> dict[str, Any]:
                return {**fields, "tag": "00" * 32} if operation == "exchange-done" else fields

            Meddler(net.alder._links["birch"], change)
            with pytest.raises(PeerRefused, match="do not hold the key"):
                await net.alder.exchange.exchange("birch", "kem", 256)
            assert not net.birch.exchange._waiting

    run(story())


def test_the_same_words_again_have_the_same_answer(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            link, seen = net.alder._links["birch"], []
            ask = link.ask

            async def twice(operation: str, **fields: Any) -> Any:
                first = await ask(operation, **fields)
                second = await ask(operation, **fields)
                answers = [{k: v for k, v in answer.items() if k != "id"} for answer in (first, second)]
                seen.append(answers[0] == answers[1])
                return second

            link.ask = twice
            await net.alder.exchange.exchange("birch", "catkdf", 64, "link")
            assert seen == [True, True]

    run(story())


def test_an_offer_in_the_name_of_another_is_refused(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            offers: list[dict[str, Any]] = []
            Meddler(net.alder._links["birch"], lambda _, fields: (offers.append(fields), fields)[1])
            await net.alder.exchange.exchange("birch", "kem", 64)
            data = offers[0]
            with pytest.raises(KmeError, match="not from you"):
                await net.birch.exchange._on_offer("cedar", data)
            with pytest.raises(KmeError, match="not from you"):
                await net.alder.exchange._on_offer("alder", data)

    run(story())


def test_an_old_offer_is_refused(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            offers: list[dict[str, Any]] = []
            Meddler(net.alder._links["birch"], lambda _, fields: (offers.append(fields), fields)[1])
            await net.alder.exchange.exchange("birch", "kem", 64)
            old = Offer.from_json(offers[0]["offer"])
            net.birch.exchange._waiting.clear()
            with pytest.raises(KmeError, match="was here before"):
                await net.birch.exchange._on_offer("alder", {"offer": old.to_json()})
            with pytest.raises(KmeError, match="is old"):
                await net.birch.exchange._on_offer("alder", {"offer": replace(old, time_s=old.time_s - 600).to_json()})

    run(story())


def test_suites_change_with_overlap_and_end_when_deprecated(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            old, new = DEFAULT_SUITE, "mlkem1024-x25519"
            suites = {name: getattr(net, name).kme.policies.suites for name in SITES}
            await net.alder.exchange.exchange("birch", "kem", 256)
            suites["birch"].change([new, old])  # one end after the other
            await net.alder.exchange.exchange("birch", "kem", 256)
            suites["alder"].change([new, old])
            made = await net.alder.exchange.exchange("birch", "kem", 256)
            assert made.kems == ("X25519", "ML-KEM-1024")
            one, two = await fetch(net, "kem:*")
            assert one.value == two.value
            assert one.provenance[0].suite == new  # the preferred one first
            for _ in range(3):
                one, _ = await fetch(net, "kem:*")
            one, _ = await fetch(net, "kem:*")
            assert one.provenance[0].suite == old  # the old one still serves
            suites["birch"].change([new], deprecated=[old])
            with pytest.raises(Refused):
                await fetch(net, "kem:*")  # alder would still give it, birch does not
            suites["alder"].change([new], deprecated=[old])
            with pytest.raises(Refused, match="not enough"):
                await fetch(net, "kem:*")
            suites["alder"].change([old])
            with pytest.raises(PeerRefused, match="not accepted here"):
                await net.alder.exchange.exchange("birch", "kem", 256)

    run(story())


def test_signatures_are_not_negotiated(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            classical = Signers([net.alder._notaries[ECDSA_P256]])
            net.alder.exchange = Exchange(net.alder.exchange._calls, classical, net.alder.kme.policies.suites)
            with pytest.raises(PeerRefused, match="nothing less"):
                await net.alder.exchange.exchange("birch", "kem", 64)
            with pytest.raises(PeerRefused, match="nothing less"):
                await net.birch.exchange.exchange("alder", "kem", 64)

    run(story())


def test_a_block_that_one_end_alone_holds_is_nobodys_key_and_is_swept(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:

            async def dies(*_: Any) -> None:
                raise KmeError("the power is gone")

            net.alder.exchange._deposit = dies
            with pytest.raises(KmeError, match="power"):
                await net.alder.exchange.exchange("birch", "catkdf", 256, "link")
            profile = combined_profile("catkdf", DEFAULT_SUITE, "link")
            state = await net.stores["birch"].pool("alder", (profile,))
            assert (state.ready_out_bits, state.ready_in_bits, state.held_bits) == (0, 0, 8 * 256)
            later = net.stores["birch"].clock.now_s() + 1
            assert await net.stores["birch"].discard_held(later) == 1
            state = await net.stores["birch"].pool("alder", (profile,))
            assert state.held_bits == 0

    run(story())


def test_a_second_family_stands_beside_the_first(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            for name in SITES:
                getattr(net, name).kme.policies.suites.change(["mlkem768-hqc192-x25519"])
            made = await net.alder.exchange.exchange("birch", "catkdf", 256, "link")
            formula = formula_of_key([made], master_site="alder", slave_site="birch")
            both = {Atom("alg", "ML-KEM-768"), Atom("alg", "X25519"), Atom("link", "alder-birch")}
            assert not formula.leaks(both)
            assert formula.leaks(both | {Atom("alg", "HQC-192")})
            one, two = await fetch(net, "catkdf:*:link")
            assert one.value == two.value

    run(story())


def test_no_secret_is_in_an_event_or_a_repr(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            made = await net.alder.exchange.exchange("birch", "catkdf", 256, "link")
            one, _ = await fetch(net, "catkdf:*:link")
            everything = "".join(event.to_json() for name in SITES for event in net.events[name])
            everything += repr(made) + repr(net.alder.exchange.__dict__) + repr(net.birch.exchange._waiting)
            assert one.value.hex() not in everything
            assert repr(one.value) not in everything

    run(story())


def test_without_qkd_key_there_is_no_hybrid(serve: Callable[[], Any]) -> None:
    async def story() -> None:
        async with serve() as net:
            with pytest.raises(Refused, match="not enough"):
                await net.alder.exchange.exchange("birch", "catkdf", 1 << 16, "link")
            with pytest.raises(Refused, match="not enough"):
                await net.alder.exchange.exchange("birch", "catkdf", 64, "paths-1")

    run(story())
