"""Draw jouguet2013: Continuous variables over 80 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import positive, run

from noclone.gallery.jouguet2013 import EXCESS, LOSSES_DB, WORST, finite_bps, key_bps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    losses = [0.25 * i for i in range(4, 100)]
    positive(axes, losses, [key_bps(db, EXCESS) for db in losses], label="ours, noise as measured")
    positive(axes, losses, [key_bps(db, WORST) for db in losses], label="ours, worst noise")
    positive(axes, losses, [finite_bps(db) for db in losses], label="ours, blocks of 10⁹")
    for db in LOSSES_DB.values():
        axes.axvline(db, color="grey", lw=0.5)
    axes.set(xlabel="loss (dB)", ylabel="secret bits per second", yscale="log")
    axes.legend()


if __name__ == "__main__":
    run("jouguet2013", draw)
