"""Draw boaron2018: BB84 over 421 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.boaron2018 import TABLE, ours_bps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    lengths = [row.length_km for row in TABLE]
    axes.plot(lengths, [row.rate_bps for row in TABLE], **PUBLISHED)
    axes.plot(lengths, [ours_bps(row) for row in TABLE], "o-", fillstyle="none", label="ours, one number fitted")
    axes.set(xlabel="ultra-low-loss fibre (km)", ylabel="secret bits per second", yscale="log")
    axes.legend()


if __name__ == "__main__":
    run("boaron2018", draw)
