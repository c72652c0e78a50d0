"""Draw chen2021: Micius in the 4,600 km network."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.chen2021 import KEY_BPS, key_bps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    gains = [2.0 * i for i in range(11)]
    axes.plot(gains, [key_bps(db) for db in gains], "o-", label="ours, devices of 2017")
    axes.axhline(KEY_BPS, color="black", linewidth=1, label="published, 2021")
    axes.set(xlabel="less loss than in 2017 (dB)", ylabel="secret bits per second", yscale="log", ylim=(1e2, 1e6))
    axes.legend()


if __name__ == "__main__":
    run("chen2021", draw)
