"""Draw naik2000: Errors out of a measured CHSH value."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.naik2000 import ERROR, ERROR_BAR, S_PRIME, S, error_of_chsh


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    values = [2.5 + 0.005 * i for i in range(65)]
    axes.plot(values, [100 * error_of_chsh(s) for s in values], label="errors of white noise")
    axes.errorbar((S + S_PRIME) / 2, 100 * ERROR, 100 * ERROR_BAR, 0.019, color="black", fmt="s", label="measured")
    axes.set(xlabel="CHSH value S", ylabel="errors (%)")
    axes.legend()


if __name__ == "__main__":
    run("naik2000", draw)
