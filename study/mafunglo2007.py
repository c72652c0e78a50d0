"""Draw mafunglo2007: Entangled pairs: gain and errors, counted."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.mafunglo2007 import counted, source_at


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    pairs = [0.001 * 1.2**i for i in range(38)]
    sources = [source_at(mean, 0.145, 0.145, 0.0) for mean in pairs]
    axes.plot(pairs, [one.gain() for one in sources], label="coincidences per pulse, Eq. (9)")
    axes.plot(pairs, [one.error_rate() for one in sources], label="their errors, Eq. (10)")
    found = [counted(one) for one in sources[::6]]
    axes.plot(pairs[::6], [gain for gain, _ in found], "ks", label="counted pair by pair")
    axes.plot(pairs[::6], [error for _, error in found], "ks")
    axes.set(xlabel="mean pairs per pulse, both arms 14.5 %", xscale="log", yscale="log")
    axes.legend()


if __name__ == "__main__":
    run("mafunglo2007", draw)
