"""Nodes that draw keys from a vendor's QKD system: a second pair of noclone KMEs, over real TLS, is the vendor."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from noclone.bits import words_from_bytes
from noclone.client import Etsi014Client, KeyContainer
from noclone.errors import InputError, ScenarioError
from noclone.events import EventLog
from noclone.kms.service import KmeFiles, KmeService
from noclone.kms.store import Store
from noclone.network.identities import load_kme, load_sae
from noclone.network.metrics import Metrics
from noclone.network.node import RunOptions
from noclone.network.operator import ask
from noclone.network.pki import create_pki
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for
from noclone.records import BlockProvenance, Origin, SecretKey
from noclone.redteam.attacks import resolve

SCENARIO = """
name = "customer"
base_port = {base_port}
[[node]]
name = "north"
[[node]]
name = "south"
[[sae]]
id = "app-n"
node = "north"
[[sae]]
id = "app-s"
node = "south"
[[vendor_link]]
name = "north-south"
alice = "north"
bob = "south"
vendor = "Acme QKD, serial 7"
block_bytes = 2048
stock_bits = 65536
{more}
[vendor_link.at_alice]
url = "{urls[0]}"
sae = "{saes[0]}"
certificate = "{pki}/saes/{saes[0]}/sae.crt"
key = "{pki}/saes/{saes[0]}/sae.key"
ca = "{pki}/saes/{saes[0]}/kme-ca.crt"
[vendor_link.at_bob]
url = "{urls[1]}"
sae = "{saes[1]}"
certificate = "{pki}/saes/{saes[1]}/sae.crt"
key = "{pki}/saes/{saes[1]}/sae.key"
ca = "{pki}/saes/{saes[1]}/kme-ca.crt"
"""
POLICY = '\n[[policy]]\nbetween = ["app-n", "app-s"]\nsimulated = false\n'
SAES = ("kms-n", "kms-s")


def write(folder: Path, urls: tuple[str, str], pki: Path, ports: int, more: str = "", saes: Any = SAES) -> Scenario:
    path = folder / "customer.toml"
    path.write_text(SCENARIO.format(base_port=ports, urls=urls, pki=pki, more=more, saes=saes))
    return load_scenario(path)


@asynccontextmanager
async def vendor(folder: Path) -> AsyncIterator[tuple[tuple[str, str], Path, Callable[[], Any]]]:
    """Two KMEs that sell keys of hardware, so they say; yields their doors, certificates, and what brings key."""
    links = {"alder-birch": ("alder", "birch")}
    create_pki(folder / "vendor", kmes={"alder": ["127.0.0.1"], "birch": ["127.0.0.1"]}, saes=SAES, links=links)
    services, stores = {}, []
    for name, peer in (("alder", "birch"), ("birch", "alder")):
        identity = load_kme(folder / "vendor", name)
        stores.append(Store.open(folder / f"{name}.db", name=name, kek=os.urandom(32)))
        files = KmeFiles(identity.certificate, identity.key, identity.kme_ca, identity.sae_ca)
        services[name] = KmeService(stores[-1], {SAES[0]: "alder", SAES[1]: "birch"}, files, peers=(peer,))
        await services[name].start()
    services["alder"].connect("birch", ("127.0.0.1", services["birch"].kme_port))
    services["birch"].connect("alder", ("127.0.0.1", services["alder"].kme_port))
    numbers = iter(range(100))

    async def make(n_bytes: int = 16_384) -> None:
        record = BlockProvenance(
            "alder-birch", "alder", "birch", next(numbers), "decoy-bb84", Origin("hardware"), "lim2014",
            "fixed-length", 1e-10, 1e-9, "pre-shared-key", 1.7e9,
        )  # fmt: skip
        key = SecretKey(words_from_bytes(os.urandom(n_bytes)), 8 * n_bytes, record)
        await services["alder"].kme.deposit(key, "birch")
        await services["birch"].kme.deposit(key, "alder")

    try:
        assert await services["alder"].connected("birch")
        assert await services["birch"].connected("alder")
        yield (services["alder"].url, services["birch"].url), folder / "vendor", make
    finally:
        for service in services.values():
            await service.stop()
        for store in stores:
            store.close()


@asynccontextmanager
async def customer(scenario: Scenario, folder: Path) -> AsyncIterator[tuple[ServedNetwork, EventLog, Metrics]]:
    create_pki_for(scenario, folder / "pki")
    log = EventLog()
    metrics = Metrics(log, {sae.id: sae.node for sae in scenario.saes})
    served = ServedNetwork(
        scenario,
        pki=folder / "pki",
        data=folder / "data",
        log=log,
        options=RunOptions(speed=math.inf),
        resolve=resolve,
        metrics=metrics,
    )
    async with served:
        yield served, log, metrics


async def event(log: EventLog, kind: str, timeout_s: float = 20.0, **data: Any) -> Any:
    async with asyncio.timeout(timeout_s):
        while True:
            for found in log.since(0):
                if found.kind == kind and data.items() <= found.data.items():
                    return found
            await asyncio.sleep(0.02)


async def keys(scenario: Scenario, pki: Path, number: int = 2) -> tuple[KeyContainer, KeyContainer]:
    """Get keys as two applications do, at our own doors."""

    def client(sae: str) -> Etsi014Client:
        identity = load_sae(pki, sae)
        host, port = scenario.etsi014_address(scenario.sae(sae).node)
        url = f"https://{host}:{port}"
        return Etsi014Client(url, certificate=identity.certificate, key=identity.key, ca=identity.kme_ca)

    def fetch() -> tuple[KeyContainer, KeyContainer]:
        with client("app-n") as north, client("app-s") as south:
            got = north.enc_keys("app-s", number)
            return got, south.dec_keys("app-n", [key.key_id for key in got.keys])

    return await asyncio.to_thread(fetch)


def test_a_network_of_hardware_alone_serves_and_says_on_whose_word(
    tmp_path: Path, capsys: Any, free_ports: Callable[[], int]
) -> None:
    async def story() -> None:
        async with vendor(tmp_path) as (urls, certificates, make):
            await make()
            scenario = write(tmp_path, urls, certificates, free_ports(), "epsilon = 1e-12\n" + POLICY)
            async with customer(scenario, tmp_path) as (_, log, metrics):
                await event(log, "vendor.drawn", end="alice")
                got, same = await keys(scenario, tmp_path / "pki")
                assert [key.value for key in got.keys] == [key.value for key in same.keys]
                extension = got.keys[0].extension
                assert extension["noclone_origin"] == "hardware"
                assert extension["noclone_leaks"] == (
                    "link:north-south OR site:north OR site:south OR vendor:north-south"
                )
                found = await asyncio.to_thread(
                    ask, scenario, tmp_path / "pki", "GET", f"/api/keys/{got.keys[0].key_id}"
                )
                assert found["blocks"][0]["origin"]["detail"].startswith("Acme QKD, serial 7; 65 keys, ids ")
                # The vendor's pool ran low: it is told once, and drawing goes on when there is key again.
                down = await event(log, "link.down", end="alice")
                assert "not enough key" in down.data["message"] or "too few for a block" in down.data["message"]
                drawn = len([e for e in log.since(0) if e.kind == "vendor.drawn"])
                await make()
                await event(log, "link.up", end="alice")
                assert len([e for e in log.since(0) if e.kind == "vendor.drawn"]) > drawn
                text = metrics.exposition().decode()
                assert 'noclone_vendor_key_bits_total{end="alice",link="north-south",origin="hardware"}' in text

    asyncio.run(story())


def test_keys_of_simulated_light_stay_simulated_behind_a_vendors_door(
    served: Any, tmp_path: Path, free_ports: Callable[[], int]
) -> None:
    theirs = load_scenario(served.scenario)
    urls = tuple("https://{}:{}".format(*theirs.etsi014_address(node)) for node in ("ada", "ben"))

    async def story() -> None:
        scenario = write(tmp_path, urls, served.pki, free_ports(), saes=("sae-ada", "sae-ben"))  # type: ignore[arg-type]
        async with customer(scenario, tmp_path) as (_, log, _metrics):
            await event(log, "vendor.drawn", end="alice")
            got, _ = await keys(scenario, tmp_path / "pki")
        extension = got.keys[0].extension
        assert got.keys[0].simulated
        assert extension["noclone_epsilon"] == 1.0  # nobody states one
        assert "fibre:north-south OR link:north-south OR" in extension["noclone_leaks"]

    asyncio.run(story())


def test_a_door_that_cannot_be_opened_is_told_before_anything_starts(
    tmp_path: Path, free_ports: Callable[[], int]
) -> None:
    scenario = write(tmp_path, ("https://127.0.0.1:1", "https://127.0.0.1:2"), tmp_path / "none", free_ports())

    async def story() -> None:
        async with customer(scenario, tmp_path):
            pass

    with pytest.raises(InputError, match=r"sae\.crt does not exist"):
        asyncio.run(story())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (('bob = "south"', 'bob = "north"'), "the same node, 'north', at both ends"),
        (('bob = "south"', 'bob = "west"'), "bob = 'west' is not one of: north, south"),
        (('sae = "kms-s"', 'sae = "kms-n"'), "must know the two KMEs by different names"),
        (('"https://b"', '"http://b"'), "url"),
        (("stock_bits = 65536", "stock_bits = 65536\n" + POLICY), "states no epsilon"),
        (("[[vendor_link]]", "[[fibre]]"), "fibre"),
        (("base_port", "lab = true\nbase_port"), "has no real devices"),
    ],
)
def test_mistakes_are_told_where_they_are(tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    text = SCENARIO.format(base_port=12_000, urls=("https://a", "https://b"), pki="p", more="", saes=SAES)
    assert text.count(change[0]) == 1
    text = text.replace(*change)
    path = tmp_path / "customer.toml"
    path.write_text(text if POLICY not in text else text.replace(POLICY, "") + POLICY)
    with pytest.raises(ScenarioError) as refused:
        load_scenario(path)
    assert reason in f"{refused.value.message} {refused.value.hint}"


def test_a_network_without_light_cannot_be_run(tmp_path: Path) -> None:
    text = SCENARIO.format(base_port=12_000, urls=("https://a", "https://b"), pki="p", more="", saes=SAES)
    path = tmp_path / "customer.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match="has no simulated light"):
        load_scenario(path).light()
    path.write_text(text.split("[[vendor_link]]")[0])
    with pytest.raises(ScenarioError, match="has no simulated light"):
        load_scenario(path).light()  # nor one with post-quantum key alone
    assert json.dumps(load_scenario("metro").model_dump(mode="json"))


def test_simulated_is_not_hardware_in_a_network_of_both(tmp_path: Path) -> None:
    """A pair that a vendor joins may demand live hardware; one whose keys may cross simulated light may not."""
    metro = load_scenario("metro").model_dump(by_alias=True)
    link = SCENARIO.split("[[vendor_link]]")[1]
    text = "[[vendor_link]]" + link.format(base_port=1, urls=("https://a", "https://b"), pki="p", more="", saes=SAES)
    import tomllib

    section = tomllib.loads(text)["vendor_link"][0]
    nodes = [node["name"] for node in metro["node"]]
    section |= {"name": "sold", "alice": nodes[0], "bob": "far", "epsilon": 1e-9}
    saes = [{"id": "here", "node": nodes[0]}, {"id": "there", "node": "far"}, {"id": "next", "node": nodes[1]}]
    both = {**metro, "lab": False, "node": [*metro["node"], {"name": "far"}], "sae": saes, "vendor_link": [section]}
    good = {**both, "policy": [{"between": ["here", "there"], "simulated": False}]}
    assert Scenario.model_validate(good).edges().vendor == ((nodes[0], "far"),)
    for pair in (["next", "there"], ["here", "next"]):
        with pytest.raises(ValueError, match="a relay may cross simulated light"):
            Scenario.model_validate({**both, "policy": [{"between": pair, "simulated": False}]})
