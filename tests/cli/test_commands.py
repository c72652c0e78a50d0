"""Every command as a user types it: good input, what goes to stdout, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.conftest import free_base_port

NOCLONE = [sys.executable, "-m", "noclone"]
ROOT = Path(__file__).parents[2]


def test_help_names_every_command_and_imports_nothing_heavy(run: Run) -> None:
    from noclone.cli.main import COMMANDS

    done = run("--help")
    assert done.returncode == 0
    for _, _, name, _ in COMMANDS:
        assert name in done.stdout
    code = (
        "import sys; from noclone.cli.main import run_command; run_command(['--help']);"
        "bad = {'cyclopts', 'rich', 'numba', 'numpy', 'cryptography', 'sqlalchemy', 'pydantic', 'h5py'};"
        "bad &= set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_command_has_help(run: Run) -> None:
    from noclone.cli.main import COMMANDS

    for _, _, name, _ in COMMANDS:
        assert run(name, "--help").returncode == 0


def test_version(run: Run) -> None:
    from noclone import __version__

    assert run("--version").stdout.strip() == __version__


def test_schema_is_json(run: Run) -> None:
    for form in ([], ["--json"]):
        assert json.loads(run("schema", *form).stdout)["title"] == "noclone scenario"


def test_pki_makes_private_files_and_a_second_call_keeps_them(run: Run, small_scenario: Path, tmp_path: Path) -> None:
    first = json.loads(run("pki", small_scenario, "-o", tmp_path / "pki", "--json").stdout)
    again = json.loads(run("pki", small_scenario, "-o", tmp_path / "pki", "--json").stdout)
    assert set(again["kept"]) == set(first["created"])
    assert again["created"] == []
    for path in (tmp_path / "pki").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.suffix == ".crt", path


def test_a_run_leaves_a_folder_that_says_everything(run: Run, small_scenario: Path, tmp_path: Path) -> None:
    done = run("run", small_scenario, "--blocks", "2", "--seed", "5", "--json", cwd=tmp_path)
    result = json.loads(done.stdout)
    folder = tmp_path / result["folder"]
    assert result["links"][0]["secret_bits"] > 0
    assert result["verdict"]["code"] == "secure-in-model"
    assert json.loads((folder / "run.json").read_text())["seed"] == 5
    assert json.loads((folder / "scenario.json").read_text())["name"] == "small"
    assert json.loads((folder / "result.json").read_text()) == result
    kinds = [json.loads(line)["kind"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert kinds.count("block.distilled") == 2
    refilled = [json.loads(line).get("refill_bits", 0) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert result["links"][0]["refill_bits"] == sum(refilled)
    # The same seed gives the same detections and key lengths.
    again = json.loads(run("run", small_scenario, "--blocks", "2", "--seed", "5", "--json", cwd=tmp_path).stdout)
    for name in ("blocks", "secret_bits", "light_s"):
        assert again["links"][0][name] == result["links"][0][name]


def test_a_run_under_attack_refuses_its_blocks(run: Run, small_scenario: Path, tmp_path: Path) -> None:
    path = tmp_path / "eve.toml"
    text = small_scenario.read_text()
    path.write_text(text + '\n[[attack]]\nname = "intercept-resend"\non = "ada-ben"\nfirst_block = 1\n')
    result = json.loads(run("run", path, "--blocks", "3", "--seed", "1", "--json", cwd=tmp_path).stdout)
    assert result["links"][0]["aborted"] == 2
    assert result["links"][0]["reasons"] == {"qber-too-high": 2}
    assert result["verdict"]["code"] == "under-attack"


def test_record_and_distill(run: Run, small_scenario: Path, tmp_path: Path) -> None:
    recording, key = tmp_path / "light.h5", tmp_path / "key.bin"
    assert run("record", small_scenario, "-o", recording, "--seed", "3", "--blocks", "2").returncode == 0
    assert recording.stat().st_mode & 0o077 == 0
    done = run("distill", recording, "-o", key, "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert key.stat().st_mode & 0o077 == 0
    assert 8 * len(key.read_bytes()) == result["secret_bits"] > 0
    assert result["origin"] == "simulated"
    assert result["seeded"] is True
    assert {block["proof"] for block in result["blocks"]} == {"wiesemann2024"}
    # It is not replaced without being told.
    assert run("distill", recording, "-o", key).returncode == 2
    # A recording that was cut short is refused by name.
    cut = tmp_path / "cut.h5"
    cut.write_bytes(recording.read_bytes()[:50_000])
    refused = run("distill", cut)
    assert refused.returncode == 2
    assert "cut.h5" in refused.stderr


def test_keylength_of_the_example_and_of_nonsense(run: Run, tmp_path: Path) -> None:
    example = ROOT / "examples" / "counts.toml"
    result = json.loads(run("keylength", example, "--json").stdout)
    assert any(proof["bits"] > 0 for proof in result["proofs"])
    assert all(proof["assumptions"] for proof in result["proofs"])
    text = run("keylength", example).stdout
    assert "fixed-length" in text
    assert "agreed" in text
    broken = tmp_path / "counts.toml"
    broken.write_text(example.read_text().replace("secrecy", "secrecey"))
    done = run("keylength", broken)
    assert done.returncode == 2
    assert "did you mean 'secrecy'" in done.stderr


def application(served: Any, sae: str) -> list[str]:
    return ["--scenario", str(served.scenario), "--pki", str(served.pki), "--as", sae]


def wait_for_keys(run: Run, served: Any, number: int) -> None:
    """Wait until the link has distilled enough."""
    for _ in range(600):
        status = run("key", "status", "--to", "sae-ben", *application(served, "sae-ada"), "--json")
        if json.loads(status.stdout)["stored_key_count"] >= number:
            return
        time.sleep(0.1)
    raise AssertionError("no key came in")


def test_keys_on_the_command_line(run: Run, served: Any) -> None:
    status = json.loads(run("key", "status", "--to", "sae-ben", *application(served, "sae-ada"), "--json").stdout)
    assert status["stored_key_count"] > 0
    got = json.loads(run("key", "get", "--to", "sae-ben", "--reveal", *application(served, "sae-ada"), "--json").stdout)
    identifier = got["keys"][0]["key_ID"]
    fetch = ["key", "get-with-ids", identifier, "--from", "sae-ada", *application(served, "sae-ben")]
    hidden = run(*fetch)
    assert hidden.returncode == 0
    assert got["keys"][0]["key"] not in hidden.stdout, "a key is shown only with --reveal"
    assert "simulated" in hidden.stdout
    twice = run(*fetch)
    assert twice.returncode == 1
    assert "one or more keys specified are not found on KME" in twice.stderr


def test_a_file_crosses_and_is_identical_or_refused(run: Run, served: Any, tmp_path: Path) -> None:
    source, sealed, out = tmp_path / "plan.bin", tmp_path / "plan.otp", tmp_path / "plan.out"
    source.write_bytes(os.urandom(5_000))
    wait_for_keys(run, served, 200)
    sent = run("file", "send", source, "--to", "sae-ben", "-o", sealed, *application(served, "sae-ada"))
    assert sent.returncode == 0, sent.stderr
    tampered = tmp_path / "tampered.otp"
    data = bytearray(sealed.read_bytes())
    data[-40] ^= 1
    tampered.write_bytes(data)
    refused = run("file", "receive", tampered, "-o", out, *application(served, "sae-ben"))
    assert refused.returncode == 1
    assert not out.exists()
    received = run("file", "receive", sealed, "-o", out, *application(served, "sae-ben"))
    assert received.returncode == 0, received.stderr
    assert out.read_bytes() == source.read_bytes()


def test_a_message_crosses(run: Run, served: Any, tmp_path: Path) -> None:
    sealed = tmp_path / "m.otp"
    text = "meet at noon \N{SNOWMAN}"
    assert (
        run("message", "send", text, "--to", "sae-ben", "-o", sealed, *application(served, "sae-ada")).returncode == 0
    )
    done = run("message", "receive", sealed, *application(served, "sae-ben"), "--json")
    assert json.loads(done.stdout)["text"] == text


def test_attack_on_the_command_line(run: Run, served: Any) -> None:
    common = [served.scenario, "--pki", served.pki]
    assert run("attack", "intercept-resend", *common, "--on", "nowhere").returncode == 2
    on = run("attack", "intercept-resend", *common, "--on", "ada-ben", "--strength", "0.5")
    assert "intercept-resend, strength 0.5" in on.stdout
    off = run("attack", "stop", *common, "--on", "ada-ben")
    assert "no attack" in off.stdout


def test_nobody_serves(run: Run, tmp_path: Path) -> None:
    run("pki", "longhaul", "-o", tmp_path / "pki")
    done = run("attack", "status", "longhaul", "--pki", tmp_path / "pki")
    assert done.returncode == 1
    assert "noclone serve" in done.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_well_when_told(run: Run, small_scenario: Path, tmp_path: Path, stop: signal.Signals) -> None:
    path = tmp_path / "small.toml"
    path.write_text(re.sub(r"base_port = \d+", f"base_port = {free_base_port()}", small_scenario.read_text()))
    run("pki", path, "-o", tmp_path / "pki")
    process = subprocess.Popen(
        [*NOCLONE, "serve", path, "--pki", tmp_path / "pki", "--data", tmp_path / "data", "--json", "--speed", "inf"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["kind"] == "block.distilled":
            break
    process.send_signal(stop)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "stopped"
    assert not list((tmp_path / "data").glob("*-journal"))


@pytest.mark.timeout(240)  # a first run compiles
def test_interrupting_a_run_keeps_what_was_finished(small_scenario: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*NOCLONE, "run", small_scenario, "--blocks", "10000", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    events = None
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and not (events and "block.distilled" in events[0].read_text()):
        events = list(tmp_path.glob("runs/*/events.jsonl"))
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "interrupted; " in errors
    assert "Traceback" not in errors
    result = json.loads(out)
    folder = tmp_path / result["folder"]
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["interrupted"] is True
    kinds = [json.loads(line)["kind"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert kinds[-1] == "run.interrupted"
    assert 1 <= result["links"][0]["blocks"] < 10_000
    assert result["links"][0]["secret_bits"] > 0


def test_a_reader_that_leaves_is_no_error(run: Run, small_scenario: Path) -> None:
    shell = f"{sys.executable} -m noclone schema | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {shell}"], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_the_demo_tells_the_whole_story(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--seed", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["block"]["secret_bits"] > 100_000
    assert result["file"]["identical"] is True
    assert result["eve"]["reason"] == "qber-too-high"
    assert result["eve"]["qber"] == pytest.approx(0.26, abs=0.02)  # 1 % of the link and a quarter of Eve's share
    assert result["eve"]["verdict"] == "under-attack"
    assert result["eve"]["recovered_qber"] < 0.02
    assert result["verdict"]["code"] == "secure-in-model"
    assert any("SIMULATED" in line for line in result["verdict"]["rests_on"])
    assert not list(tmp_path.iterdir()), "the demo leaves nothing behind"


def test_a_link_that_is_too_long_is_no_attack(run: Run, small_scenario: Path, tmp_path: Path) -> None:
    path = tmp_path / "far.toml"
    path.write_text(small_scenario.read_text().replace("length_km = 25", "length_km = 400"))
    done = run("run", path, "--blocks", "1", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "no key is to be expected" in done.stderr
    assert json.loads(done.stdout)["verdict"]["code"] == "no-key"


def test_import_and_generate_write_scenarios_that_load(run: Run, tmp_path: Path) -> None:
    from noclone.network.scenario import load_scenario

    done = run("generate", "12", "--seed", "3", "-o", tmp_path / "net.toml", "--json")
    assert (done.returncode, json.loads(done.stdout)["nodes"]) == (0, 12)
    assert len(load_scenario(tmp_path / "net.toml").nodes) == 12
    done = run("generate", "12", "--seed", "3")
    assert done.stdout.strip() == (tmp_path / "net.toml").read_text().strip()
    done = run("import", tmp_path / "missing.graphml")
    assert done.returncode == 2
    assert "missing.graphml: cannot be read" in done.stderr
