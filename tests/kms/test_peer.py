"""The conversation between two KMEs over real TLS: who gets in, and what a peer that dies or misbehaves can do."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from noclone.errors import KmeError
from noclone.io import tls
from noclone.kms.frames import FRAME_BYTES_MAX, Frames
from noclone.kms.hello import VERSION
from noclone.kms.keys import Refused
from noclone.kms.kme import Delivered
from noclone.kms.peer_link import PeerLink
from noclone.kms.requests import KeyRequest

Serve = Callable[[], Any]


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.01)


async def call(network: Any, plane: str = "kme", who: str = "alder", ca: str = "kme-ca.crt") -> Frames:
    place = network.pki / ("kmes" if plane == "kme" else "saes") / who
    context = tls.client_context(place / f"{plane}.crt", place / f"{plane}.key", place / ca)
    reader, writer, _ = await tls.connect_streams(context, "127.0.0.1", network.birch.kme_port)
    return Frames(reader, writer)


HELLO = {"op": "hello", "version": VERSION, "from": "alder", "to": "birch", "unit_bits": 256}


def test_a_peer_that_goes_away_gives_503_and_comes_back_by_itself(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as network:
            kme, port = network.alder.kme, network.birch.kme_port
            before = await kme.store.pool("birch")
            await network.birch._peer_server.stop()
            await wait_until(lambda: not network.alder._links["birch"].connected)
            with pytest.raises(Refused) as refused:
                await kme.enc_keys("sae-a", "sae-b", KeyRequest())
            assert (refused.value.status, refused.value.reason) == (503, "peer-unreachable")
            assert await kme.store.pool("birch") == before
            place = network.pki / "kmes" / "birch"
            context = tls.server_context(place / "kme.crt", place / "kme.key", place / "kme-ca.crt")
            await network.birch._peer_server.start(context, port=port)
            assert await network.alder.connected("birch")
            delivered = await kme.enc_keys("sae-a", "sae-b", KeyRequest())
            got = await network.birch.kme.dec_keys("sae-b", "sae-a", [delivered.keys[0].key_id])
            assert got.keys[0].value == delivered.keys[0].value

    asyncio.run(story())


def test_both_kmes_under_load_from_both_sides_never_wait_for_each_other(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as network:
            await network.deposit(1, 32 * 1000)

            async def many(service: Any, caller: str, slave: str) -> int:
                return sum([len((await service.kme.enc_keys(caller, slave, KeyRequest())).keys) for _ in range(20)])

            async with asyncio.timeout(120):
                counts = await asyncio.gather(
                    *(many(network.alder, "sae-a", "sae-b") for _ in range(10)),
                    *(many(network.birch, "sae-b", "sae-a") for _ in range(10)),
                )
            assert counts == [20] * 20

    asyncio.run(story())


def test_only_kmes_that_are_known_get_past_hello(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as network:
            frames = await call(network, "sae", "sae-a")  # an application's certificate is worth nothing here
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await frames.receive(5)
            await wait_until(lambda: any(e.kind == "tls.refused" for e in network.events["birch"]))
            frames = await call(network, who="birch")
            await frames.send({**HELLO, "from": "birch"})
            assert "does not know yours" in (await frames.receive(5))["error"]
            frames.close()
            for wrong in (
                {"version": VERSION + 1},
                {"from": "birch"},
                {"to": "cedar"},
                {"unit_bits": 128},
                {"op": "reserve"},
            ):
                frames = await call(network)
                await frames.send({**HELLO, **wrong})
                assert next(iter(wrong)) in (await frames.receive(5))["error"]
                frames.close()

    asyncio.run(story())


def test_garbage_is_answered_or_cut_off_and_harms_nobody(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as network:
            frames = await call(network)
            await frames.send(HELLO)
            await frames.receive(5)
            for message in (
                {},
                {"id": 1},
                {"id": 1, "op": "reserve"},
                {"id": 1, "op": "reserve", "keys": [{}]},
                {"id": 1, "op": "reserve", "keys": [{"key_id": 1}]},
                {"id": 1, "op": "reserve", "keys": "x"},
                {"id": 1, "op": "void", "key_ids": [1]},
                {"id": 1, "op": "void", "key_ids": ["x" * 100]},
                {"id": 1, "op": "void", "key_ids": ["x"] * 1025},
                {"id": 1, "op": "blocks", "blocks": [["x", 1, 2]] * 1025},
                {"id": 1, "op": "blocks", "blocks": [["x", -1, 2]]},
                {"id": 1, "op": "blocks", "blocks": [[1, 1, 2]]},
                {"id": 1, "op": "steal"},
            ):
                await frames.send(message)
                assert "error" in await frames.receive(5)
            frames.close()
            for junk in (
                struct.pack(">I", FRAME_BYTES_MAX + 1),
                struct.pack(">I", 3) + b"{x}",
                struct.pack(">I", 2) + b"[]",
                struct.pack(">I", 40_000) + b"[" * 40_000,
                struct.pack(">I", 100) + b"half",
            ):
                frames = await call(network)
                await frames.send(HELLO)
                await frames.receive(5)
                frames._writer.write(junk)
                if junk.endswith(b"half"):
                    frames.close()
                    continue
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await frames.receive(5)
            assert len((await network.alder.kme.enc_keys("sae-a", "sae-b", KeyRequest())).keys) == 1

    asyncio.run(story())


def test_a_replayed_promise_changes_nothing(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as network:
            link = network.alder._links["birch"]
            seen: list[Any] = []
            original = link.reserve

            async def spy(assignments: Any) -> Any:
                seen.extend(assignments)
                return await original(assignments)

            link.reserve = spy
            network.alder.kme.add_peer(link)
            delivered = await network.alder.kme.enc_keys("sae-a", "sae-b", KeyRequest())
            ids = [key.key_id for key in delivered.keys]
            assert await original(seen) == {}
            assert len((await network.birch.kme.dec_keys("sae-b", "sae-a", ids)).keys) == 1
            assert await original(seen) == {}
            with pytest.raises(Refused):
                await network.birch.kme.dec_keys("sae-b", "sae-a", ids)

    asyncio.run(story())


def test_no_key_byte_crosses_between_the_kmes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    original = Frames.send

    async def spy(self: Frames, message: Any, *then: Any) -> None:
        sent.append(json.dumps(message))
        await original(self, message, *then)

    monkeypatch.setattr(Frames, "send", spy)

    async def story() -> Delivered:
        async with serve() as network:
            delivered: Delivered = await network.alder.kme.enc_keys("sae-a", "sae-b", KeyRequest())
            return delivered

    delivered = asyncio.run(story())
    text = "".join(sent)
    assert delivered.keys[0].key_id in text
    for encoded in (delivered.keys[0].value.hex(), delivered.to_json()["keys"][0]["key"]):
        assert encoded not in text


def test_a_peer_that_never_answers_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    import noclone.kms.peer_link as module

    async def story() -> None:
        async with serve() as network:
            monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.3)

            async def never(*_: Any) -> Any:
                await asyncio.sleep(2)

            network.birch.kme.on_reserve = never
            before = network.alder.kme.store.pool("birch").result()
            with pytest.raises(Refused) as refused:
                await network.alder.kme.enc_keys("sae-a", "sae-b", KeyRequest())
            assert refused.value.status == 503
            del network.birch.kme.on_reserve
            monkeypatch.setattr(module, "CALL_TIMEOUT_S", 30.0)  # a busy machine is no silent peer
            assert await network.alder.connected("birch")
            await wait_until(lambda: not network.alder.kme.store.undelivered("birch").result())
            after = network.alder.kme.store.pool("birch").result()
            assert before.ready_out_bits - after.ready_out_bits == 256
            assert len((await network.alder.kme.enc_keys("sae-a", "sae-b", KeyRequest())).keys) == 1

    asyncio.run(story())


def test_a_link_says_why_it_is_not_connected(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as network:
            place = network.pki / "kmes" / "alder"
            context = tls.client_context(place / "kme.crt", place / "kme.key", place / "kme-ca.crt")
            nowhere = PeerLink(network.alder.kme, "birch", ("127.0.0.1", 1), context)
            impostor = PeerLink(network.alder.kme, "cedar", ("127.0.0.1", network.birch.kme_port), context)
            for link, problem in ((nowhere, "nobody answers"), (impostor, "is another")):
                link.start()
                await wait_until(lambda link=link, problem=problem: problem in link.problem)
                with pytest.raises(KmeError, match="cannot be reached"):
                    await link.void([])
                await link.stop()

    asyncio.run(story())
