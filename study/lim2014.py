"""Draw lim2014: Finite keys from two decoys."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import positive, run

from noclone.gallery.lim2014 import BEST, rate


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    lengths = [2.0 * i for i in range(95)]
    for block, point in BEST.items():
        positive(axes, lengths, [rate(point, km, block) for km in lengths], label=f"block of {block:.0e}")
    axes.axvline(135.0, color="black", linestyle=":", label="published reach of 1e4: a miss")
    axes.set(
        xlabel="fibre (km), settings best at 100 (1e4: 104)",
        ylabel="secret bits per pulse",
        yscale="log",
        ylim=(1e-8, 1e-2),
    )
    axes.legend()


if __name__ == "__main__":
    run("lim2014", draw)
