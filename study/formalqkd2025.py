"""Draw formalqkd2025: A key length proved in Lean."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import ratios, run

from noclone.gallery.formalqkd2025 import rows


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    ratios(axes, rows())
    axes.set_xticks([1 - 5e-10, 1.0, 1 + 5e-10], ["1 - 5e-10", "1", "1 + 5e-10"])


if __name__ == "__main__":
    run("formalqkd2025", draw)
