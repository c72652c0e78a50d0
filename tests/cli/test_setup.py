"""`noclone pki` and `noclone suites`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509

from noclone.cli.main import run_command
from noclone.network.revocation import revoked_in


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command(list(arguments))
    out, errors = capsys.readouterr()
    return code, out, errors


def serial(path: str) -> int:
    return x509.load_pem_x509_certificate(Path(path).read_bytes()).serial_number


def test_certificates_are_made_rotated_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "pki", "pqc")[0] == 0
    place = "pqc.pki/saes/sae-market/sae"
    first = serial(f"{place}.crt"), serial(f"{place}-pq.crt")
    code, out, _ = run(capsys, "pki", "rotate", "pqc", "sae", "sae-market", "--revoke-old", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["revoked"]["sae-ca"], told["revoked"]["sae-pq-ca"]) == ([first[0]], [first[1]])
    second = serial(f"{place}.crt"), serial(f"{place}-pq.crt")
    assert not set(first) & set(second)
    assert run(capsys, "pki", "revoke", "pqc", "sae", "sae-market")[0] == 0
    lists = Path("pqc.pki/kmes/market")
    assert revoked_in([lists / "sae-ca.crl", lists / "sae-pq-ca.crl"]) == {*first, *second}
    assert revoked_in([lists / "kme-ca.crl", lists / "kme-pq-ca.crl"]) == set()
    for name in ("nobody", "../market"):
        code, _, errors = run(capsys, "pki", "revoke", "pqc", "kme", name)
        assert code in (1, 2)
        assert "Traceback" not in errors
    assert run(capsys, "pki", "pqc")[0] == 0  # a second call changes nothing
    assert (serial(f"{place}.crt"), serial(f"{place}-pq.crt")) == second


def test_suites_are_shown_and_changed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "suites", "pqc")
    assert (code, out.splitlines()[0]) == (0, "harbour: mlkem768-x25519")
    new, old = "mlkem1024-x25519", "mlkem768-x25519"
    assert run(capsys, "suites", "pqc", "--accept", new, "--accept", old)[0] == 0
    code, out, _ = run(capsys, "suites", "pqc", "--deprecate", old, "--json")
    assert json.loads(out)["nodes"]["market"] == {"accepted": [new], "deprecated": [old]}
    code, out, _ = run(capsys, "suites", "pqc", "--accept", old, "--node", "market", "--json")
    assert json.loads(out)["nodes"] == {"market": {"accepted": [old], "deprecated": []}}
    for wrong in (["--deprecate", old, "--node", "market"], ["--accept", "rot13"], ["--node", "elsewhere"]):
        code, _, errors = run(capsys, "suites", "pqc", *wrong)
        assert code in (1, 2)
        assert "Traceback" not in errors
    assert json.loads(run(capsys, "suites", "pqc", "--json")[1])["nodes"]["market"]["accepted"] == [old]


def test_a_scenario_without_links_has_no_light_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["run", "pqc"], ["record", "pqc", "-o", "x.h5"]):
        code, _, errors = run(capsys, *command)
        assert code != 0
        assert "Traceback" not in errors
    assert "noclone serve pqc" in errors


def test_the_audit_says_what_each_half_adds(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "audit", "pqc", "--json")
    told = json.loads(out)
    assert code == 0
    cover = next(value for value in told.values() if isinstance(value, dict) and "kept_without_qkd" in value)
    assert cover == {
        "served": 3,
        "kept_without_qkd": 3,
        "kept_without_algorithms": 0,
        "kept_without_nodes": 3,
        "kept_with_a_quantum_computer": 3,
    }


def test_whose_certificates_are_not_there_is_answered_by_who_has_some(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "pki", "metro")
    code, _, errors = run(capsys, "pki", "rotate", "metro", "kme", "kogane")
    assert code == 1
    assert "did you mean 'koganei'" in errors
