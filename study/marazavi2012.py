"""Draw marazavi2012: Faint light at a middle station."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.marazavi2012 import ETA, MISALIGNMENT
from noclone.proofs.middle_station import Arms, mdi_gains


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    photons = [1e-3 * 1.25**i for i in range(35)]
    arms = Arms(ETA[0], ETA[0], 0.0, MISALIGNMENT)
    gains = [mdi_gains(arms, mu, mu) for mu in photons]
    axes.plot(photons, [one.error_test for one in gains], label="errors of the test basis")
    axes.plot(photons, [one.error_key for one in gains], label="errors of the key basis")
    axes.plot(photons, [one.gain_test / one.gain_key / 10 for one in gains], label="gain, test over key basis, / 10")
    for limit in (0.25 + MISALIGNMENT / 2, MISALIGNMENT, 0.2):
        axes.axhline(limit, color="black", linestyle=":", linewidth=1)
    axes.set(xlabel="mean photons of each pulse; dotted: the paper's limits", xscale="log", ylim=(0, 0.42))
    axes.legend(loc="upper left")


if __name__ == "__main__":
    run("marazavi2012", draw)
