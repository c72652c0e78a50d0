"""Draw ma2005: Decoys carry BB84 to 140 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import positive, run

from noclone.gallery.ma2005 import REACH_KM, rate_infinite, rate_weak_vacuum


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    lengths = [0.5 * i for i in range(300)]
    positive(axes, lengths, [rate_infinite(km) for km in lengths], label="infinitely many decoys")
    positive(axes, lengths, [rate_weak_vacuum(km) for km in lengths], "--", label="weak and vacuum")
    for km in REACH_KM:
        axes.axvline(km, color="black", linestyle=":")
    axes.set(xlabel="fibre (km); dotted: published reach", ylabel="secret bits per pulse", yscale="log")
    axes.legend()


if __name__ == "__main__":
    run("ma2005", draw)
