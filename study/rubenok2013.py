"""Draw rubenok2013: MDI-QKD, sixteen measured gains."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.rubenok2013 import SETUPS, fitted_misalignment, ratios


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    found = ratios(fitted_misalignment())
    kinds = ("signal, key basis", "signal, test basis", "decoy, key basis", "decoy, test basis")
    for kind, marker in zip(range(4), "osv^", strict=True):
        axes.plot([s.name for s in SETUPS], found[kind::4], marker, label=kinds[kind])
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set(ylabel="gain, ours over measured", ylim=(0.8, 1.15))
    axes.legend(ncols=2)


if __name__ == "__main__":
    run("rubenok2013", draw)
