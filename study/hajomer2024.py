"""Draw hajomer2024: Continuous variables over 100 km, Bob's own laser."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
from drawing import PUBLISHED, positive, run

from noclone.gallery.hajomer2024 import BETA, FRAME_ERRORS, KEY_BPS, LINK, LOSS_DB, SYMBOLS_HZ
from noclone.units import transmittance


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    losses = [0.1 * i for i in range(50, 200)]
    links = [replace(LINK, transmittance=transmittance(db)) for db in losses]
    rates = [SYMBOLS_HZ * (1 - FRAME_ERRORS) * one.rate(BETA) for one in links]
    positive(axes, losses, rates, label="ours, endless blocks")
    axes.plot(LOSS_DB, KEY_BPS, **PUBLISHED)
    axes.set(xlabel="loss (dB)", ylabel="secret bits per second", yscale="log")
    axes.legend()


if __name__ == "__main__":
    run("hajomer2024", draw)
