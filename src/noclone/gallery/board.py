"""The board: every published result that noclone is held against, and whether it still is where its grade says.

In: names.  Out: `Outcome`s, as text and as plain data. `noclone validate` prints them, tests read them, and `study/`
draws them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from noclone.errors import InputError
from noclone.gallery.result import GRADES, Grade, Result, Row
from noclone.spelling import choices

MODULES = (
    "pirandola2017", "shor2000", "acin2007", "naik2000", "ling2008", "ma2005", "gobby2004", "lim2014", "rusca2018",
    "formalqkd2025", "boaron2018", "dixon2015", "mafunglo2007", "honjo2008", "neumann2022", "marazavi2012",
    "rubenok2013", "locurtyqi2012", "wang2018", "zhou2023", "pittaluga2025", "lodewyck2007", "jouguet2013", "zhang2020",
    "hajomer2024", "deutsch1996", "humphreys2018", "liao2017", "liao2017_key",
    "yin2020", "chen2021", "li2025", "lucamarini2015", "qi2007",
    "bennett1992", "martinez2015",
)  # fmt: skip


@cache
def results() -> tuple[Result, ...]:
    """Return all results, computed nothing yet."""
    return tuple(importlib.import_module(f"noclone.gallery.{name}").RESULT for name in MODULES)


def select(names: Sequence[str], *, slow: bool) -> tuple[Result, ...]:
    """Return the results of these names, or all; those that simulate only if they are named or `slow` is set.

    Raises:
        InputError: There is no such result.
    """
    by_name = {one.name: one for one in results()}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InputError(
            f"there is no published result named '{unknown[0]}'", hint=choices(unknown[0], by_name, "there are")
        )
    if names:
        return tuple(by_name[name] for name in dict.fromkeys(names))
    return tuple(one for one in results() if slow or not one.slow)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result with its rows computed."""

    result: Result
    rows: tuple[Row, ...]

    @property
    def astray(self) -> tuple[Row, ...]:
        """Rows outside what the grade declares: regressions."""
        return tuple(row for row in self.rows if not row.holds)

    @property
    def misses(self) -> tuple[Row, ...]:
        """Declared misses."""
        return tuple(row for row in self.rows if row.miss)

    @property
    def verdict(self) -> str:
        """What became of it, in a few words."""
        if self.astray:
            return f"REGRESSION ({len(self.astray)} of {len(self.rows)})"
        agree = f"{len(self.rows) - len(self.misses)} as declared"
        if not self.misses:
            return agree
        return f"{agree}, {len(self.misses)} declared miss{'es' if len(self.misses) > 1 else ''}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; an open end of a range is null."""
        one = self.result
        return {
            "name": one.name,
            "title": one.title,
            "grade": one.grade,
            "fitted": one.fitted,
            "as_declared": not self.astray,
            "remark": one.remark,
            **source_of(one),
            "rows": [
                {
                    "what": row.what,
                    "ours": _finite(row.ours),
                    "published": row.published,
                    "low": _finite(row.low),
                    "high": _finite(row.high),
                    "unit": row.unit,
                    "holds": row.holds,
                    "miss": row.miss,
                }
                for row in self.rows
            ],
        }


def _finite(number: float) -> float | None:
    return float(number) if abs(number) < float("inf") else None  # a NaN is None too


def source_of(one: Result) -> dict[str, str]:
    """Return where a result was published, and where its figures were read."""
    return {"source": one.source, "read": one.read, "where": one.where}


def evaluate(chosen: Sequence[Result], on_done: Callable[[Result], None] | None = None) -> tuple[Outcome, ...]:
    """Compute the rows of these results.

    Args:
        on_done: Told each result that is done.
    """
    out = []
    for one in chosen:
        out.append(Outcome(one, one.rows()))
        if on_done is not None:
            on_done(one)
    return tuple(out)


def count_by_grade(chosen: Sequence[Result]) -> dict[Grade, int]:
    """Return how many results there are of each grade."""
    return {grade: sum(one.grade == grade for one in chosen) for grade in GRADES}


def sentence(outcomes: Sequence[Outcome]) -> str:
    """Return the board in one sentence."""
    counts = count_by_grade([one.result for one in outcomes])
    grades = ", ".join(f"{count} {grade}" for grade, count in counts.items() if count)
    misses = sum(len(one.misses) for one in outcomes)
    astray = [one.result.name for one in outcomes if one.astray]
    held = f"{len(outcomes)} published results ({grades}), {misses} declared misses"
    return f"{held}: REGRESSION in {', '.join(astray)}" if astray else f"{held}: all as declared"


def row_text(row: Row) -> str:
    """Return one row as a line of text."""
    published = f"{row.published:.5g}" if row.published is not None else "-"
    mark = (
        "miss" if row.miss and row.holds else "ok" if row.holds else f"ASTRAY, not in {row.low:.5g} to {row.high:.5g}"
    )
    return f"    {row.what:<62} {row.ours:>10.5g} {published:>10} {row.unit:<5} {mark}"


def board_lines(outcomes: Sequence[Outcome], *, rows: bool) -> list[str]:
    """Return the board as lines of text, with all rows or only with those that went astray."""
    lines = [f"{'result':<15} {'grade':<12} {'fitted':>6}  {'what':<50} verdict"]
    if rows:
        lines.append(f"    {'':<62} {'ours':>10} {'published':>10}")
    for one in outcomes:
        what = one.result
        lines.append(f"{what.name:<15} {what.grade:<12} {what.fitted:>6}  {what.title:<50} {one.verdict}")
        lines += [row_text(row) for row in (one.rows if rows else one.astray)]
    return [*lines, sentence(outcomes)]


def source_lines(chosen: Sequence[Result]) -> list[str]:
    """Return where each result was published and read, and what is fitted or assumed."""
    lines = []
    for one in chosen:
        lines += [f"{one.name}: {one.source}", f"    {one.read}: {one.where}"]
        lines += [f"    {one.remark}"] if one.remark else []
    return lines
