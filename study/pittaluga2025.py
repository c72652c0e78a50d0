"""Draw pittaluga2025: Frankfurt to Kehl, 254 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, positive, run

from noclone.gallery.pittaluga2025 import CLOCK_HZ, KEY_BPS, LENGTH_KM, key_bps


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    lengths = [5.0 * i for i in range(10, 66)]
    for dark_hz in (10.0, 100.0, 160.0, 250.0):
        rates = [key_bps(km, dark_hz / CLOCK_HZ) for km in lengths]
        positive(axes, lengths, rates, label=f"ours, {dark_hz:g} Hz of dark counts")
    axes.plot(LENGTH_KM, KEY_BPS, **PUBLISHED)
    axes.set(xlabel="fibre (km), all devices assumed", ylabel="secret bits per second", yscale="log", ylim=(1, 1e7))
    axes.legend()


if __name__ == "__main__":
    run("pittaluga2025", draw)
