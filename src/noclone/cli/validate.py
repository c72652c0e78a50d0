"""`noclone validate`: published results, redone, and whether they still come out as declared."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from noclone.cli.compiling import BLOCKS, prepare
from noclone.cli.terminal import Json, progress, say, show

All = Annotated[bool, Parameter(name="--all", negative=())]
Rows = Annotated[bool, Parameter(name="--rows", negative=())]
Sources = Annotated[bool, Parameter(name="--sources", negative=())]


def validate(
    *names: str, every: All = False, rows: Rows = False, sources: Sources = False, as_json: Json = False
) -> int:
    """Redo published results and say whether each comes out as its grade declares; exit with 1 where one does not.

    Grades: exact, values, bound, structural, outcome only. Declared misses stand on the board; they count as a
    regression when they change.

    Args:
        names: Of results, such as ma2005; all that need no simulation, if none are given.
        every: Those that simulate light or reconciliation too (some seconds; the first time kernels are compiled).
        rows: Show every number; named results show theirs anyway.
        sources: Say where each result was published and where its figures were read; compute nothing.
    """
    from noclone.gallery.board import board_lines, evaluate, results, select, sentence, source_lines, source_of

    chosen = select(names, slow=every or sources)
    if sources:
        data = [{"name": one.name, **source_of(one), "remark": one.remark} for one in chosen]
        show(data, source_lines(chosen), as_json=as_json)
        return 0
    if any(one.slow for one in chosen):
        prepare(*BLOCKS)
    with progress() as bar:
        task = bar.add_task("published results", total=len(chosen))
        outcomes = evaluate(chosen, lambda _: bar.advance(task))
    left_out = [one.name for one in results() if one not in chosen] if not names else []
    if left_out:
        say(f"not run, for they simulate: {', '.join(left_out)} (--all runs them)")
    good = not any(one.astray for one in outcomes)
    data_out = {"as_declared": good, "summary": sentence(outcomes), "results": [one.to_json() for one in outcomes]}
    show(data_out, board_lines(outcomes, rows=rows or bool(names)), as_json=as_json)
    return 0 if good else 1
