"""Draw bennett1992: Intercept and resend costs 25 %."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.bennett1992 import counted


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    found = [counted(x) for x in shares]
    axes.plot(shares, [25 * x for x in shares], "k-", label="published: a quarter")
    axes.plot(shares, [100 * wrong / sifted for sifted, wrong in found], "o", label="simulated")
    axes.set(xlabel="share of the pulses that Eve intercepts", ylabel="errors (%)")
    axes.legend()


if __name__ == "__main__":
    run("bennett1992", draw)
