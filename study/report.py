"""What each study prints: its table of deviations from the published numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")


@dataclass(frozen=True, slots=True)
class Deviation:
    """One published number and ours.

    Args:
        published: None where the publication shows a curve and states no number.
    """

    what: str
    ours: float
    published: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over theirs."""
        return self.ours / self.published if self.published else None


def print_table(title: str, rows: Sequence[Deviation]) -> None:
    """Print ours beside theirs."""
    print(title)
    for row in rows:
        theirs = f"{row.published:>12.6g}" if row.published is not None else f"{'-':>12}"
        ratio = f"{row.ratio:>8.3f}" if row.ratio is not None else f"{'':>8}"
        print(f"  {row.what:<58} ours {row.ours:>12.6g}   published {theirs}   ratio {ratio}")


def run(title: str, study: Callable[[Path], Sequence[Deviation]]) -> None:
    """Run a study from the command line: one argument, the folder that the figure goes to."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python {sys.argv[0]} FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    print_table(title, study(folder))
