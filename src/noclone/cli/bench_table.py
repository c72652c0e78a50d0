"""The report of `noclone bench` for people: our figures, and beside them what others reach, by whom and how measured.

In: what was measured, as for JSON.  Out: text on stdout, tables drawn on a terminal, aligned in columns elsewhere.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from noclone.cli.bench_elsewhere import ON_ZEN5, ON_ZEN5_IN_FULL, Elsewhere, of_stage
from noclone.cli.bench_figures import FIGURES, Table, figure, number, scalars, tables

WIDTH = 100
MOST_WIDTH = WIDTH - 16  # beside the column of the cases
NO_STAGES = {"schema", "machine", "limits", "compare", "interrupted"}
NEAR = 0.1  # 10^6 bits stand beside somebody's 2^20

TITLES = {
    "link": "Light: a 1 GHz source, all effects on",
    "protocols": "Light of other protocols: entangled pairs, a station in the middle",
    "sifting": "Sifting, both parties' work",
    "reconciliation": "Error correction by Cascade, both parties' work",
    "ldpc": "Error correction in one message, by LDPC codes",
    "amplification": "Privacy amplification, one party's work",
    "authentication": "Authentication, one party's work",
    "satellites": "A satellite over four stations: orbits, passes, finite keys",
    "planner": "The cheapest network that meets demands for key",
    "planner_large": "The same over 1,000 sites",
    "repeaters": "Entangled pairs between the ends of a chain of repeaters",
    "chain": "The whole chain without light, both parties' work",
    "in_flight": "The whole chain of one link, each end a process with a core of its own, several blocks in flight",
    "gpu": "The same on an NVIDIA GPU (NOCLONE_DEVICE=gpu)",
    "live": "A live link: light and both parties",
    "kme": "Keys for applications: ETSI GS QKD 014 over mutual TLS",
    "pads": "One-time pads at hand, in books at both ends: messages, files, leases",
    "store": "The key store alone: claims from a full one beside an almost empty one, SQLite",
    "relay": "Keys between sites that no fibre joins: relayed over 4 hops, durable at every KME",
    "post_quantum": "Post-quantum cryptography: combining key, exchanging it, TLS on both sides of 2 cores",
    "cold_start": "Cold start, whole processes",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column beside a table's cases: its heading and the cell of each case."""

    heading: str
    cells: Mapping[Any, str]


def print_report(measured: Mapping[str, Any], file: IO[str] | None = None) -> None:
    """Print everything that was measured."""
    target = file or sys.stdout
    drawn = target.isatty()
    width = min(shutil.get_terminal_size().columns, WIDTH) if drawn else WIDTH
    # Elsewhere there are no colours, not even those that FORCE_COLOR asks for: what is written to a file is to be read.
    colours: Literal["auto"] | None = "auto" if drawn else None
    console = Console(
        file=target if drawn else io.StringIO(), highlight=False, emoji=False, width=width, color_system=colours
    )
    for part in _report(measured, drawn=drawn):
        console.print(part)
    if not drawn:
        text = console.file.getvalue()  # type: ignore[attr-defined]
        target.write("".join(line.rstrip() + "\n" for line in text.splitlines()))


def _report(measured: Mapping[str, Any], *, drawn: bool) -> Iterator[RenderableType]:
    yield Text(_machine(measured["machine"]))
    if "limits" in measured:
        yield Text(_limits(measured["limits"]))
    for stage, result in measured.items():
        if stage not in NO_STAGES and isinstance(result, dict):
            compared = [one for one in measured.get("compare", []) if one["stage"] == stage]
            yield ""
            yield Text(TITLES.get(stage, stage.replace("_", " ")), "bold")
            yield from _stage(stage, result, compared, drawn=drawn)
    yield ""
    yield Text(f"{ON_ZEN5}: {ON_ZEN5_IN_FULL}", "dim")


def _machine(machine: Mapping[str, Any]) -> str:
    lines = f"{machine['cpu']}, {machine['cores']} cores"
    if machine.get("features"):
        lines += f" ({' '.join(machine['features'])})"
    made_of = ", ".join(
        f"{name} {machine[name]}" for name in ("python", "numba", "numpy", "noclone") if name in machine
    )
    return f"{lines}\n{made_of}; {machine.get('date', '')}"


def _limits(limits: Mapping[str, Any]) -> str:
    return (
        f"limits, 1 thread: memory copies at {number(limits['memory_copy_gbyte_per_s'])} GB/s, "
        f"os.urandom gives {number(8 * limits['urandom_gbyte_per_s'])} Gb/s"
    )


def _stage(
    stage: str, result: Mapping[str, Any], compared: Sequence[Mapping[str, Any]], *, drawn: bool
) -> Iterator[RenderableType]:
    """Yield a stage's tables and its notes."""
    said = scalars(result)
    if "not_run" in said:
        yield _note(f"not run: {said['not_run']}", 2)
        return
    figures = {key: value for key, value in said.items() if key in FIGURES}
    conditions = {key: value for key, value in said.items() if key not in FIGURES}
    if conditions:
        yield _note(", ".join(f"{key.replace('_', ' ')} {number(value)}" for key, value in conditions.items()), 2)
    if figures:
        yield _list(figures, drawn)
    notes: list[str] = []
    placed: set[int] = set()
    for table in tables(result):
        others = [*_compared_columns(table, compared), *_elsewhere_columns(stage, table, notes, placed)]
        yield from _grids(table, others, drawn)
    for place, one in enumerate(of_stage(stage)):
        if place not in placed:
            notes.append(f"{one.who}: {_in_words(one)} ({one.how}; {one.source})")
    for note in [*_compared_notes(compared, list(tables(result))), *notes]:
        yield _note(note, 4)


def _note(text: str, indent: int) -> RenderableType:
    return Padding(Text(text, "dim"), (0, 0, 0, indent))


def _list(figures: Mapping[str, Any], drawn: bool) -> RenderableType:
    grid = _grid(drawn)
    for heading, side in (("", "left"), ("here", "right"), ("", "left")):
        grid.add_column(heading, justify=side)  # type: ignore[arg-type]
    for key, value in figures.items():
        known = FIGURES[key]
        grid.add_row(known.heading, known.show(value), known.unit)
    return Padding(grid, (0, 0, 0, 2))


def _grids(table: Table, others: Sequence[Column], drawn: bool) -> Iterator[RenderableType]:
    """Yield our figures and the others' side by side, or one under the other where that would be too wide."""
    ours = [_own_column(table, key) for key in table.figures()]
    together = [[*ours, *others]] if _width([*ours, *others]) <= MOST_WIDTH else [*_wrapped(ours), *_wrapped(others)]
    for columns in together:
        yield _table(table, columns, drawn)


def _wrapped(columns: Sequence[Column]) -> Iterator[list[Column]]:
    """Yield the columns in portions that fit the width."""
    portion: list[Column] = []
    for column in columns:
        if portion and _width([*portion, column]) > MOST_WIDTH:
            yield portion
            portion = []
        portion.append(column)
    if portion:
        yield portion


def _width(columns: Sequence[Column]) -> int:
    """Return how many characters the columns take, with the space between them."""
    texts = ([*column.heading.split("\n"), *column.cells.values()] for column in columns)
    return sum(2 + max(map(len, lines)) for lines in texts)


def _own_column(table: Table, key: str) -> Column:
    known = figure(key)
    heading = f"{known.heading},\n{known.unit}" if known.unit else known.heading
    return Column(heading, {case: known.show(row[key]) for case, row in table.rows if row.get(key) is not None})


def _table(table: Table, columns: Sequence[Column], drawn: bool) -> RenderableType:
    grid = _grid(drawn)
    grid.add_column(table.case.heading, no_wrap=True)
    for column in columns:
        grid.add_column(column.heading, justify="right")
    for case, _ in table.rows:
        label = table.case.show(case) if isinstance(case, int | float) else str(case)
        grid.add_row(label, *(column.cells.get(case, "") for column in columns))
    return Padding(grid, (0, 0, 0, 2))


def _grid(drawn: bool) -> Grid:
    return Grid(box=SIMPLE_HEAD if drawn else None, header_style="bold", pad_edge=False, padding=(0, 1))


def _compared_columns(table: Table, compared: Sequence[Mapping[str, Any]]) -> Iterator[Column]:
    """Yield, for each peer that ran, what it reached here and now, and how many times that we are."""
    ran = [one for one in compared if one["table"] == table.name and "theirs" in one]
    for name in dict.fromkeys(one["details"]["peer"] for one in ran):
        theirs, ratios = {}, {}
        for one in ran:
            if one["details"]["peer"] == name:
                f = one["details"].get("efficiency_f")
                cell = _count(one["theirs"], one["unit"])
                theirs[one["case"]] = f"{cell} (f {f:.2f})" if f else cell
                ratios[one["case"]] = f"{number(one['ratio'])} ×"
        unit = next(one["unit"] for one in ran if one["details"]["peer"] == name)
        yield Column(f"{name},\nhere now, {unit}", theirs)
        yield Column("ours /\ntheirs", ratios)


def _count(value: float, unit: str) -> str:
    return f"{value:,.0f}".replace(",", " ") if unit.endswith("/s") and value >= 1e4 else number(value)


def _compared_notes(compared: Sequence[Mapping[str, Any]], own: Sequence[Table]) -> Iterator[str]:
    for peer in dict.fromkeys(one["peer"] for one in compared):
        runs = [one for one in compared if one["peer"] == peer]
        ran = [one for one in runs if "theirs" in one]
        if ran:
            details = ran[0]["details"]
            yield (
                f"{details['peer']}: measured here now, 1 thread against ours per thread; {ran[0]['what']}; "
                f"checked: {details['verified']}"
            )
        for one in runs:
            if "not_run" in one:
                name = next((table.case for table in own if table.name == one["table"]), None)
                where = f" at {name.heading} {name.show(one['case'])}" if name and ran else ""
                yield f"{peer}{where}: {one['not_run']}"


def _elsewhere_columns(stage: str, table: Table, notes: list[str], placed: set[int]) -> Iterator[Column]:
    """Yield known figures whose cases are rows of ours, and note where each comes from."""
    for place, one in enumerate(of_stage(stage)):
        cells = {case: number(value) for case, _ in table.rows if (value := _nearest(one, case)) is not None}
        if one.table == table.name and cells:
            mark = chr(ord("a") + len(placed))
            placed.add(place)
            notes.append(f"({mark}) {one.who}: {one.how}; {one.source}")
            yield Column(f"{one.who} ({mark}),\n{one.unit}", cells)


def _nearest(one: Elsewhere, case: Any) -> float | None:
    if not isinstance(case, int | float) or not one.cases:
        return None
    near = min(one.cases, key=lambda known: abs(known - case))
    return one.cases[near] if abs(near - case) <= NEAR * case else None


def _in_words(one: Elsewhere) -> str:
    return one.text or ", ".join(f"{number(value)} {one.unit} at {number(case)}" for case, value in one.cases.items())
