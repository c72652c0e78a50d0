"""Draw neumann2022: Entanglement over 248 km and 79 dB."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.neumann2022 import KEY_BPS, VISIBILITY, key_bps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    seen = [0.75 + 0.005 * i for i in range(51)]
    axes.plot([100 * v for v in seen], [key_bps(v) for v in seen], label="ours, 9 pairs a second")
    axes.plot(100 * VISIBILITY, KEY_BPS, **PUBLISHED)
    axes.set(xlabel="visibility (%)", ylabel="secret bits per second")
    axes.legend()


if __name__ == "__main__":
    run("neumann2022", draw)
