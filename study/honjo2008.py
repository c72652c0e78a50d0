"""Draw honjo2008: Errors of entangled pairs over 100 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.honjo2008 import FAR, NEAR, at_loss, fitted_misalignment, source


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    misalignment = fitted_misalignment()
    arms = [0.25 * i for i in range(57)]
    axes.plot(arms, [100 * at_loss(db, misalignment).error_rate() for db in arms], label="ours, 0.14 pairs a slot")
    axes.plot(0.0, 100 * source(NEAR, misalignment).error_rate(), "o", ms=10, label="ours, 0.04 pairs: fitted here")
    axes.plot([0.0, 10.5], [100 * NEAR.error, 100 * FAR.error], **PUBLISHED)
    axes.set(xlabel="fibre in each arm (dB)", ylabel="errors (%)", ylim=(0, 9))
    axes.legend()


if __name__ == "__main__":
    run("honjo2008", draw)
