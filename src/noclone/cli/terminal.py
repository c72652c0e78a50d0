"""The terminal: results to stdout, everything else to stderr.

A command builds plain data (for `--json`) and lines of text (for people), and hands both to `show`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from noclone.proofs.epsilon import LEAST, MOST

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON document instead of text.")]
JsonLines = Annotated[bool, Parameter(name="--json", negative=(), help="Print events to stdout, one JSON line each.")]
Epsilon = Annotated[float, Parameter(validator=validators.Number(gte=LEAST, lt=MOST))]  # a failure probability

INTERRUPTED = 130  # exit code of a command that Ctrl-C ended and that shows what it had: as a shell reports it

LINE_EVERY_S = 10.0  # how often a pipe is told how far a command is

# A pipe gets whole lines; a terminal gets lines wrapped between words.
stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())
stdout = Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def show(data: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a command's result: the data as one JSON document, or the lines."""
    if as_json:
        sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")
        sys.stdout.flush()
        return
    for line in lines:
        stdout.print(line, markup=False)


def say(text: str) -> None:
    """Tell the user what is going on, on stderr."""
    stderr.print(text, markup=False)


def complain(message: str, hint: str = "") -> None:
    """Print an error: what happened and where, then what to do."""
    stderr.print(f"noclone: {message}", style="red", markup=False)
    if hint:
        stderr.print(f"  {hint}", markup=False)


def progress() -> Progress:
    """Return a progress display on stderr; it draws nothing where stderr is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=stderr,
        transient=True,
        disable=not stderr.is_terminal,
    )


@contextmanager
def parts(what: str, total: int, *, as_json: bool) -> Iterator[Callable[[], None]]:
    """Show how many parts of a command's work are done; yield what to call after each.

    A terminal has a bar. Elsewhere one line says what begins, and now and then one how far it is; none with --json.
    """
    quiet = as_json or stderr.is_terminal or not total
    done, told_s = 0, time.monotonic()
    if not quiet:
        say(f"{what} ...")
    with progress() as bar:
        task = bar.add_task(what, total=total)

        def part_done() -> None:
            nonlocal done, told_s
            done += 1
            bar.advance(task)
            if not quiet and time.monotonic() - told_s >= LINE_EVERY_S:
                told_s = time.monotonic()
                say(f"{what}: {done} of {total}")

        yield part_done


def grouped(number: float, digits: int = 0) -> str:
    """Write a number with a thin space between groups of three digits."""
    return f"{number:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def si(number: float, unit: str) -> str:
    """Write a number with an SI prefix and three digits: `1.23 Mb/s`."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}"


def printable(text: str) -> str:
    """Return text that cannot steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
