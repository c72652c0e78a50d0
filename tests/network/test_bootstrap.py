"""A QKD link whose first authentication is by signatures: what it says of itself, and what is refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from noclone.errors import KmeError, ScenarioError
from noclone.events import EventLog
from noclone.network.node import RunOptions
from noclone.network.scenario import load_scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for
from noclone.records import BlockProvenance, Origin
from noclone.redteam.attacks import resolve
from noclone.trust.formula import Atom
from noclone.trust.provenance import bootstrap_formula, claim, formula_of_block, signed_bootstrap

SCENARIO = """
name = "signed"
base_port = 20500
[[node]]
name = "ada"
[[node]]
name = "ben"
[[link]]
name = "ada-ben"
alice = "ada"
bob = "ben"
bootstrap = "signatures"
[link.source]
clock_hz = 1e9
intensities = [0.43, 0.15]
probabilities = [0.55, 0.45]
p_key = 0.8
[link.fibre]
length_km = 10
[link.receiver]
p_key = 0.8
efficiency = 0.5
dark_count_hz = 10
dead_time_ns = 100
misalignment = 0.01
[link.distillation]
block_key_bits = 200000
"""
LABEL = signed_bootstrap(["ECDSA-P256", "ML-DSA-65"], ["ML-KEM-768", "X25519"], "HKDF-SHA384", 1)


def session(*names: str) -> set[Atom]:
    return {Atom("alg", f"{name}@session") for name in names}


def block(bootstrap: str) -> BlockProvenance:
    return BlockProvenance(
        "ada-ben", "ada", "ben", 0, "decoy-bb84", Origin("hardware"), "lim2014", "fixed-length", 1e-10, 1e-10,
        bootstrap, 0.0,
    )  # fmt: skip


def test_all_signatures_or_all_kems_must_fall_while_it_lasts() -> None:
    formula = bootstrap_formula(LABEL)
    for whole in (("ECDSA-P256", "ML-DSA-65"), ("ML-KEM-768", "X25519"), ("HKDF-SHA384",)):
        assert formula.leaks(session(*whole))
        for left_out in whole if len(whole) > 1 else ():
            assert not formula.leaks(session(*(set(whole) - {left_out})))
    assert not formula.leaks({Atom("alg", name) for name in ("ECDSA-P256", "ML-DSA-65", "ML-KEM-768", "X25519")})
    assert formula_of_block(block(LABEL)).leaks(session("ECDSA-P256", "ML-DSA-65"))
    assert claim([block(LABEL)]).startswith("computational only until the first session ended")
    assert claim([block("pre-shared-key")]) == "information-theoretic"


def test_a_link_is_bootstrapped_by_signatures_and_every_block_says_so(tmp_path: Path) -> None:
    path = tmp_path / "signed.toml"
    path.write_text(SCENARIO)
    scenario, log, pki = load_scenario(path), EventLog(), tmp_path / "pki"
    create_pki_for(scenario, pki)
    secrets = [pki / f"kmes/{node}/links/ada-ben.secret" for node in ("ada", "ben")]
    assert not any(secret.exists() for secret in secrets)

    async def serve(story: Any) -> None:
        network = ServedNetwork(
            scenario,
            pki=pki,
            data=tmp_path / "data",
            log=log,
            options=RunOptions(speed=float("inf")),
            resolve=resolve,
        )
        async with asyncio.timeout(100), network:
            await story(network)

    async def distilled(after: int) -> dict[str, Any]:
        while True:
            for event in log.since(after):
                if event.kind == "block.distilled":
                    return dict(event.data)
            await asyncio.sleep(0.05)

    async def first(network: ServedNetwork) -> None:
        data = await distilled(0)
        assert data["provenance"]["bootstrap"] == LABEL
        assert all(secret.stat().st_mode & 0o077 == 0 for secret in secrets)
        for node, peer in (("ada", "ben"), ("ben", "ada")):  # nothing of that exchange is left for applications
            store = network.nodes[node].service.kme.store
            state = await store.pool(peer, ("kem:mlkem768-x25519",))
            assert (state.ready_out_bits, state.ready_in_bits, state.held_bits) == (0, 0, 0)
        with pytest.raises(KmeError, match="not wanted here"):
            await network.nodes["ada"].service.exchange.exchange("ben", "catkdf", 64, "link")
        ben = network.nodes["ben"]._bootstrap
        with pytest.raises(KmeError, match="has a secret"):
            await ben._on_bootstrap("ada", {"link": "ada-ben", "key_id": "x" * 36, "number": 0})
        for peer, link in (("cat", "ada-ben"), ("ada", "other")):
            with pytest.raises(KmeError, match="not to be bootstrapped by you"):
                await ben._on_bootstrap(peer, {"link": link, "key_id": "x" * 36, "number": 0})
        with pytest.raises(KmeError, match="not to be bootstrapped by you"):
            await network.nodes["ada"]._bootstrap._on_bootstrap(
                "ben", {"link": "ada-ben", "key_id": "x" * 36, "number": 0}
            )

    async def again(_: ServedNetwork) -> None:
        last = log.since(0)[-1].number
        data = await distilled(last)
        assert data["provenance"]["bootstrap"] == LABEL.replace("#1", "#2")

    asyncio.run(serve(first))
    for secret in secrets:  # what the operators of both ends do to bootstrap a link again
        secret.unlink()
    asyncio.run(serve(again))
    records = [event.data for event in log if event.kind == "link.bootstrapped"]
    assert sorted((one["at"], one["number"]) for one in records) == [("ada", 1), ("ada", 2), ("ben", 1), ("ben", 2)]
    kept = json.loads((pki / "kmes/ada/links/ada-ben.bootstrap.json").read_text())
    assert kept["number"] == 2
    everything = "\n".join(event.to_json() for event in log)
    assert secrets[0].read_bytes()[64:96].hex() not in everything


def test_signatures_cannot_bootstrap_a_link_whose_ends_let_nothing_stand_on_them(tmp_path: Path) -> None:
    path = tmp_path / "signed.toml"
    path.write_text(SCENARIO + '[pqc]\nkme_tls_qkd = "psk"\n')
    with pytest.raises(ScenarioError, match="bootstrapped by signatures alone"):
        load_scenario(path)


@pytest.mark.parametrize(("use", "port"), [("mixed", 20_540), ("psk", 20_560)])
def test_a_served_link_puts_its_own_key_under_the_conversation_of_its_ends(tmp_path: Path, use: str, port: int) -> None:
    path = tmp_path / "own.toml"
    text = SCENARIO.replace('"signatures"', '"pre-shared-key"').replace("20500", str(port))
    path.write_text(text + f'[pqc]\nkme_tls_qkd = "{use}"\n')
    scenario, log = load_scenario(path), EventLog()
    create_pki_for(scenario, tmp_path / "pki")

    async def story() -> None:
        network = ServedNetwork(
            scenario,
            pki=tmp_path / "pki",
            data=tmp_path / "data",
            log=log,
            options=RunOptions(speed=float("inf")),
            resolve=resolve,
        )
        async with asyncio.timeout(100), network:
            for node, peer in (("ada", "ben"), ("ben", "ada")):
                while not await network.nodes[node].service.ready(peer):
                    pass

    asyncio.run(story())
    kinds = {(event.kind, event.data.get("use"), event.data.get("stands_on")) for event in log}
    assert ("kme.qkd-key", "mix" if use == "mixed" else "call", None) in kinds
    assert (("kme.connected", None, "QKD key") in kinds) == (use == "psk")
