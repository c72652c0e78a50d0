"""The board: every result as declared, the page and the figures of the same numbers, misses that are misses."""

from __future__ import annotations

import importlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from noclone.cli.main import run_command
from noclone.errors import InputError
from noclone.gallery import board
from noclone.gallery.result import ROUNDING, Result, claim, missed, near, same

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gallery.md"
NAMES = [one.name for one in board.results()]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, board.Outcome]:
    return {one.result.name: one for one in board.evaluate(board.results())}


@pytest.mark.parametrize("name", NAMES)
def test_a_result_is_as_declared(name: str, outcomes: dict[str, board.Outcome]) -> None:
    assert outcomes[name].rows
    assert [board.row_text(row) for row in outcomes[name].astray] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_the_numbers_of_the_board(name: str, outcomes: dict[str, board.Outcome]) -> None:
    section = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    (text,) = [part for part in section if f"\n`{name}`:" in part]
    one = outcomes[name].result
    assert f"**{one.grade}**, {one.fitted} fitted" in text
    assert f"gallery/{name}.svg" in text
    table = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(table) == len(outcomes[name].rows)
    for cells, row in zip(table, outcomes[name].rows, strict=True):
        assert cells[0].removeprefix("| ") == row.what
        slack = row.high - row.low if one.slow else 1e-9  # what is simulated may be drawn anew one day
        assert float(cells[2]) == pytest.approx(row.ours, rel=1e-3, abs=slack)
        assert ("miss" in cells[-1]) == row.miss


def test_every_result_has_a_study_and_a_figure() -> None:
    drawn = {path.stem for path in (ROOT / "docs" / "gallery").glob("*.svg")}
    assert drawn == set(NAMES)
    for name in NAMES:
        assert f'run("{name}", draw)' in (ROOT / "study" / f"{name}.py").read_text()
        svg = (ROOT / "docs" / "gallery" / f"{name}.svg").read_text()
        assert "<dc:date>" not in svg
        assert len(svg) < 150_000


def test_what_was_promised_is_there() -> None:
    counts = board.count_by_grade(board.results())
    assert sum(counts.values()) >= 15
    assert counts["exact"] + counts["values"] >= 8
    assert set(board.MODULES) == {
        path.stem for path in Path(board.__file__).parent.glob("*.py") if re.search(r"\d{4}", path.stem)
    }


def test_grades_keep_their_word(outcomes: dict[str, board.Outcome]) -> None:
    for outcome in outcomes.values():
        one = outcome.result
        rows = [row for row in outcome.rows if not row.miss]
        assert one.source
        assert one.where
        assert rows, "nothing but misses is no result"
        if one.grade == "exact":
            exact = [row for row in rows if row.high - row.low <= 3 * ROUNDING * abs(row.published or 1)]
            assert one.fitted == 0
            assert len(exact) >= len(rows) - 1, "one rounded figure may stand beside"
        if one.read == "recalled":
            wide = [row for row in rows if row.published and row.high - row.low >= 0.05 * abs(row.published)]
            assert len(wide) == len([row for row in rows if row.published])
        for row in outcome.misses:
            assert row.published is not None
            assert not row.low <= row.published <= row.high


def test_a_number_that_moves_is_a_regression(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = board.select(["ma2005"], slow=False)[0]
    moved = replace(one, rows=lambda: tuple(replace(row, ours=row.ours * 1.05) for row in one.rows()))
    monkeypatch.setattr(board, "results", lambda: (moved,))
    assert run_command(["validate", "ma2005", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["as_declared"] is False
    assert "REGRESSION in ma2005" in told["summary"]
    closed = replace(one, rows=lambda: (missed("a miss that someone closed", 100.0, 100.0, 90.0, 95.0),))
    assert board.Outcome(closed, closed.rows()).astray, "a closed gap shows as well"
    assert not near("not a number", math.nan, 1.0, 1.0).holds


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["validate", "lodewyck2007", "acin2007"]) == 0
    out = capsys.readouterr().out
    assert "12.3 kb/s" in re.sub(r" +", " ", out)
    assert "all as declared" in out
    assert run_command(["validate", "ma2005", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["results"][0]["rows"][0]["published"] == 140.55
    assert run_command(["validate", "--sources", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(NAMES)
    assert run_command(["validate", "ma2006"]) == 2
    assert "no published result named 'ma2006'" in capsys.readouterr().err


def test_slow_results_run_when_asked_for() -> None:
    quick = {one.name for one in board.select([], slow=False)}
    assert set(NAMES) - quick == {one.name for one in board.results() if one.slow}
    assert [one.name for one in board.select(["martinez2015", "martinez2015"], slow=False)] == ["martinez2015"]
    with pytest.raises(InputError):
        board.select(["nobody"], slow=True)


def test_rows_hold_what_they_say() -> None:
    assert same("x", 1.0 + 1e-10, 1.0).holds
    assert not same("x", 1.0 + 1e-8, 1.0).holds
    assert claim("x", 5.0, 1.0).holds
    with pytest.raises(AssertionError):
        missed("no miss", 1.0, 1.0, 0.5, 1.5)


def test_a_study_draws_the_same_bytes_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(ROOT / "study"))
    drawing, study = importlib.import_module("drawing"), importlib.import_module("qi2007")
    first = drawing.save("qi2007", study.draw, tmp_path / "a").read_bytes()
    assert drawing.save("qi2007", study.draw, tmp_path / "b").read_bytes() == first


@pytest.mark.slow
def test_stored_settings_are_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an optimiser finds beats the stored settings by a thousandth at most."""
    pytest.importorskip("scipy")
    monkeypatch.syspath_prepend(str(ROOT / "study"))
    for _, stored, found in importlib.import_module("settings").searched():
        assert stored <= found * 1.001
        assert stored >= found * 0.999


def test_results_are_frozen() -> None:
    with pytest.raises(AttributeError):
        board.results()[0].fitted = 0  # type: ignore[misc]
    assert isinstance(board.results()[0], Result)
