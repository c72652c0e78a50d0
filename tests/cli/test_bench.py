"""The report of `noclone bench`: what is measured is shown beside what others reach, and a peer did what it says."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, get_args

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


def test_the_tables_of_headings_fit_the_stages_of_today() -> None:
    """What the quick stages return is known by name: no heading is a raw key."""
    from noclone.distill.bench import bench_reconciliation

    result = bench_reconciliation((0.02,), n_bits=1 << 17, repeats=1)
    for table in tables(result):
        assert set(table.figures()) <= set(FIGURES)
