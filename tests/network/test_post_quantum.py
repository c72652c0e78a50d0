"""A network without a quantum link, served: its keys, its identities renewed and revoked, its algorithms changed."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from noclone.client import Etsi014Client, Refusal
from noclone.errors import InputError, KmeError, NocloneError, PkiError, ScenarioError
from noclone.events import EventLog
from noclone.io import tls
from noclone.network import identity_watch, revocation_news, suites_file
from noclone.network.identities import load_kme, load_operator_token, load_sae
from noclone.network.node import Node, RunOptions
from noclone.network.revocation import revoke, rotate
from noclone.network.roots import PUBLIC, ROOTS, SIGNATURE, SignatureKey
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for
from noclone.network.suites_file import read_suites, suites_path, write_suites
from noclone.redteam.attacks import resolve
from noclone.web.opening import open_window

FAST = """
block_bytes = 512
low_bits = 4096
high_bits = 8192
"""
TEXT = """
name = "bare"
base_port = {port}
[[node]]
name = "ash"
[[node]]
name = "oak"
[[sae]]
id = "sae-ash"
node = "ash"
[[sae]]
id = "sae-oak"
node = "oak"
[pqc]
suites = ["mlkem768-x25519"]
{more}
{policy}
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_watch.IdentityWatch.__init__, "__defaults__", (0.05,))
    monkeypatch.setattr(suites_file.follow, "__defaults__", (0.05,))
    monkeypatch.setattr(revocation_news.RevocationNews.__init__, "__defaults__", (0.05,))


def bare(folder: Path, port: int, more: str = "", policy: str = "") -> Scenario:
    path = folder / "bare.toml"
    path.write_text(TEXT.format(port=port, more=FAST + more, policy=policy))
    scenario = load_scenario(path)
    create_pki_for(scenario, folder / "pki")
    return scenario


def client(scenario: Scenario, folder: Path, sae: str, speaks: Any = "1.3") -> Etsi014Client:
    host, port = scenario.etsi014_address(scenario.sae(sae).node)
    identity = load_sae(folder / "pki", sae)
    files = {"certificate": identity.certificate, "key": identity.key, "ca": identity.kme_ca}
    if speaks == "post-quantum":
        assert identity.pq is not None
        files = {"certificate": identity.pq.certificate, "key": identity.pq.key, "ca": identity.pq.kme_ca}
    return Etsi014Client(f"https://{host}:{port}", **files, tls=speaks)


def serve(scenario: Scenario, folder: Path, log: EventLog) -> ServedNetwork:
    return ServedNetwork(
        scenario, pki=folder / "pki", data=folder / "data", log=log, options=RunOptions(), resolve=resolve
    )


async def until(log: EventLog, kind: str, timeout_s: float = 20.0, **about: Any) -> Any:
    async with asyncio.timeout(timeout_s):
        while True:
            for event in log.since(0):
                if event.kind == kind and all(event.data.get(name) == value for name, value in about.items()):
                    return event
            await asyncio.sleep(0.02)


async def refused(log: EventLog, why: str) -> None:
    """Wait until new files of a node are refused for a reason."""
    async with asyncio.timeout(20.0):
        while not any(why in event.data["reason"] for event in log.since(0) if event.kind == "identity.refused"):
            await asyncio.sleep(0.02)


def fetch(scenario: Scenario, folder: Path, speaks: Any = "1.3") -> dict[str, Any]:
    """Get a key at both ends, in a thread; return what it says of itself."""
    with client(scenario, folder, "sae-ash", speaks) as ash, client(scenario, folder, "sae-oak", speaks) as oak:
        for _ in range(200):
            try:
                got = ash.enc_keys("sae-oak").keys[0]
                break
            except Refusal as refused:
                if refused.status != 503:
                    raise
                time.sleep(0.05)
        same = oak.dec_keys("sae-ash", [got.key_id]).keys[0]
    assert got.value == same.value
    return got.extension


def test_a_network_without_light_gives_keys_that_say_what_they_stand_on(tmp_path: Path) -> None:
    scenario = bare(tmp_path, 20_300)
    log = EventLog()

    async def story() -> None:
        async with serve(scenario, tmp_path, log) as network:
            about = await asyncio.to_thread(fetch, scenario, tmp_path)
            assert about["noclone_origin"] == "computed"
            assert about["noclone_combined"] == ["kem:mlkem768-x25519"]
            assert about["noclone_signatures"] == ["ECDSA-P256", "ML-DSA-65"]
            assert about["noclone_links"] == []
            assert "alg:ML-KEM-768 AND alg:X25519" in about["noclone_leaks"]
            about = await asyncio.to_thread(fetch, scenario, tmp_path, "post-quantum")
            assert about["noclone_seeded"] is False
            window = await open_window(network, load_operator_token(tmp_path / "pki"), ("127.0.0.1", 20_319))
            await asyncio.sleep(0.5)
            await asyncio.wait_for(asyncio.to_thread(fetch, scenario, tmp_path), 20)  # a window blocks nobody
            await window.close()

    asyncio.run(story())
    assert any(event.kind == "root.pinned" for event in log)
    create_pki_for(scenario, tmp_path / "pki", overwrite=True)
    with pytest.raises(PkiError, match="another one than at first contact"):
        Node(scenario, "ash", pki=tmp_path / "pki", data=tmp_path / "data", log=log, options=RunOptions())


def test_a_revocation_reaches_a_site_that_nobody_carried_it_to(tmp_path: Path) -> None:
    scenario, log = bare(tmp_path, 20_580), EventLog()
    pki, far = tmp_path / "pki", tmp_path / "far"
    shutil.copytree(pki / "kmes/oak", far)

    async def story() -> None:
        nodes = [
            Node(scenario, name, pki=place, data=tmp_path / "data", log=log, options=RunOptions())
            for name, place in (("ash", pki), ("oak", far))
        ]
        try:
            for node in nodes:
                await node.start()
            await asyncio.to_thread(fetch, scenario, tmp_path)
            await asyncio.to_thread(revoke, pki, "sae", "sae-oak")  # beside ash's certificates, not oak's
            await until(log, "revocations.taken", peer="ash")
            await until(log, "identity.renewed", revoked=2)
            deadline = time.monotonic() + 20
            while True:  # oak's door takes the list up as if somebody had carried it
                with client(scenario, tmp_path, "sae-oak") as oak:
                    try:
                        await asyncio.to_thread(oak.status, "sae-ash")
                    except NocloneError:
                        break
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
        finally:
            for node in nodes:
                await node.stop()

    asyncio.run(story())


def test_a_door_for_post_quantum_callers_only_lets_no_other_in(tmp_path: Path) -> None:
    scenario = bare(tmp_path, 20_320, 'sae_tls = "pq-required"')
    log = EventLog()

    async def story() -> None:
        async with serve(scenario, tmp_path, log):
            with pytest.raises(KmeError, match=r"did not accept|broke"):
                await asyncio.to_thread(lambda: client(scenario, tmp_path, "sae-ash").status("sae-oak"))
            await until(log, "tls.refused", plane="sae")
            await asyncio.to_thread(fetch, scenario, tmp_path, "post-quantum")

    asyncio.run(story())


def test_between_kmes_nothing_less_is_spoken(tmp_path: Path) -> None:
    scenario = bare(tmp_path, 20_330)
    log = EventLog()

    async def story() -> None:
        async with serve(scenario, tmp_path, log):
            ash = load_kme(tmp_path / "pki", "ash")
            assert ash.pq is not None
            post = tls.Post(tls.Identity(ash.pq.certificate, ash.pq.key, ash.pq.kme_ca))
            address = scenario.kme_address("oak")
            for context, passes in (
                (tls.client_context(ash.certificate, ash.key, ash.kme_ca), False),
                (tls.client_context(ash.certificate, ash.key, ash.kme_ca, post=post), True),
            ):
                try:
                    reader, writer, transport = await tls.connect_streams(context, *address)
                    about = transport.get_extra_info("tls")
                    writer.write(b"\0\0\0\2{}")
                    got = await asyncio.wait_for(reader.read(1), 10)
                    writer.close()
                except (NocloneError, ConnectionError):
                    got = b""
                assert bool(got) == passes
            assert about["group"] == "X25519MLKEM768"
            await until(log, "tls.refused", plane="kme")

    asyncio.run(story())


def test_certificates_are_renewed_under_way_and_revoked_ones_are_cut_off(tmp_path: Path) -> None:
    scenario = bare(tmp_path, 20_340)
    log, pki = EventLog(), tmp_path / "pki"

    async def story() -> None:
        async with serve(scenario, tmp_path, log) as network:
            await asyncio.to_thread(fetch, scenario, tmp_path)
            before = network.nodes["ash"].service.notary._certificate
            rotate(pki, "kme", "ash")
            await until(log, "identity.renewed", revoked=0)
            assert network.nodes["ash"].service.notary._certificate != before
            await asyncio.to_thread(fetch, scenario, tmp_path)  # with the application's old certificate
            with client(scenario, tmp_path, "sae-ash") as ash:
                await asyncio.to_thread(ash.status, "sae-oak")
                revoke(pki, "sae", "sae-ash")
                await until(log, "identity.renewed", revoked=2)
                for _ in range(100):
                    try:
                        await asyncio.to_thread(ash.status, "sae-oak")
                    except KmeError:
                        break
                    await asyncio.sleep(0.05)
                with pytest.raises(KmeError):
                    await asyncio.to_thread(ash.status, "sae-oak")
            rotate(pki, "sae", "sae-ash")
            await asyncio.to_thread(fetch, scenario, tmp_path)

    asyncio.run(story())


def test_who_was_revoked_stays_revoked_and_whose_root_is_pinned_keeps_it(tmp_path: Path) -> None:
    scenario = bare(tmp_path, 20_350)
    log, pki = EventLog(), tmp_path / "pki"
    place = pki / "kmes/ash"

    async def story() -> None:
        async with serve(scenario, tmp_path, log):
            revoke(pki, "sae", "sae-oak")
            await until(log, "identity.renewed", revoked=2)
            for path in place.glob("*.crl"):
                path.unlink()
            await refused(log, "leave out who was revoked")  # perhaps not at first: it may look between two files

    asyncio.run(story())
    for path in place.glob("kme-pq*"):
        path.unlink()
    with pytest.raises(PkiError, match="whose root is pinned, are gone"):
        Node(scenario, "ash", pki=pki, data=tmp_path / "data", log=log, options=RunOptions())


def test_key_that_nobody_wants_is_not_taken(tmp_path: Path) -> None:
    policy = '[[policy]]\nbetween = ["sae-ash", "sae-oak"]\nrequire = "post-quantum"\n'
    scenario = bare(tmp_path, 20_370, policy=policy)
    log = EventLog()

    async def story() -> None:
        async with serve(scenario, tmp_path, log) as network:
            await asyncio.to_thread(fetch, scenario, tmp_path)
            oak = network.nodes["oak"].service
            assert oak.exchange.wants("ash", "kem:mlkem768-x25519")
            assert not oak.exchange.wants("ash", "catkdf:mlkem768-x25519:link")
            assert not oak.exchange.wants("elm", "kem:mlkem768-x25519")

    asyncio.run(story())


def test_files_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    scenario = bare(tmp_path, 20_360)
    log, place = EventLog(), tmp_path / "pki/kmes/ash"

    async def story() -> None:
        async with serve(scenario, tmp_path, log):
            (place / "kme.crt").write_bytes((tmp_path / "pki/kmes/oak/kme.crt").read_bytes())
            refused = await until(log, "identity.refused")
            assert "somebody else's" in refused.data["reason"]
            await asyncio.to_thread(fetch, scenario, tmp_path)

    asyncio.run(story())


def test_a_revoked_kme_is_nobodys_peer_any_more(tmp_path: Path) -> None:
    scenario = bare(tmp_path, 20_380)
    log, pki = EventLog(), tmp_path / "pki"

    async def story() -> None:
        async with serve(scenario, tmp_path, log) as network:
            await asyncio.to_thread(fetch, scenario, tmp_path)
            revoke(pki, "kme", "oak")
            await until(log, "identity.renewed", revoked=2)
            await until(log, "kme.disconnected", peer="oak")
            ash = network.nodes["ash"].service
            with pytest.raises(NocloneError):
                await ash.exchange.exchange("oak", "kem", 64)

    asyncio.run(story())


def test_suites_change_while_the_network_runs_and_after_a_restart(tmp_path: Path) -> None:
    scenario = bare(tmp_path, 20_400)
    log, new, old = EventLog(), "mlkem1024-x25519", "mlkem768-x25519"

    async def story() -> None:
        async with serve(scenario, tmp_path, log):
            assert (await asyncio.to_thread(fetch, scenario, tmp_path))["noclone_combined"] == [f"kem:{old}"]
            for node in ("ash", "oak"):
                write_suites(suites_path(tmp_path / "data", node), [new, old], [])
            await until(log, "exchange.made", profile=f"kem:{new}")
            for _ in range(100):
                found = (await asyncio.to_thread(fetch, scenario, tmp_path))["noclone_combined"]
                if found == [f"kem:{new}"]:
                    break
            for node in ("ash", "oak"):
                write_suites(suites_path(tmp_path / "data", node), [new], [old])
            await until(log, "key.discarded", reason="suite")
            await until(log, "suites.changed", deprecated=[old])
            for _ in range(5):
                assert (await asyncio.to_thread(fetch, scenario, tmp_path))["noclone_combined"] == [f"kem:{new}"]
            suites_path(tmp_path / "data", "ash").write_text("junk")
            await until(log, "suites.refused")
            assert (await asyncio.to_thread(fetch, scenario, tmp_path))["noclone_combined"] == [f"kem:{new}"]

    asyncio.run(story())


def test_roots_that_nobody_signed_are_refused(tmp_path: Path) -> None:
    bare(tmp_path, 20_420)
    place = tmp_path / "pki/kmes/ash"
    kept = {name: (place / name).read_bytes() for name in (ROOTS, SIGNATURE, PUBLIC, "kme-pq-ca.crt")}

    def refused(match: str) -> None:
        with pytest.raises(PkiError, match=match):
            load_kme(tmp_path / "pki", "ash")
        for name, data in kept.items():
            (place / name).write_bytes(data)
        load_kme(tmp_path / "pki", "ash")

    roots = json.loads(kept[ROOTS])
    roots["sha384"]["kme-pq-ca"] = "0" * 96
    (place / ROOTS).write_text(json.dumps(roots))
    refused("not signed by")
    (place / SIGNATURE).write_bytes(bytes(len(kept[SIGNATURE])))
    refused("not signed by")
    (place / SIGNATURE).write_bytes(b"")
    refused("not signed by")
    (place / PUBLIC).write_text(SignatureKey.generate().public.hex())
    refused("not signed by")
    (place / "kme-pq-ca.crt").write_bytes((place / "sae-pq-ca.crt").read_bytes())
    refused("not the authority that the root signed")
    (place / ROOTS).unlink()
    refused("missing or damaged")
    (place / "sae-ca.crl").write_text("")
    with pytest.raises(PkiError, match="is missing"):
        load_kme(tmp_path / "pki", "ash")


def test_a_node_that_must_sign_with_ml_dsa_does_not_start_without(tmp_path: Path) -> None:
    scenario = bare(tmp_path, 20_440)
    for path in (tmp_path / "pki/kmes/ash").glob("kme-pq.*"):
        path.unlink()
    with pytest.raises(PkiError, match="ML-DSA-65"):
        Node(scenario, "ash", pki=tmp_path / "pki", data=tmp_path / "data", log=EventLog(), options=RunOptions())


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ('deprecated = ["mlkem768-x25519"]', "both accepted and deprecated"),
        ('deprecated = ["rot13"]', "no suite 'rot13'"),
        ('signatures = ["ML-DSA-65", "ML-DSA-65"]', "twice"),
        ("signatures = []", "at least 1"),
        ('sae_tls = "whatever"', "pq-required"),
    ],
)
def test_what_cannot_be_in_force_is_refused(tmp_path: Path, more: str, match: str) -> None:
    with pytest.raises(ScenarioError, match=match):
        bare(tmp_path, 20_460, more)


def test_a_file_of_suites_says_what_can_be(tmp_path: Path) -> None:
    path = suites_path(tmp_path, "ash")
    assert read_suites(path) is None
    for wrong in ([], ["rot13"]):
        with pytest.raises(InputError):
            write_suites(path, wrong, [])
    assert read_suites(path) is None
    for text in ("[]", "{}", '{"accepted": [1], "deprecated": []}', '{"accepted": [], "deprecated": []}', "\0"):
        path.write_text(text)
        with pytest.raises(InputError):
            read_suites(path)


def test_a_pair_without_a_policy_gets_no_key_of_algorithms_alone_where_there_are_links(tmp_path: Path) -> None:
    from noclone.network.relaying import combined_goals_of

    assert combined_goals_of(load_scenario("metro"), "koganei") == []
    assert [goal.peer for goal in combined_goals_of(load_scenario("pqc"), "observatory")] == ["harbour", "market"]
