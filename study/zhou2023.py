"""Draw zhou2023: sending or not sending with pairing, 404 to 616 km."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, positive, run

from noclone.gallery.zhou2023 import CLOCK_HZ, KEY_BPS, LOSS_DB, fitted, key_bps
from noclone.proofs.capacity import repeaterless_bound
from noclone.units import transmittance


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    losses = [60.0 + 2.0 * i for i in range(28)]
    misalignment = fitted()
    for pulses in (1e12, 1e13, 1e15):
        rates = [key_bps((loss / 2, loss / 2), misalignment, pulses) for loss in losses]
        positive(axes, losses, rates, label=f"ours, {pulses:.0e} pulses")
    bound = [CLOCK_HZ * repeaterless_bound(transmittance(loss)) for loss in losses]
    positive(axes, losses, bound, label="repeaterless bound", linestyle="--")
    axes.plot([sum(LOSS_DB[km]) for km in KEY_BPS], list(KEY_BPS.values()), **PUBLISHED)
    axes.set(xlabel="loss of the fibre (dB)", ylabel="secret bits per second", yscale="log", ylim=(1e-3, 1e4))
    axes.legend()


if __name__ == "__main__":
    run("zhou2023", draw)
