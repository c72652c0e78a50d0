"""Draw the whole gallery and write its page: docs/gallery/*.svg and docs/gallery.md, from the board alone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from drawing import FOLDER, save

from noclone.gallery.board import Outcome, count_by_grade, evaluate, results, sentence
from noclone.gallery.result import GRADES, MEANING, Row

PAGE = FOLDER.parent / "gallery.md"
HEAD = """# The validation gallery: published results, redone

    noclone validate                    # the board, in seconds; exit 1 when a result no longer comes out as declared
    noclone validate ma2005 boaron2018  # some of it, with every number
    noclone validate --all --json       # with those that simulate; as one JSON document
    noclone validate --sources          # where each figure was published, and where it was read
    python study/ma2005.py              # draw one figure; study/gallery.py draws all and writes this page

A grade says what agreement means, and the number of fitted parameters stands beside it:

{grades}

Each number of ours has a range in which it is declared to lie; outside it, `noclone validate` and the tests fail.
Where ours is known *not* to agree, the row is a **declared miss**: it is held in the range in which it misses, so that
nobody closes or widens the gap unseen. "Secondary" means that the figures were read in another public text that quotes
the paper, "recalled" that they were not looked up: nothing narrow hangs on those. A formula that meets a paper is no
proof of security, and none of this says anything of devices that one can buy.

{sentence}.

"""


def number(value: float | None) -> str:
    """Write a number with four digits, as the test of this page reads it."""
    return "–" if value is None else f"{value:.4g}"


def row_line(row: Row) -> str:
    """Return a row of a table."""
    mark = "**miss**" if row.miss else "" if row.published is not None else f"claimed: {row.low:.4g} to {row.high:.4g}"
    return f"| {row.what} | {number(row.published)} | {number(row.ours)} | {row.unit} | {mark} |"


def section(outcome: Outcome) -> str:
    """Return what the page says of one result."""
    one = outcome.result
    lines = [f"## {one.title}", "", f"`{one.name}`: **{one.grade}**, {one.fitted} fitted. {one.source}.", ""]
    lines += [f"{one.read.capitalize()}: {one.where}." + (f" {one.remark}" if one.remark else ""), ""]
    lines += [f"![{one.title}](gallery/{one.name}.svg)", "", "| what | published | ours | | |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *map(row_line, outcome.rows), ""])


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the whole page."""
    counts = count_by_grade([one.result for one in outcomes])
    grades = "\n".join(f"- *{grade}* ({counts[grade]}): {MEANING[grade]}" for grade in GRADES)
    head = HEAD.format(grades=grades, sentence=sentence(outcomes))
    return head + "\n".join(map(section, outcomes))


def main() -> None:
    """Draw what is named, or all, and write the page."""
    outcomes = evaluate(results())
    for one in outcomes:
        if not sys.argv[1:] or one.result.name in sys.argv[1:]:
            print(save(one.result.name, importlib.import_module(one.result.name).draw, Path(FOLDER)))
    PAGE.write_text(page(outcomes), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
