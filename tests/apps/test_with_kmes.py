"""Files and messages over two live KMEs with mutual TLS: nothing is faked but the light."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noclone.apps.files import receive_file, send_file
from noclone.apps.messages import receive_message, send_message
from noclone.bits import words_from_bytes
from noclone.client import Etsi014Client
from noclone.errors import KeysExhausted, KmeError
from noclone.kms.service import KmeService
from noclone.kms.store import Store
from noclone.network.identities import load_kme, load_sae
from noclone.network.pki import create_pki
from noclone.records import BlockProvenance, Origin, SecretKey

SAES = {"sae-a": "alder", "sae-b": "birch"}


def secret_key(number: int, n_bytes: int) -> SecretKey:
    origin = BlockProvenance(
        "alder-birch", "alder", "birch", number, "decoy-bb84", Origin("simulated", False), "lim2014", "fixed-length",
        1e-10, 1e-10 * (number + 1), "pre-shared-key", 1.7e9,
    )  # fmt: skip
    return SecretKey(words_from_bytes(os.urandom(n_bytes)), 8 * n_bytes, origin)


async def start(folder: Path) -> dict[str, KmeService]:
    services: dict[str, KmeService] = {}
    for name, peer in (("alder", "birch"), ("birch", "alder")):
        identity = load_kme(folder, name)
        store = Store.open(folder / f"{name}.db", name=name, kek=os.urandom(32))
        files = identity.files()
        services[name] = KmeService(store, SAES, files, peers=(peer,))
        await services[name].start()
    services["alder"].connect("birch", ("127.0.0.1", services["birch"].kme_port))
    services["birch"].connect("alder", ("127.0.0.1", services["alder"].kme_port))
    assert await services["alder"].connected("birch")
    assert await services["birch"].connected("alder")
    for number in range(4):
        key = secret_key(number, 1 << 17)
        await services["alder"].kme.deposit(key, "birch")
        assert await services["birch"].kme.deposit(key, "alder")
    return services


async def stop(services: dict[str, KmeService]) -> None:
    for service in services.values():
        await service.stop()
        service.kme.store.close()


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Etsi014Client]]:
    """Return a client for each application, at its own KME."""
    folder = tmp_path_factory.mktemp("pki")
    create_pki(
        folder,
        kmes={"alder": ["127.0.0.1"], "birch": ["127.0.0.1"]},
        saes=list(SAES),
        links={"alder-birch": ("alder", "birch")},
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    services = run(start(folder))
    out = {}
    for sae, kme in SAES.items():
        identity = load_sae(folder, sae)
        out[sae] = Etsi014Client(
            services[kme].url, certificate=identity.certificate, key=identity.key, ca=identity.kme_ca
        )
    try:
        yield out
    finally:
        for client in out.values():
            client.close()
        run(stop(services))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_file_crosses_and_only_once(clients: dict[str, Etsi014Client], tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "plain").write_bytes(data)
    made = send_file(clients["sae-a"], tmp_path / "plain", sender="sae-a", to="sae-b", out=tmp_path / "sealed")
    assert made.simulated
    again = {"receiver": "sae-b", "spool_folder": tmp_path / "spool"}
    got = receive_file(clients["sae-b"], tmp_path / "sealed", out=tmp_path / "out", **again)
    assert (tmp_path / "out").read_bytes() == data
    assert (got.sender, got.bytes, got.simulated) == ("sae-a", len(data), True)
    with pytest.raises(KmeError, match="cannot be had"):
        receive_file(clients["sae-b"], tmp_path / "sealed", out=tmp_path / "again", **again)


def test_messages_cross_both_ways(clients: dict[str, Etsi014Client], tmp_path: Path) -> None:
    for sender, receiver in (("sae-a", "sae-b"), ("sae-b", "sae-a")):
        container = send_message(clients[sender], f"hello {receiver}", sender=sender, to=receiver)
        got = receive_message(clients[receiver], container, receiver=receiver, spool_folder=tmp_path / receiver)
        assert (got.sender, got.text) == (sender, f"hello {receiver}")


def test_a_file_longer_than_the_key_is_refused(clients: dict[str, Etsi014Client], tmp_path: Path) -> None:
    before = clients["sae-a"].status("sae-b").stored_key_count
    (tmp_path / "plain").write_bytes(bytes(1 << 20))
    with pytest.raises(KeysExhausted, match="bits of key"):
        send_file(clients["sae-a"], tmp_path / "plain", sender="sae-a", to="sae-b", out=tmp_path / "sealed")
    assert clients["sae-a"].status("sae-b").stored_key_count == before
