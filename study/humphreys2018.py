"""Draw humphreys2018: Two diamonds, one click."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.humphreys2018 import link


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    bright = [0.01 * i for i in range(2, 51)]
    axes.plot(bright, [1 / link(a).mean_s for a in bright], label="ours: pairs a second")
    axes.plot(bright, [100 * link(a).pair.fidelity for a in bright], label="ours: fidelity (%), too high")
    axes.plot([0.05, 0.3, 0.05, 0.3], [6, 39, 81, 60], **PUBLISHED)
    axes.set(xlabel="share of the bright state", ylim=(0, 130))
    axes.legend()


if __name__ == "__main__":
    run("humphreys2018", draw)
