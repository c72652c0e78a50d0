"""Draw lucamarini2015: What a Trojan horse brings back."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.lucamarini2015 import PROBE_LOSS_DB, photons_out


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    losses = [130.0 + i for i in range(61)]
    axes.plot(losses, [photons_out(db) for db in losses], label="ours")
    axes.plot(PROBE_LOSS_DB, 1e-6, **PUBLISHED)
    axes.set(xlabel="what Alice's lab loses of a probe (dB)", ylabel="photons a pulse that come back", yscale="log")
    axes.legend()


if __name__ == "__main__":
    run("lucamarini2015", draw)
