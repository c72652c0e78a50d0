"""Draw ling2008: A key rate priced by CHSH alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.ling2008 import CHSH, key_bps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    values = [2.35 + 0.005 * i for i in range(80)]
    axes.plot(values, [key_bps(s) for s in values], label="ours, ideal reconciliation")
    axes.plot(CHSH, 300.0, **PUBLISHED)
    axes.set(xlabel="CHSH value S", ylabel="secret bits per second")
    axes.legend()


if __name__ == "__main__":
    run("ling2008", draw)
