"""Draw qi2007: What a time shift leaves secret."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.qi2007 import left_secret


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    mismatch = [0.01 * i for i in range(101)]
    axes.plot(mismatch, [left_secret(r) for r in mismatch], label="ours")
    axes.plot(0.5, 0.9183, **PUBLISHED)
    axes.set(xlabel="efficiency of the worse detector over the better", ylabel="bits left secret, at most")
    axes.legend()


if __name__ == "__main__":
    run("qi2007", draw)
