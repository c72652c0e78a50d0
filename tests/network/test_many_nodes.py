"""A generated network of 200 nodes, served by one process: keys between its far ends."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from noclone.client import Etsi014Client
from noclone.errors import KmeError, NocloneError
from noclone.network.identities import load_sae
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.served import allow_files

FAR = ("n000", "n199")
RELAY = "[relay]\nblock_bytes = 2048\nlow_bits = 32768\nhigh_bits = 65536\nreserve_bits = 1024\n"
PATIENCE_S = 800.0
MEMORY_MB = 3000


def noclone(*words: str) -> list[str]:
    return [sys.executable, "-m", "noclone", *words]


def two_hundred(folder: Path, base_port: int) -> Scenario:
    """Generate the network, with small blocks and an application at each of two far nodes."""
    path = folder / "net.toml"
    subprocess.run(noclone("generate", "200", "-o", str(path)), check=True, capture_output=True)
    text = path.read_text()
    saes = "".join(f'[[sae]]\nid = "app-{node}"\nnode = "{node}"\n' for node in FAR)
    text = text[: text.index("[[sae]]")] + saes + text[text.index("[[link]]") :]
    text = re.sub(r"block_key_bits = [0-9_]+", "block_key_bits = 200_000", text)
    text = re.sub(r"^(title = .*)$", rf"\1\nbase_port = {base_port}\n{RELAY}", text, count=1, flags=re.MULTILINE)
    path.write_text(text)
    return load_scenario(path)


def client(scenario: Scenario, pki: Path, node: str) -> Etsi014Client:
    identity = load_sae(pki, f"app-{node}")
    host, port = scenario.etsi014_address(node)
    url = f"https://{host}:{port}"
    return Etsi014Client(url, certificate=identity.certificate, key=identity.key, ca=identity.kme_ca, timeout_s=120)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("NOCLONE_TEST_200"), reason="NOCLONE_TEST_200: two quiet cores for some minutes")
@pytest.mark.timeout(1200)
def test_two_hundred_nodes_are_served_and_deliver_a_key_between_far_ends(
    tmp_path: Path, free_ports: Callable[[], int]
) -> None:
    scenario, pki = two_hundred(tmp_path, free_ports()), tmp_path / "pki"
    assert (len(scenario.nodes), len(scenario.links)) == (200, 374)
    scenario_file = str(tmp_path / "net.toml")
    subprocess.run(noclone("pki", scenario_file, "-o", str(pki)), check=True, capture_output=True)
    command = noclone("serve", scenario_file, "--pki", str(pki), "--data", str(tmp_path / "data"), "--speed", "inf")
    started = time.monotonic()
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        try:
            with client(scenario, pki, FAR[0]) as near, client(scenario, pki, FAR[1]) as far:
                while True:
                    try:
                        got = near.enc_keys(f"app-{FAR[1]}", 2)
                        break
                    except KmeError as error:
                        if process.poll() is not None or time.monotonic() - started > PATIENCE_S:
                            raise AssertionError((tmp_path / "said").read_text()[-2000:]) from error
                        time.sleep(2)
                took_s = time.monotonic() - started
                same = far.dec_keys(f"app-{FAR[0]}", [key.key_id for key in got.keys])
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak_mb = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024  # type: ignore[index]
            print(f"first key after {took_s:.0f} s, {peak_mb} MB")  # noqa: T201
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0
    assert [key.value for key in got.keys] == [key.value for key in same.keys]
    assert len(got.keys[0].extension["noclone_nodes"]) >= 3  # relayed over several nodes
    assert peak_mb < MEMORY_MB


def test_too_many_files_are_told_before_anything_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    allow_files(3, 3)
    assert limits == [(1024, 4096)]
    allow_files(100, 150)
    assert limits[-1] == (256 + 1000 + 1800, 4096)
    with pytest.raises(NocloneError, match="this system allows 4096"):
        allow_files(200, 374)
