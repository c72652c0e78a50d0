"""How every study draws: one figure, small, the same bytes each time; and ours beside the published numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from noclone.gallery.board import Outcome, row_text, select
from noclone.gallery.result import Row

FOLDER = Path(__file__).parents[1] / "docs" / "gallery"
PUBLISHED = {"color": "black", "marker": "s", "linestyle": "none", "label": "published", "zorder": 5}
STYLE = {
    "svg.hashsalt": "noclone",
    "svg.fonttype": "none",
    "font.size": 9.0,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.figsize": (5.2, 3.4),
}
Draw = Callable[[plt.Axes], None]


def save(name: str, draw: Draw, folder: Path = FOLDER, kind: str = "svg") -> Path:
    """Draw one figure into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{kind}"
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(layout="constrained")
        draw(axes)
        figure.savefig(path, metadata={"Date": None} if kind == "svg" else None, dpi=110)
        plt.close(figure)
    return path


def positive(axes: plt.Axes, xs: Sequence[float], ys: Sequence[float], *style: str, **more: object) -> None:
    """Draw where the curve is above zero: for logarithmic axes."""
    pairs = [(x, y) for x, y in zip(xs, ys, strict=True) if y > 0]
    axes.plot([x for x, _ in pairs], [y for _, y in pairs], *style, **more)


def ratios(axes: plt.Axes, rows: Sequence[Row]) -> None:
    """Draw ours over published, with the range that is declared, for what has no curve."""
    shown = [row for row in rows if row.published]
    axes.figure.set_size_inches(5.2, 0.9 + 0.35 * len(shown))
    for at, row in enumerate(shown):
        scale = row.published or 1.0
        axes.plot([row.low / scale, row.high / scale], [at, at], color="#bbbbbb", linewidth=6, solid_capstyle="butt")
        axes.plot(row.ours / scale, at, "o", color="tab:red" if row.miss else "tab:blue")
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(range(len(shown)), [row.what for row in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set(xlabel="ours over published; grey: as declared")


def run(name: str, draw: Draw) -> None:
    """Draw a study from the command line, into a folder if one is given, and print its numbers."""
    (result,) = select([name], slow=True)
    outcome = Outcome(result, result.rows())
    print(f"{result.title}: {outcome.verdict}")
    print("\n".join(row_text(row) for row in outcome.rows))
    print(save(name, draw, Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
