"""Draw yin2020: Micius: entangled pairs over 1120 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.yin2020 import ENDLESS_BPS, ERROR, endless_bps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    errors = [0.001 * i for i in range(20, 90)]
    axes.plot([100 * one for one in errors], [endless_bps(one) for one in errors], label="ours, endless")
    axes.plot(100 * ERROR, ENDLESS_BPS, **PUBLISHED)
    axes.set(xlabel="error rate (%)", ylabel="secret bits per second", ylim=(0, 1))
    axes.legend()


if __name__ == "__main__":
    run("yin2020", draw)
