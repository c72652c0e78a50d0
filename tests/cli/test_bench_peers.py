"""Other people's programs beside our stages: each did the work that it says, or says why not."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noclone.cli import bench_compare


def test_a_package_that_is_not_there_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import no_such_package")
    monkeypatch.setattr(bench_compare, "SCRIPTS", tmp_path)
    with pytest.raises(bench_compare.PeerDidNotRun, match=r"not installed: .*no_such_package.*noclone\[peers\]"):
        bench_compare.run_peer("script.py", {})


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("raise SystemExit('the sums differ')", "failed: the sums differ"),
        ("print('hello')", "not JSON"),
        ("print('[1]')", "not JSON"),
        ("", "not JSON"),
        ("import time; time.sleep(9)", "longer than 1 s"),
    ],
)
def test_a_peer_that_fails_says_why(script: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(script)
    monkeypatch.setattr(bench_compare, "SCRIPTS", tmp_path)
    monkeypatch.setenv("NOCLONE_PEERS", sys.executable)
    with pytest.raises(bench_compare.PeerDidNotRun, match=why):
        bench_compare.run_peer("script.py", {}, limit_s=1)


def run_script(package: str, script: str, argument: dict[str, Any]) -> dict[str, Any]:
    """Run a peer for real, or skip where it is not installed."""
    python = bench_compare.interpreter()
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    if not python.exists() or subprocess.run([python, "-c", found]).returncode:
        pytest.skip(f"{package} is not installed: ./dev peers")
    return bench_compare.run_peer(script, argument)


def test_qkd_reconciles() -> None:
    answer = run_script("qkd", "cascade_qkd.py", {"qber": 0.02, "block_bits": 1 << 18})
    assert answer["mbps"] > 0
    assert answer["frames"] == 32
    # Table 3 of Martinez-Mateo et al. 2015 has 1.040 at 2 %. The number of errors in 2^19 bits scatters by 1 %, and f
    # with it by about as much; five of these.
    assert answer["efficiency_f"] == pytest.approx(1.04, abs=0.05)


def test_qkd_counts() -> None:
    source = {"intensities": [0.5, 0.1, 0.002], "probabilities": [0.8, 0.15, 0.05]}
    answer = run_script("qkd", "counts_qkd.py", {"loss_db": 10, "pulses": 200_000, "clock_hz": 1e9, **source})
    assert answer["pulses_per_s"] == pytest.approx(answer["realtime_factor"] * 1e9)


def test_scipy_hashes() -> None:
    answer = run_script("scipy", "hash_scipy.py", {"block_bits": 10_001, "output_bits": 4_999})
    assert answer["mbps"] > 0


def test_ldpc_decodes() -> None:
    answer = run_script("ldpc", "decode_ldpc.py", {"qber": 0.05, "seconds": 0.1})
    assert answer["frame_error_rate"] <= 0.5
    assert answer["efficiency_f"] == pytest.approx(3 / 8 / 0.286397, rel=1e-3)  # three checks a bit, eight bits a check


def test_ldpc_decodes_a_code_that_it_is_given(tmp_path: Path) -> None:
    # Seven repetitions, each check of two neighbours: no cycle, so that belief propagation is exact, and at one per
    # mille four errors of seven are as good as never drawn.
    np.savez(tmp_path / "code.npz", row=np.repeat(np.arange(6), 2), column=np.arange(1, 13) // 2)
    answer = run_script(
        "ldpc", "decode_ldpc.py", {"qber": 0.001, "seconds": 0.01, "checks": str(tmp_path / "code.npz")}
    )
    assert answer["frame_bits"] == 7
    assert answer["frame_error_rate"] == 0


def test_a_peer_is_given_our_code_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @dataclass
    class Code:
        threshold: float
        rows: int = 2
        circulant: int = 4
        row: Any = field(default_factory=lambda: np.array([0, 1]))
        column: Any = field(default_factory=lambda: np.array([5, 7]))
        shift: Any = field(default_factory=lambda: np.array([0, 3]))

    module = types.SimpleNamespace(codes=lambda: (Code(0.02), Code(0.05, rows=3), Code(0.04, rows=9)))
    monkeypatch.setitem(sys.modules, "noclone.distill.ldpc_codes", module)  # type: ignore[arg-type]
    given = bench_compare.our_checks(0.03, tmp_path)
    assert Path(given["checks"]).name == "9x4.npz", "the lowest threshold that leaves a margin"
    with np.load(given["checks"]) as stored:
        assert stored["row"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
        assert stored["column"].tolist() == [20, 21, 22, 23, 31, 28, 29, 30]
    assert bench_compare.our_checks(0.2, tmp_path) == {}


@pytest.mark.slow
def test_sequence_sifts() -> None:
    answer = run_script("sequence", "photons_sequence.py", {"loss_db": 10, "pulses": 8000, "photons_per_pulse": 0.4})
    assert answer["pulses_per_s"] > answer["photons_per_s"] > 0
    assert answer["sifted_bits"] > 50


@pytest.mark.slow
def test_sequence_hands_over_pairs() -> None:
    answer = run_script("sequence", "chain_sequence.py", {"nodes": 3, "length_km": 20, "emission": 0.5, "seconds": 0.2})
    assert 0 < answer["pairs"] == pytest.approx(0.2 * answer["pairs_per_network_s"])


def test_every_peer_says_who_it_is_and_how_its_work_was_checked() -> None:
    """The report prints both: a script that forgets one would end it."""
    for peer in bench_compare.PEERS:
        text = (Path(bench_compare.__file__).parent / "peers" / peer.script).read_text()
        assert '"peer": ' in text
        assert '"verified": ' in text
