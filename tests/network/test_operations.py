"""The monitoring's door: alive, ready, and numbers that follow what really happens."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from noclone.client import Etsi014Client, Refusal
from noclone.errors import InputError, NocloneError
from noclone.events import EventLog
from noclone.network import operations
from noclone.network.identities import load_sae
from noclone.network.metrics import Metrics
from noclone.network.operations import open_operations, parse_address
from noclone.network.scenario import load_scenario

Numbers = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def get(address: tuple[str, int], path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=120)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def numbers(text: bytes) -> Numbers:
    """Read the text with the client library's own parser."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(found: Numbers, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def ada(served: Any) -> Etsi014Client:
    identity = load_sae(served.pki, "sae-ada")
    host, port = load_scenario(served.scenario).etsi014_address("ada")
    return Etsi014Client(
        f"https://{host}:{port}", certificate=identity.certificate, key=identity.key, ca=identity.kme_ca
    )


def test_alive_and_ready(served: Any) -> None:
    assert get(served.monitoring, "/healthz") == (200, b'{"status":"alive"}')
    status, body = get(served.monitoring, "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "problems": {}})
    assert get(served.monitoring, "/elsewhere")[0] == 404


def test_numbers_follow_what_happens(served: Any) -> None:
    before = numbers(get(served.monitoring, "/metrics")[1])
    with ada(served) as client:
        key = client.enc_keys("sae-ben", number=3, size=512).keys[0]
        with pytest.raises(Refusal):
            client.enc_keys("sae-nobody")
    text = get(served.monitoring, "/metrics")[1]
    after = numbers(text)

    def grew(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grew("noclone_keys_delivered_total", kme="ada") == 3
    assert grew("noclone_key_bits_delivered_total", kme="ada") == 3 * 512
    assert grew("noclone_requests_refused_total", kme="ada", status="400", reason="unknown-slave") == 1
    assert grew("noclone_request_duration_seconds_count", kme="ada", call="enc_keys", status="200") == 1
    assert grew("noclone_request_duration_seconds_count", kme="ada", call="enc_keys", status="400") == 1
    assert value(after, "noclone_stored_key_bits", kme="ada", peer="ben", state="ready_out") > 0
    assert value(after, "noclone_kme_connected", kme="ben", peer="ada") == 1
    assert value(after, "noclone_secret_key_bits_total", link="ada-ben", end="alice") > 0
    assert 0 < value(after, "noclone_qber_ratio", link="ada-ben", end="bob") < 0.5
    for secret in (key.key_id, key.value.hex(), "127.0.0.1"):
        assert secret not in text.decode()
    names = {name for name, _ in after if name.startswith("noclone_")}
    what = "bits|keys|stalls|blocks|alarms|changes|seconds|ratio|connected|refused|delivered|expired"
    units = re.compile(rf"_({what})(_total|_created|_bucket|_sum|_count)?$")
    assert [name for name in sorted(names) if not units.search(name)] == []


class Asleep:
    async def problem(self) -> str:
        await asyncio.sleep(60)
        return ""


class Stopping:
    async def problem(self) -> str:
        return "it is stopping"


def test_what_is_not_ready_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "READY_WAIT_S", 0.05)
    nodes: dict[str, operations.Watched] = {}

    async def ask() -> list[tuple[int, Any]]:
        door = await operations.open_operations(Metrics(EventLog(), {}), nodes, ("127.0.0.1", 0))
        try:
            first = await asyncio.to_thread(get, ("127.0.0.1", door.port), "/readyz")
            nodes.update(ada=Asleep(), ben=Stopping())
            return [first, await asyncio.to_thread(get, ("127.0.0.1", door.port), "/readyz")]
        finally:
            await door.stop()

    none, two = asyncio.run(ask())
    assert (none[0], json.loads(none[1])["problems"]) == (503, {"process": "no node is up yet"})
    assert two[0] == 503
    assert json.loads(two[1])["problems"] == {"ada": "no answer within 0.05 s", "ben": "it is stopping"}


@pytest.mark.parametrize(
    ("text", "address"), [("9464", ("127.0.0.1", 9464)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::1]:80", ("::1", 80))]
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:0", "host:65536", "host:-1", "host:http"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InputError):
        parse_address(text)


def test_a_taken_port_is_said(served: Any) -> None:
    with pytest.raises(NocloneError, match="the monitoring's door cannot listen"):
        asyncio.run(open_operations(Metrics(EventLog(), {}), {}, served.monitoring))
