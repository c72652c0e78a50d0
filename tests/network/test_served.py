"""A served network: light, two nodes, key delivery, Eve, restart; over real sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from noclone.client import Etsi014Client, Refusal
from noclone.errors import AuthenticationError, InputError, NocloneError
from noclone.events import EventLog
from noclone.io import tls
from noclone.network.identities import load_kme, load_operator_token, load_sae
from noclone.network.node import Node, RunOptions
from noclone.network.operator import ask
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for
from noclone.redteam.attacks import resolve
from tests.conftest import free_base_port

LINK = "ada-ben"


def client(served: Any, sae: str) -> Etsi014Client:
    scenario = load_scenario(served.scenario)
    identity = load_sae(served.pki, sae)
    host, port = scenario.etsi014_address(scenario.sae(sae).node)
    return Etsi014Client(
        f"https://{host}:{port}", certificate=identity.certificate, key=identity.key, ca=identity.kme_ca
    )


def test_keys_of_simulated_light_reach_both_applications_alike_and_say_so(served: Any) -> None:
    with client(served, "sae-ada") as ada, client(served, "sae-ben") as ben:
        got = ada.enc_keys("sae-ben", number=3, size=512)
        same = ben.dec_keys("sae-ada", [key.key_id for key in got.keys])
    assert [key.value for key in got.keys] == [key.value for key in same.keys]
    assert len({key.value for key in got.keys}) == 3
    assert all(len(key.value) == 64 and key.simulated for key in same.keys)
    assert all(key.extension["noclone_seeded"] is False for key in same.keys)


def test_a_key_is_explained_by_who_holds_it(served: Any) -> None:
    with client(served, "sae-ada") as ada:
        key_id = ada.enc_keys("sae-ben").keys[0].key_id
    command = [sys.executable, "-m", "noclone", "key", "explain", key_id, str(served.scenario)]
    command += ["--pki", str(served.pki), "--weight", "fibre=0.5"]
    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert told["sites"] == ["ada", "ben"]
    assert told["claim"].startswith("about the model only")
    assert told["cheapest_coalition"] == {"atoms": [f"fibre:{LINK}"], "cost": 0.5}
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"leaks if: bootstrap:{LINK} OR fibre:{LINK}" in text
    with pytest.raises(InputError, match="no KME here knows a key"):
        ask(load_scenario(served.scenario), served.pki, "GET", f"/api/keys/{'0' * 36}")


def test_an_application_that_was_not_named_gets_nothing(served: Any) -> None:
    with client(served, "sae-ada") as ada, client(served, "sae-bea") as bea:
        got = ada.enc_keys("sae-ben")
        with pytest.raises(Refusal) as caught:
            bea.dec_keys("sae-ada", [got.keys[0].key_id])
    assert caught.value.status == 401


def test_eve_is_caught_and_the_link_recovers(served: Any) -> None:
    scenario = load_scenario(served.scenario)
    before = served.log.since()[-1].number
    state = ask(scenario, served.pki, "POST", "/api/attacks", {"name": "intercept-resend", "on": LINK, "strength": 0.8})
    assert state["links"][LINK]["attack"] == {"name": "intercept-resend", "strength": 0.8}
    touched = next(e for e in _light(served, before) if e.data["attack"])
    while True:
        refused = served.wait_for("block.aborted", after=before)
        if refused.data["block"] >= touched.data["block"] and refused.data["qber"] is not None:
            break
        before = refused.number
    # A quarter of her share: 20 points, on about 20,000 test bits, whose standard deviation is 0.3 points.
    assert refused.data["qber"] == pytest.approx(0.01 + 0.8 / 4, abs=0.02)
    assert refused.data["reason"] == "qber-too-high"
    assert served.wait_for("alarm.raised", after=touched.number).data["monitor"] in (
        "error-rate",
        "gain-0",
        "gain-1",
        "double-clicks",
    )
    ask(scenario, served.pki, "DELETE", f"/api/attacks/{LINK}")
    again = served.wait_for("block.distilled", after=served.log.since()[-1].number)
    assert again.data["qber"] < 0.02


def _light(served: Any, after: int) -> list[Any]:
    served.wait_for("attack.started", after=after)
    for _ in range(200):
        found = [e for e in served.log.since(after) if e.kind == "light.sent" and e.data["attack"]]
        if found:
            return found
        served.wait_for("light.sent", after=served.log.since()[-1].number)
    raise AssertionError("the light never saw Eve")


def test_no_event_holds_key(served: Any) -> None:
    with client(served, "sae-ada") as ada:
        key = ada.enc_keys("sae-ben").keys[0].value
    everything = "\n".join(event.to_json() for event in served.log)
    assert key.hex() not in everything
    assert len(everything) > 1000


def test_the_light_serves_only_its_two_ends(served: Any) -> None:
    """An application's certificate is of another authority: the light hangs up in the handshake."""
    scenario = load_scenario(served.scenario)
    sae = load_sae(served.pki, "sae-ada")
    context = tls.client_context(sae.certificate, sae.key, sae.kme_ca)

    async def call() -> None:
        reader, writer, _ = await tls.connect_streams(context, *scenario.light_address(LINK))
        writer.write(b"x" * 100)
        await asyncio.wait_for(reader.read(), 5)
        raise AuthenticationError("hung up")  # TLS 1.3 tells the client only when it reads

    with pytest.raises((AuthenticationError, OSError)):
        asyncio.run(call())


def request(served: Any, method: str, path: str, headers: dict[str, str], body: str = "") -> tuple[int, Any]:
    host, port = load_scenario(served.scenario).control_address()
    connection = http.client.HTTPConnection(host, port, timeout=120)
    connection.request(method, path, body or None, headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, json.loads(data)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"Authorization": "Bearer " + "0" * 64}, 401),
        ({"Authorization": ""}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
    ],
)
def test_the_operators_door_is_guarded(served: Any, change: dict[str, str], status: int) -> None:
    good = {"Authorization": f"Bearer {load_operator_token(served.pki)}"}
    assert request(served, "GET", "/api/state", {**good, **change})[0] == status


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{", '{"name": 1}', '{"name": "intercept-resend", "on": "nowhere"}', "x" * 5000,
     '{"name": "intercept-resend", "on": "ada-ben", "strength": 2}', '{"name": "magic", "on": "ada-ben"}'],
)  # fmt: skip
def test_the_operators_door_refuses_nonsense(served: Any, body: str) -> None:
    headers = {"Authorization": f"Bearer {load_operator_token(served.pki)}", "Content-Type": "application/json"}
    status, answer = request(served, "POST", "/api/attacks", headers, body)
    assert status == 400
    assert answer["message"]


def test_events_can_be_followed_by_number(served: Any) -> None:
    headers = {"Authorization": f"Bearer {load_operator_token(served.pki)}"}
    _, events = request(served, "GET", "/api/events?since=0", headers)
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    last = served.log.since()[-1].number
    _, newer = request(served, "GET", f"/api/events?since={last}&wait=20", headers)
    assert newer[0]["number"] == last + 1


def test_attacks_exist_only_in_a_lab(small_scenario: Path) -> None:
    from noclone.network.blocks import plan_link
    from noclone.network.light_server import LightServer

    light = LightServer(plan_link(load_scenario(small_scenario).links[0]), EventLog(), resolve=None)
    with pytest.raises(NocloneError, match="lab"):
        light.start_attack("intercept-resend", 1.0)


def moved(small_scenario: Path) -> Scenario:
    """Return the scenario on other ports that are free."""
    scenario = load_scenario(small_scenario)
    return scenario.model_copy(update={"base_port": free_base_port()})


def test_a_restarted_network_goes_on_where_it_was(small_scenario: Path, tmp_path: Path) -> None:
    """Stored keys, block numbers, spent authentication keys and the summed epsilon outlive the process."""
    scenario = moved(small_scenario)
    create_pki_for(scenario, tmp_path / "pki")

    async def serve(blocks: int) -> EventLog:
        log = EventLog()
        network = ServedNetwork(
            scenario,
            pki=tmp_path / "pki",
            data=tmp_path / "data",
            log=log,
            options=RunOptions(speed=math.inf),
            resolve=resolve,
        )
        async with asyncio.timeout(240), network:
            while sum(e.kind == "block.distilled" for e in log) < 2 * blocks:
                await asyncio.sleep(0.02)
        return log

    first = asyncio.run(serve(2))
    made = max(e.data["block"] for e in first if e.kind == "block.distilled")
    second = asyncio.run(serve(1))
    again = next(e for e in second if e.kind == "block.distilled")
    assert again.data["block"] > made
    assert again.data["cumulative_epsilon"] > max(
        e.data["cumulative_epsilon"] for e in first if e.kind == "block.distilled"
    )
    for end in ("ada", "ben"):  # what is spent of the initial secret is wiped, should the store be lost
        secret = (tmp_path / "pki" / "kmes" / end / "links" / "ada-ben.secret").read_bytes()
        assert secret[: 2 * 64] == bytes(2 * 64)
        assert secret[-64:] != bytes(64)
    store = tmp_path / "data" / "ada.db"
    assert store.stat().st_mode & 0o077 == 0


def test_seeded_light_repeats_itself_and_is_labelled(small_scenario: Path, tmp_path: Path) -> None:
    """The same seed gives the same detections, in another process and on other ports; its keys are no secret."""

    def first_block(name: str) -> dict[str, Any]:
        scenario = moved(small_scenario)
        folder = tmp_path / name
        create_pki_for(scenario, folder / "pki")

        async def serve() -> dict[str, Any]:
            log = EventLog()
            options = RunOptions(seed=bytes(32), speed=math.inf)
            network = ServedNetwork(
                scenario, pki=folder / "pki", data=folder / "data", log=log, options=options, resolve=resolve
            )
            async with asyncio.timeout(240), network:
                while not (found := [e for e in log if e.kind == "block.distilled"]):
                    await asyncio.sleep(0.02)
            return found[0].data

        return asyncio.run(serve())

    one, two = first_block("one"), first_block("two")
    assert one["counts"] == two["counts"]
    assert one["detections"] == two["detections"] > 0
    assert one["seeded"] is True


def test_two_nodes_and_the_light_in_three_processes(small_scenario: Path, tmp_path: Path) -> None:
    """The same link with each part in a process of its own: Alice, Bob, and the light between them."""
    scenario = moved(small_scenario)
    path = tmp_path / "small.toml"
    path.write_text(re.sub(r"base_port = \d+", f"base_port = {scenario.base_port}", small_scenario.read_text()))
    create_pki_for(scenario, tmp_path / "pki")
    common = [str(path), "--pki", str(tmp_path / "pki"), "--json"]
    commands = [
        ["fibre", LINK, *common, "--speed", "inf"],
        ["node", "ada", *common, "--data", str(tmp_path / "data")],
        ["node", "ben", *common, "--data", str(tmp_path / "data")],
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "noclone", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for command in commands
    ]
    try:
        made = [_first(process, "block.distilled") for process in processes[1:]]
        assert made[0]["block"] == made[1]["block"]
        assert made[0]["secret_bits"] == made[1]["secret_bits"] > 0
        assert {made[0]["end"], made[1]["end"]} == {"alice", "bob"}
    finally:
        for process in processes:
            process.terminate()
        errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert not any("Traceback" in text for text in errors), errors


def _first(process: subprocess.Popen[str], kind: str) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["kind"] == kind:
            return event
    raise AssertionError(process.stderr.read() if process.stderr else "")


def test_a_node_refuses_the_secrets_of_another(small_scenario: Path, tmp_path: Path) -> None:
    scenario = moved(small_scenario)
    create_pki_for(scenario, tmp_path / "pki")
    identity = load_kme(tmp_path / "pki", "ada")
    identity.kek.chmod(0o644)
    with pytest.raises(NocloneError, match="others"):
        Node(scenario, "ada", pki=tmp_path / "pki", data=tmp_path / "data", log=EventLog(), options=RunOptions())


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(InputError, match="speed"):
        RunOptions(speed=speed)


def test_eve_on_the_public_channel_is_caught_and_the_link_recovers(served: Any) -> None:
    scenario = load_scenario(served.scenario)
    before = served.log.since()[-1].number
    ask(scenario, served.pki, "POST", "/api/attacks", {"name": "tampering", "on": LINK, "strength": 1.0})
    while True:
        refused = served.wait_for("block.aborted", after=before)
        if refused.data["reason"] == "authentication-failed":
            break
        before = refused.number
    while served.wait_for("alarm.raised", after=before).data["monitor"] != "authentication":
        before = served.wait_for("alarm.raised", after=before).number
    ask(scenario, served.pki, "DELETE", f"/api/attacks/{LINK}")
    after = served.log.since()[-1].number
    assert served.wait_for("block.distilled", after=after)
    # What her record is worth is said for each block that she sat on: nothing, for she left the light alone.
    assert all(event.data["information_bits"] == 0 for event in served.log.since(before) if event.kind == "eve.learned")


def test_every_block_says_what_its_devices_read(served: Any) -> None:
    measured = served.wait_for("devices.measured")
    assert measured.data["telemetry"]["events"] > 0
    assert measured.data["telemetry"]["photocurrent_ua"] is None  # this link has no such meter


def test_eve_never_touches_a_link_that_is_not_simulated(served: Any) -> None:
    with pytest.raises(InputError, match="Eve never touches real ones"):
        ask(
            load_scenario(served.scenario),
            served.pki,
            "POST",
            "/api/attacks",
            {"name": "blinding", "on": "elsewhere", "strength": 1.0},
        )
