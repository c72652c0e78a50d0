"""One-time pads between applications three hops apart: relayed over disjoint paths, under the strictest policy.

The network is that of tests/network/relay_net.py: KMEs that are served over TLS, and fibres that are played.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noclone.apps.conversation import Listener
from noclone.apps.files import receive_file, send_file
from noclone.apps.messages import receive_message, seal_message
from noclone.apps.pad_book import PadBook
from noclone.apps.pad_lease import FILL, LEASE, PadReceiver, PadSender, answer, ask_grant, fill
from noclone.client import Etsi014Client
from noclone.network.identities import load_sae
from noclone.network.pki import create_pki
from noclone.network.scenario import load_scenario
from noclone.trust.reading import standing
from tests.network.relay_net import RING, Net, scenario_text

POLICY = """
[[policy]]
between = ["sae-a", "sae-z"]
require = "information-theoretic"
disjoint_paths = 2
max_nodes_knowing = 0
on_exhaustion = "wait:10"
"""


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Etsi014Client]]:
    """A client for each of two applications, in a ring of six KMEs."""
    folder = tmp_path_factory.mktemp("hops")
    pki = folder / "pki"
    create_pki(pki, kmes={node: ["127.0.0.1"] for node in "abcdez"}, saes=["sae-a", "sae-z"], links={})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)  # where the network does not come up, it is left
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    async def begin() -> Any:
        text = scenario_text(RING, more=POLICY).replace("low_bits = 8192", "low_bits = 65536")
        (folder / "web.toml").write_text(text.replace("high_bits = 16384", "high_bits = 131072"))
        net = Net(folder, pki, load_scenario(folder / "web.toml"))
        await net.__aenter__()
        await net.fill(65_536)
        return net

    net = run(begin())
    found = {}
    for node in "az":
        sae = load_sae(pki, f"sae-{node}")
        found[node] = Etsi014Client(
            net.services[node].url, certificate=sae.certificate, key=sae.key, ca=sae.kme_ca, timeout_s=120
        )
    try:
        yield found
    finally:
        for client in found.values():
            client.close()
        run(net.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def wait_for(client: Etsi014Client, to: str, n_bits: int) -> None:
    deadline = time.monotonic() + 30
    while client.status(to).stored_key_count * 256 < n_bits:
        assert time.monotonic() < deadline, "the relay brought too little"
        time.sleep(0.1)


def test_messages_and_a_file_cross_both_ways(clients: dict[str, Etsi014Client], tmp_path: Path) -> None:
    for own, other in (("a", "z"), ("z", "a")):
        sender, receiver = f"sae-{own}", f"sae-{other}"
        wait_for(clients[own], receiver, 8 * 1_200)
        sealed = seal_message(clients[own], "hello", sender=sender, to=receiver)
        got = receive_message(clients[other], sealed.container, receiver=receiver, spool_folder=tmp_path / other)
        assert got.text == "hello"
        assert [label["noclone_relayed"] for label in got.labels] == [["paths-2"]]
        words = standing(got.labels)
        assert "alone, site a, site z" in words
        assert "only together" in words
        assert "node" not in words.partition("only together")[0], "no node between knows it by itself"
        plain = tmp_path / f"plain-{own}"
        plain.write_bytes(os.urandom(800))
        send_file(clients[own], plain, sender=sender, to=receiver, out=tmp_path / f"sealed-{own}")
        out = tmp_path / f"out-{own}"
        receive_file(
            clients[other], tmp_path / f"sealed-{own}", receiver=receiver, out=out, spool_folder=tmp_path / other
        )
        assert out.read_bytes() == plain.read_bytes()


def test_books_are_filled_by_relay(clients: dict[str, Etsi014Client], tmp_path: Path) -> None:
    wait_for(clients["a"], "sae-z", 8 * 1_600)
    stop = threading.Event()
    with PadBook(tmp_path / "a") as a, PadBook(tmp_path / "z") as z:
        listener = Listener(clients["z"], ("127.0.0.1", 0), receiver="sae-z", callers=["sae-a"], topics=[FILL, LEASE])

        def serve() -> None:
            while (talk := listener.accept(stop)) is not None:
                with talk:
                    answer(z, talk)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            fill(a, clients["a"], listener.address, sender="sae-a", to="sae-z", n_bytes=512)
            wait_for(clients["a"], "sae-z", 8 * 512)
            grant = ask_grant(clients["a"], listener.address, sender="sae-a", to="sae-z")
            sealed = seal_message(PadSender(a, grant, own="sae-a", peer="sae-z"), "hi", sender="sae-a", to="sae-z")
        finally:
            stop.set()
            thread.join()
            listener.close()
        receiver = PadReceiver(z, own="sae-z", peer="sae-a")
        got = receive_message(receiver, sealed.container, receiver="sae-z", store=receiver)
        assert got.text == "hi"
        assert got.labels[0]["noclone_relayed"] == ["paths-2"]
