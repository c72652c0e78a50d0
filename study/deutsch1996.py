"""Draw deutsch1996: Two noisy pairs into a better one."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.deutsch1996 import bennett, deutsch
from noclone.repeater.pairs import BellPair, bbpssw, dejmps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    fidelities = [0.5 + 0.0125 * i for i in range(41)]
    pairs = [BellPair.werner(f) for f in fidelities]
    axes.plot(fidelities, [bbpssw(one, one).pair.fidelity for one in pairs], label="BBPSSW")
    axes.plot(fidelities, [dejmps(one, one).pair.fidelity for one in pairs], "--", label="DEJMPS")
    some = fidelities[::5]
    axes.plot(some, [bennett(f)[0] for f in some], "ks", label="printed formulas")
    axes.plot(some, [deutsch(BellPair.werner(f).weights)[0] for f in some], "ks")
    axes.plot([0.5, 1], [0.5, 1], color="grey", linewidth=1)
    axes.set(xlabel="fidelity of two Werner pairs", ylabel="fidelity of what is kept")
    axes.legend()


if __name__ == "__main__":
    run("deutsch1996", draw)
