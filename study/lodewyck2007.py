"""Draw lodewyck2007: Continuous variables over 25 km."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
from drawing import PUBLISHED, positive, run

from noclone.gallery.lodewyck2007 import BETA, LINK, SYMBOLS_HZ
from noclone.units import transmittance


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    losses = [0.05 * i for i in range(1, 160)]
    links = [replace(LINK, transmittance=transmittance(db)) for db in losses]
    axes.plot(losses, [SYMBOLS_HZ * one.mutual_information() / 1e3 for one in links], label="Alice and Bob")
    axes.plot(losses, [SYMBOLS_HZ * one.holevo() / 1e3 for one in links], label="Eve, at most")
    positive(axes, losses, [SYMBOLS_HZ * one.rate(BETA) / 1e3 for one in links], label="secret key")
    axes.plot([5.2] * 3, [365, 316, 12.3], **PUBLISHED)
    axes.set(xlabel="loss (dB)", ylabel="kb/s", yscale="log", ylim=(1, 2e3))
    axes.legend()


if __name__ == "__main__":
    run("lodewyck2007", draw)
