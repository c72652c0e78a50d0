"""Draw rusca2018: One decoy or two."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.rusca2018 import BEST, lead


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    axes.plot(list(BEST), [lead(n) for n in BEST], "o-", label="ours, 20 dB")
    axes.axhline(1.0, color="grey", linewidth=1)
    axes.axvspan(1e5, 1e8, color="tab:green", alpha=0.2, linewidth=0, label="published: one decoy wins")
    axes.set(xlabel="sifted bits in a block", ylabel="key with one decoy over key with two", xscale="log")
    axes.legend()


if __name__ == "__main__":
    run("rusca2018", draw)
