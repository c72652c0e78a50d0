"""Draw zhang2020: Continuous variables to 202.81 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.zhang2020 import POINTS, key_bps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    lengths = [one.length_km for one in POINTS]
    axes.plot(
        lengths, [key_bps(one, one.excess) for one in POINTS], "o--", fillstyle="none", label="ours, measured noise"
    )
    axes.plot(lengths, [key_bps(one, one.worst) for one in POINTS], "o-", label="ours, worst noise")
    axes.plot(lengths, [one.key_bps for one in POINTS], **PUBLISHED)
    axes.set(xlabel="fibre (km)", ylabel="secret bits per second", yscale="log")
    axes.legend()


if __name__ == "__main__":
    run("zhang2020", draw)
