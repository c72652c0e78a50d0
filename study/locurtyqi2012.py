"""Draw locurtyqi2012: MDI-QKD bears more than 40 dB."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import positive, run

from noclone.gallery.locurtyqi2012 import best_rate
from noclone.proofs.capacity import repeaterless_bound
from noclone.units import transmittance


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    losses = [0.25 * i for i in range(1, 200)]
    axes.plot(
        losses, [repeaterless_bound(transmittance(db)) for db in losses], color="grey", label="repeaterless bound"
    )
    positive(axes, losses, [best_rate(db) for db in losses], label="MDI-QKD, detectors of 14.5 %")
    axes.axvline(40.0, color="black", linestyle=":", label="published: more than 40 dB")
    axes.set(xlabel="loss from end to end (dB)", ylabel="secret bits per pulse", yscale="log", ylim=(1e-10, 1e1))
    axes.legend()


if __name__ == "__main__":
    run("locurtyqi2012", draw)
