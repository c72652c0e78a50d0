"""Draw li2025: Jinan-1: a microsatellite over 12,900 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.li2025 import KEY_BITS, key_bits, left_db


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    losses = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    for aperture_m in (0.2, 0.28, 0.4):
        axes.plot(
            losses, [key_bits(db, aperture_m) for db in losses], "o-", label=f"ours, telescope of {aperture_m:g} m"
        )
    axes.plot(left_db(), KEY_BITS, **PUBLISHED)
    axes.set(xlabel="fixed loss (dB), devices assumed", ylabel="secret bits in a pass", yscale="log", ylim=(1e4, 1e8))
    axes.legend()


if __name__ == "__main__":
    run("li2025", draw)
