"""Draw shor2000: BB84 bears 11 % of errors."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.acin2007 import rate as chsh_rate
from noclone.gallery.shor2000 import rate


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    errors = [0.001 * i for i in range(1, 130)]
    axes.plot([100 * e for e in errors], [rate(e) for e in errors], label="BB84: 1 - 2 h(e)")
    axes.plot([100 * e for e in errors], [chsh_rate(e) for e in errors], label="priced by CHSH alone")
    axes.axvline(11.0, color="black", linestyle=":", label="published: 11 % and 7.1 %")
    axes.axvline(7.1, color="black", linestyle=":")
    axes.set(xlabel="errors (%)", ylabel="secret bits per sifted bit", ylim=(-0.2, 1.0))
    axes.legend()


if __name__ == "__main__":
    run("shor2000", draw)
