"""Draw pirandola2017: What no repeaterless link can beat."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.pirandola2017 import homodyne
from noclone.proofs.capacity import one_node_bound, repeaterless_bound
from noclone.units import transmittance


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    losses = [0.5 * i for i in range(1, 101)]
    etas = [transmittance(db) for db in losses]
    axes.plot(losses, [one_node_bound(eta) for eta in etas], label="one station in the middle")
    axes.plot(losses, [repeaterless_bound(eta) for eta in etas], label="no repeater: $-\\log_2(1-\\eta)$")
    axes.plot(losses[:60], [homodyne(eta) for eta in etas[:60]], "--", label="ideal homodyne: half of it")
    axes.plot(losses[20:], [1.44 * eta for eta in etas[20:]], "k:", label="published: 1.44 $\\eta$")
    axes.set(xlabel="loss (dB)", ylabel="bits per use", yscale="log")
    axes.legend()


if __name__ == "__main__":
    run("pirandola2017", draw)
