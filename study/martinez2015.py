"""Draw martinez2015: How much Cascade tells."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.martinez2015 import TABLE, efficiency


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    axes.plot([100 * e for e in TABLE], list(TABLE.values()), **PUBLISHED)
    axes.plot(
        [100 * e for e in TABLE], [efficiency(e) for e in TABLE], "o", zorder=6, label="ours, frames of 65,536 bits"
    )
    axes.set(xlabel="errors (%)", ylabel="leak over Shannon's limit", ylim=(1.03, 1.07))
    axes.legend()


if __name__ == "__main__":
    run("martinez2015", draw)
