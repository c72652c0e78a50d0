"""The report of `noclone bench`: what is measured is shown beside what others reach, and a peer did what it says."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import os
import subprocess
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from noclone.cli import bench, bench_compare, bench_elsewhere, bench_machine, bench_table
from noclone.cli.bench_figures import FIGURES, binary, number, scalars, tables

ROOT = Path(__file__).parents[2]
MACHINE = {
    "cpu": "Abacus", "cores": 2, "features": ["aes"], "python": "3.11", "numba": "1", "numpy": "2", "noclone": "0",
    "date": "today",
}  # fmt: skip
RECONCILIATION = {
    "threads": 1,
    "method": "cascade",
    "block_bits": 1 << 22,
    "per_qber": [
        {
            "qber": qber,
            "mbps_per_core": speed,
            "mbps_two_threads": 1.9 * speed,
            "efficiency_f": 1.0391,
            "frame_error_rate": 0.0,
            "frame_error_rate_ci95": (0.0, 0.0123),
            "frames": 128,
            "rounds": 480,
            "with_round_trip": [
                {"round_trip_ms": 1, "mbps": 77.7, "block_bits": 1 << 22},
                {"round_trip_ms": 10, "mbps": 66.6, "block_bits": 1 << 22},
            ],
        }
        for qber, speed in ((0.01, 408.2), (0.02, 301.4))
    ],
}
MEASURED = {
    "schema": 2,
    "machine": MACHINE,
    "limits": {"threads": 1, "memory_copy_gbyte_per_s": 8.88, "urandom_gbyte_per_s": 0.5},
    "reconciliation": RECONCILIATION,
    "chain": {"threads": 1, "sifted_mbps": 123.4, "by_threads": {"1": {"secret_mbps": 5.0}, "2": {"secret_mbps": 9.0}}},
    "something_new": {"per_colour": [{"colour": "red", "blinks_per_s": 7.25}]},
    "compare": [
        {
            "stage": "reconciliation", "table": "per_qber", "case": 0.02, "peer": "qkd", "unit": "Mb/s",
            "what": "Cascade", "threads": 1, "theirs": 25.0, "ours": 301.4, "ratio": 12.056,
            "details": {"peer": "qkd 9.9", "efficiency_f": 1.031, "verified": "by hand"},
        },
        {
            "stage": "chain", "table": "", "case": 0, "peer": "nobody", "unit": "Mb/s",
            "not_run": "not installed: nobody",
        },
    ],
}  # fmt: skip


class Screen(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def report(measured: dict[str, Any]) -> str:
    text = io.StringIO()
    bench_table.print_report(measured, text)
    return text.getvalue()


def test_ours_stands_beside_theirs_in_a_row_of_its_own_case() -> None:
    text = report(MEASURED)
    # Our figures take two tables' width; others' stand in a third, of the same rows.
    ours, more, theirs = [line.split() for line in text.splitlines() if line.strip().startswith("2 % ")]
    assert ours == ["2", "%", "301", "573", "1.039", "0", "0–0.012", "128", "480"]
    assert more == ["2", "%", "77.7", "66.6"]
    assert theirs == ["2", "%", "25.0", "(f", "1.03)", "12.1", "×", "23.4", "26.7"]
    flowing = " ".join(text.split())
    assert "(a) cascade-cpp: measured by us" in flowing
    assert "arXiv:2101.12565" in flowing
    assert "nobody: not installed: nobody" in flowing
    assert "checked: by hand" in flowing


def test_a_stage_that_nobody_foresaw_is_shown_whole() -> None:
    text = report(MEASURED)
    assert "something new" in text
    assert "blinks per s" in text
    assert "7.25" in text


@pytest.mark.parametrize("width", [40, 200])
def test_a_pipe_gets_plain_text_of_a_hundred_columns(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = report(MEASURED)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_a_terminal_gets_a_drawn_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    screen = Screen()
    bench_table.print_report(MEASURED, screen)
    assert "─" in screen.getvalue()


def test_json_says_round_trips_and_has_no_value_that_json_lacks() -> None:
    data = bench.with_aliases({"rows": [{"rounds": 5, "efficiency_f": float("nan"), "ci": (0.0, float("inf"))}]})
    assert data == {"rows": [{"rounds": 5, "round_trips": 5, "efficiency_f": None, "ci": [0.0, None]}]}
    chain = bench.with_aliases({"seconds": 9, "threads_1": {"seconds": 1, "sifted_mbps": 2}})
    assert chain == {"seconds": 9, "sifted_mbps": 2, "threads_1": {"seconds": 1, "sifted_mbps": 2}}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3, "3"), (0.0123, "0.0123"), (0.125, "0.125"), (7.256, "7.26"), (77.77, "77.8"), (6412.3, "6412"),
     (1234567.0, "1 234 567"), (True, "True"), ("text", "text")],
)  # fmt: skip
def test_numbers_are_written_with_three_digits(value: Any, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("bits", "text"), [(1 << 22, "2^22"), (10**6, "10^6"), (12345, "12345"), (100, "100")])
def test_sizes_are_written_as_powers(bits: int, text: str) -> None:
    assert binary(bits) == text


def test_tables_and_scalars_part_a_result() -> None:
    result: dict[str, Any] = {
        "a": 1.0, "rows": [{"x": 1}], "named": {"5": {"y": 2}},
        "threads_1": {"y": 4}, "plain": {"z": 3}, "threads_2": {"y": 5},
    }  # fmt: skip
    assert [(table.name, table.rows) for table in tables(result)] == [
        ("rows", ((0, {"x": 1}),)),
        ("named", ((5.0, {"y": 2}),)),
        ("plain", (("z", {"plain": 3}),)),
        ("threads", ((1, {"y": 4}), (2, {"y": 5}))),
    ]
    assert scalars(result) == {"a": 1.0}


def test_every_stage_is_a_function_with_the_arguments_of_a_quick_run() -> None:
    assert set(get_args(bench.Stage)) == set(bench.STAGES)
    assert set(bench.STAGES) <= set(bench_table.TITLES)
    for stage in bench.STAGES.values():
        module, _, name = stage.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        inspect.signature(function).bind(**stage.quick)


def test_figures_of_others_have_sources_and_stages() -> None:
    for one in bench_elsewhere.ELSEWHERE:
        assert one.stage in bench_table.TITLES
        assert one.source
        assert bool(one.text) != bool(one.cases), one
        assert bool(one.cases) == bool(one.table) == bool(one.unit), one
        if one.how == bench_elsewhere.PUBLISHED:
            assert any(mark in one.who + one.source for mark in ("arXiv:", "doi:", "Sci. Rep.")), one


def test_the_machine_and_its_limits_are_told() -> None:
    machine = bench_machine.describe()
    assert machine["cpu"]
    assert machine["cores"] == os.cpu_count()
    assert machine["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    limits = bench_machine.measure_limits()
    # A machine that copies less than 100 MB/s or more than a TB/s runs none of this.
    assert 0.1 < limits["memory_copy_gbyte_per_s"] < 1000
    assert 0.001 < limits["urandom_gbyte_per_s"] < 1000


def stages_that_count(monkeypatch: pytest.MonkeyPatch, *, fail_at: str = "") -> list[str]:
    """Replace what the stages measure by records of their names; Ctrl-C comes at one of them."""
    ran: list[str] = []

    def run(self: bench.Measurement, *, quick: bool) -> dict[str, Any]:
        name = next(name for name, stage in bench.STAGES.items() if stage is self)
        if name == fail_at:
            raise KeyboardInterrupt
        ran.append(name)
        return RECONCILIATION if name == "reconciliation" else {"threads": 1, "quick": quick}

    monkeypatch.setattr(bench.Measurement, "run", run)
    return ran


def test_ctrl_c_shows_what_was_measured(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from noclone.cli.main import run_command

    ran = stages_that_count(monkeypatch, fail_at="amplification")
    assert run_command(["bench", "--json"]) == 130
    out, errors = capfd.readouterr()
    data = json.loads(out)
    assert data["interrupted"] is True
    assert ran == list(bench.STAGES)[: list(bench.STAGES).index("amplification")]
    assert set(ran) == set(data) & set(bench.STAGES)
    assert data["reconciliation"]["per_qber"][0]["round_trips"] == 480
    assert "interrupted" in errors


def test_chosen_stages_run_alone_and_progress_is_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from noclone.cli.main import run_command

    ran = stages_that_count(monkeypatch)
    assert run_command(["bench", "kme", "reconciliation", "--quick"]) == 0
    out, errors = capfd.readouterr()
    assert ran == ["reconciliation", "kme"]
    assert "measuring kme" in errors
    assert "measuring" not in out
    assert "Abacus" not in out
    assert "301" in out


def test_a_peer_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCLONE_PEERS", "/nowhere/python")
    told: list[str] = []
    records = list(bench_compare.compare("reconciliation", RECONCILIATION, told.append))
    assert [record["case"] for record in records] == [0.01], "the second job would fare no better"
    assert "/nowhere/python" in records[0]["not_run"]
    assert told


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


def test_every_peer_gets_our_case_and_a_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bench_compare, "run_peer", lambda script, argument: {"peer": "x", "mbps": 2.0, "pulses_per_s": 5e5}
    )
    results: dict[str, dict[str, Any]] = {
        "link": {"threads": 2, "by_loss_db": {"5": {"pulses_per_s": 1e6}, "10": {"pulses_per_s": 3e6}}},
        "reconciliation": RECONCILIATION,
        "ldpc": {"per_qber": [{"qber": 0.02, "mbps_per_core": 60.0}]},
        "amplification": {
            "share": 0.5,
            "per_size": [
                {"block_bits": 1 << 20, "mbps_per_core": 100.0},
                {"block_bits": 1 << 27, "mbps_per_core": 90.0},
            ],
        },
    }
    for stage, result in results.items():
        records = list(bench_compare.compare(stage, result, lambda _: None))
        expected = {
            "link": [(10.0, 3.0), (10.0, 3.0)],  # a thread's half of 3e6 against 5e5
            "reconciliation": [(0.01, 204.1), (0.02, 150.7)],
            "ldpc": [(0.02, 30.0)],
            "amplification": [(1 << 20, 50.0)],  # the largest block would take SciPy minutes
        }[stage]
        assert [(record["case"], pytest.approx(record["ratio"])) for record in records] == expected
        if stage == "link":
            assert {record["peer"] for record in records} == {"sequence", "qkd"}
    assert list(bench_compare.compare("kme", {}, lambda _: None)) == []


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


def test_the_tables_of_headings_fit_the_stages_of_today() -> None:
    """What the quick stages return is known by name: no heading is a raw key."""
    from noclone.distill.bench import bench_reconciliation

    result = bench_reconciliation((0.02,), n_bits=1 << 17, repeats=1)
    for table in tables(result):
        assert set(table.figures()) <= set(FIGURES)


def test_warmup_does_every_job(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from noclone.cli import warmup
    from noclone.cli.main import run_command

    done: list[str] = []
    jobs = {name: lambda name=name: done.append(name) for name in warmup.JOBS}
    monkeypatch.setattr(warmup, "JOBS", jobs)
    monkeypatch.setattr(warmup, "prepare", lambda *sections: done.append(f"all but {len(sections)}"))
    assert run_command(["warmup", "--json"]) == 0
    out, errors = capfd.readouterr()
    assert done == ["all but 0", *jobs]
    assert list(json.loads(out)["seconds"]) == ["compiling", *jobs]
    assert "trying light" in errors


@pytest.mark.slow
def test_warmup_fills_the_cache(tmp_path: Path) -> None:
    from noclone.cli import warmup

    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    code = "from noclone.cli.warmup import JOBS; JOBS['amplification']()"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.rglob("*.nbi"))
    assert set(warmup.JOBS) >= {"light", "cascade", "amplification", "chain"}


@pytest.mark.slow
def test_a_cold_start_is_slower_than_a_cached_one() -> None:
    from noclone.cli.bench_cold_start import bench_cold_start

    figures = bench_cold_start(runs=2, stages=("light",))
    assert 0 < figures["help_s"] < figures["light_cached_s"] < figures["light_uncached_s"]
    assert figures["first_kernel_s"] == figures["light_cached_s"]
    assert set(figures) <= set(FIGURES)
