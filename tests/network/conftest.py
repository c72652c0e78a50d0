"""A served network seen from two of its applications; certificates for networks whose fibres are played."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noclone.client import Etsi014Client, KeyContainer, Refusal
from noclone.events import EventLog
from noclone.network.identities import load_sae
from noclone.network.node import RunOptions
from noclone.network.pki import create_pki
from noclone.network.scenario import Scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for

PATIENCE_S = 150
Fetch = Callable[[Scenario, Any], tuple[KeyContainer, KeyContainer]]


@pytest.fixture
def fetch_keys(tmp_path: Path) -> Fetch:
    """Serve a network of two applications, sae-west and sae-east, until both hold two keys; return each one's answer.

    The second argument of what is returned resolves attacks.
    """

    def client(network: Scenario, sae: str) -> Etsi014Client:
        host, port = network.etsi014_address(network.sae(sae).node)
        identity = load_sae(tmp_path / "pki", sae)
        files = {"certificate": identity.certificate, "key": identity.key, "ca": identity.kme_ca}
        return Etsi014Client(f"https://{host}:{port}", **files)

    def ask(network: Scenario) -> tuple[KeyContainer, KeyContainer]:
        deadline = time.monotonic() + PATIENCE_S
        with client(network, "sae-west") as west, client(network, "sae-east") as east:
            while True:
                try:
                    got = west.enc_keys("sae-east", number=2)
                    return got, east.dec_keys("sae-west", [key.key_id for key in got.keys])
                except Refusal as refused:
                    if refused.status != 503 or time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

    async def serve(network: Scenario, resolve: Any) -> tuple[KeyContainer, KeyContainer]:
        served = ServedNetwork(
            network,
            pki=tmp_path / "pki",
            data=tmp_path / "data",
            log=EventLog(),
            options=RunOptions(speed=math.inf),
            resolve=resolve,
        )
        async with served:
            return await asyncio.to_thread(ask, network)

    def fetch(network: Scenario, resolve: Any) -> tuple[KeyContainer, KeyContainer]:
        create_pki_for(network, tmp_path / "pki")
        return asyncio.run(serve(network, resolve))

    return fetch


@pytest.fixture(scope="session")
def web_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return certificates for `relay_net`, the same for all tests: they take longer than the tests."""
    folder = tmp_path_factory.mktemp("web-pki")
    create_pki(folder, kmes={node: ["127.0.0.1"] for node in "abcdez"}, saes=["sae-a", "sae-z"], links={})
    return folder
