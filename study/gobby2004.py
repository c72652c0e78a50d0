"""Draw gobby2004: BB84 over 122 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.gobby2004 import MODULATION, MU, QBER, SIFTED_BPS, channel, sifted_bps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    lengths = [1.0 * i for i in range(131)]
    low, high = ([100 * channel(km, e).gain(MU).error_rate for km in lengths] for e in MODULATION)
    axes.fill_between(lengths, low, high, alpha=0.4, label="errors (%)")
    axes.plot(lengths, [sifted_bps(km) for km in lengths], color="tab:orange", label="sifted bits per second")
    axes.plot(list(QBER), [100 * e for e in QBER.values()], "ks", label="published")
    axes.plot(list(SIFTED_BPS), list(SIFTED_BPS.values()), "ks")
    axes.set(xlabel="fibre (km)", yscale="log")
    axes.legend()


if __name__ == "__main__":
    run("gobby2004", draw)
