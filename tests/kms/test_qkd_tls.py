"""QKD key in the TLS between KMEs: in the place of certificates, or mixed in above them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from noclone.errors import AuthenticationError, KmeError
from noclone.io import tls, tls_psk
from noclone.kms.frames import Frames, Seal
from noclone.kms.hello import VERSION
from noclone.kms.keys import Refused
from noclone.kms.qkd_tls import STANDING_MAX, Standing, introduces, seals
from noclone.kms.requests import KeyRequest

Serve = Callable[..., Any]
OWN = ("kme:alder", "kme:birch")


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


async def both_ready(network: Any) -> None:
    assert await network.alder.ready("birch")
    assert await network.birch.ready("alder")


async def deliver(network: Any) -> bytes:
    delivered = await network.alder.kme.enc_keys("sae-a", "sae-b", KeyRequest())
    got = await network.birch.kme.dec_keys("sae-b", "sae-a", [delivered.keys[0].key_id])
    assert got.keys[0].value == delivered.keys[0].value
    return bytes(got.keys[0].value)


def stood_on(network: Any) -> list[str]:
    return [e.data["stands_on"] for e in network.events["alder"] if e.kind == "kme.connected"]


async def introduced(network: Any) -> Frames:
    """Call birch with alder's true certificate, and no more."""
    place = network.pki / "kmes/alder"
    context = tls.client_context(place / "kme.crt", place / "kme.key", place / "kme-ca.crt")
    reader, writer, _ = await tls.connect_streams(context, "127.0.0.1", network.birch.kme_port)
    frames = Frames(reader, writer)
    await frames.send({"op": "hello", "version": VERSION, "from": "alder", "to": "birch", "unit_bits": 256})
    await frames.receive(5)
    return frames


@pytest.mark.parametrize("use", ["mixed", "psk"])
def test_conversations_come_to_stand_on_a_qkd_key_and_deliver(serve: Serve, use: str) -> None:
    async def story() -> None:
        async with serve(qkd_tls=use) as network:
            await both_ready(network)
            await deliver(network)
            assert stood_on(network) == (["certificates"] if use == "mixed" else ["certificates", "QKD key"])

    asyncio.run(story())


@pytest.mark.parametrize("use", ["mixed", "psk"])
def test_a_conversation_that_broke_comes_back_under_another_key(serve: Serve, use: str) -> None:
    async def story() -> None:
        async with serve(qkd_tls=use) as network:
            await both_ready(network)
            link = network.alder._links["birch"]
            await wait_until(lambda: use == "mixed" or link._next is not None)
            before = link._frames
            before.close()
            await wait_until(lambda: link._frames is not before and link.ready)
            await deliver(network)
            used = [e.data["key_id"] for e in network.events["alder"] if e.kind == "kme.qkd-key"]
            assert len(used) == len(set(used)) >= 2
            if use == "psk":  # no certificate was needed for it
                assert stood_on(network)[1:] == ["QKD key", "QKD key"]

    asyncio.run(story())


@pytest.mark.parametrize("use", ["mixed", "psk"])
def test_a_certificate_alone_gets_no_further_than_an_introduction(serve: Serve, use: str) -> None:
    """Who could forge signatures while they last can burn key, and neither promise keys to applications nor relay."""

    async def story() -> None:
        async with serve(qkd_tls=use) as network:
            await both_ready(network)
            frames = await introduced(network)
            promise = {"key_id": "x", "master": "sae-a", "slaves": ["sae-b"]}
            for number, call in enumerate(
                ({"op": "relay-share"}, {"op": "reserve", "keys": [promise]}, {"op": "exchange-offer"})
            ):
                await frames.send({"id": number, **call})
                assert "certificates alone" in (await frames.receive(5))["error"]
            await frames.send({"id": 9, "op": "ping"})
            assert await frames.receive(5) == {"id": 9}
            await frames.send({"id": 10, "op": "qkd-key", "key_id": "nothing", "use": "mix"})
            assert "error" in await frames.receive(5)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await frames.receive(5)
            frames.close()

    asyncio.run(story())


def test_while_there_is_no_key_applications_are_told_so_and_none_is_burned(serve: Serve) -> None:
    async def story() -> None:
        async with serve(qkd_tls="mixed") as network:
            await both_ready(network)
            link = network.alder._links["birch"]
            link.introducing = True
            before = await network.alder.kme.store.pool("birch")
            with pytest.raises(Refused) as refused:
                await network.alder.kme.enc_keys("sae-a", "sae-b", KeyRequest())
            assert (refused.value.status, refused.value.reason) == (503, "peer-unreachable")
            with pytest.raises(KmeError, match="certificates alone"):
                await link.ask("relay-share")
            assert await network.alder.kme.store.pool("birch") == before

    asyncio.run(story())


def test_a_key_for_a_call_opens_the_door_once(serve: Serve) -> None:
    async def story() -> None:
        async with serve(qkd_tls="psk") as network:
            await both_ready(network)
            link, port = network.alder._links["birch"], network.birch.kme_port
            await wait_until(lambda: link._next is not None)
            key, link._next = link._next, None
            wrong = tls_psk.PresharedKey(key.name, bytes(32), "birch")
            _, writer, transport = await tls.connect_streams(tls_psk.key_context(key), "127.0.0.1", port)
            tls_now = transport.get_extra_info("tls")
            assert (tls_now["version"], tls_now["group"]) == ("TLSv1.3", "X25519MLKEM768")
            writer.close()
            for again in (key, wrong, tls_psk.PresharedKey("unheard-of", bytes(32), "birch")):
                with pytest.raises(
                    AuthenticationError
                ):  # birch falls back to its certificate, which the client takes for nothing
                    await tls.connect_streams(tls_psk.key_context(again), "127.0.0.1", port)

    asyncio.run(story())


def test_a_wrong_key_under_a_right_name_gets_nobody_in_and_spends_it(serve: Serve) -> None:
    async def story() -> None:
        async with serve(qkd_tls="psk") as network:
            await both_ready(network)
            link, port = network.alder._links["birch"], network.birch.kme_port
            await wait_until(lambda: link._next is not None)
            guess = tls_psk.PresharedKey(link._next.name, bytes(32), "birch")
            with pytest.raises(AuthenticationError):
                await tls.connect_streams(tls_psk.key_context(guess), "127.0.0.1", port)
            link._frames.close()  # alder's key is spent: it introduces itself anew
            await wait_until(lambda: len(stood_on(network)) >= 4 and link.ready)
            await deliver(network)

    asyncio.run(story())


def test_revoked_callers_lose_the_keys_that_they_agreed_on() -> None:
    standing = Standing()
    for number in range(4):
        standing.add(tls_psk.PresharedKey(f"k{number}", bytes(32), "alder", 7))
    standing.add(tls_psk.PresharedKey("other", bytes(32), "cedar", 8))
    assert len(standing) == STANDING_MAX + 1
    assert standing.pop("k0") is None
    standing.revoke({7})
    assert standing.pop("k3") is None
    assert standing.pop("other") is not None
    assert standing.pop("other") is None


def test_seals_need_the_key_the_connection_and_the_names() -> None:
    names = {"caller": "alder", "answerer": "birch", "key_id": "k"}
    ours, _ = seals(b"k" * 32, b"e" * 48, **names)
    frame = ours.close(b"text")
    for other in (
        seals(b"x" * 32, b"e" * 48, **names)[0],
        seals(b"k" * 32, b"x" * 48, **names)[0],
        seals(b"k" * 32, b"e" * 48, **{**names, "caller": "birch", "answerer": "alder"})[0],
        seals(b"k" * 32, b"e" * 48, **names)[1],
    ):
        with pytest.raises(AuthenticationError):
            other.open(frame)
    assert seals(b"k" * 32, b"e" * 48, **names)[0].open(frame) == b"text"


def test_a_sealed_frame_that_is_repeated_left_out_or_altered_does_not_open() -> None:
    sealing = Seal(bytes(32))
    one, two = sealing.close(b"one"), sealing.close(b"two")
    for *before, bad in ((one, one), (two,), (bytes([one[0] ^ 1]) + one[1:],)):
        opening = Seal(bytes(32))
        assert [opening.open(frame) for frame in before] == [b"one"] * len(before)
        with pytest.raises(AuthenticationError):
            opening.open(bad)


def test_an_introduction_allows_the_pads_of_the_two_kmes_alone() -> None:
    own = {"master": OWN[0], "slaves": [OWN[1]]}
    assert introduces({"op": "reserve", "keys": [own]}, OWN)
    assert introduces({"op": "blocks"}, OWN)
    for keys in ([own, {"master": "sae-a", "slaves": ["sae-b"]}], [{**own, "slaves": [OWN[1], "sae-b"]}], ["x"]):
        assert not introduces({"op": "reserve", "keys": keys}, OWN)
    assert not introduces({"op": "relay-share"}, OWN)
    assert not introduces({}, OWN)
