"""Draw dixon2015: Tokyo, 45 km, for a month."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import ratios, run

from noclone.gallery.dixon2015 import rows


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    ratios(axes, rows())


if __name__ == "__main__":
    run("dixon2015", draw)
