"""Draw wang2018: Twin fields, however misaligned."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import positive, run

from noclone.gallery.wang2018 import DB_PER_KM, REACH_KM, best_rate
from noclone.proofs.capacity import repeaterless_bound
from noclone.units import transmittance


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    lengths = [20.0 * i for i in range(1, 38)]
    bound = [repeaterless_bound(transmittance(DB_PER_KM * km)) for km in lengths]
    axes.plot(lengths, bound, color="grey", label="repeaterless bound")
    for misalignment, reach in REACH_KM.items():
        (line,) = axes.plot([], [], label=f"{100 * misalignment:.0f} % of misalignment")
        positive(axes, lengths, [best_rate(km, misalignment) for km in lengths], color=line.get_color())
        axes.axvline(reach, color=line.get_color(), linestyle=":")
    axes.set(
        xlabel="fibre (km); dotted: published reach", ylabel="secret bits per pulse", yscale="log", ylim=(1e-20, 1)
    )
    axes.legend(loc="lower left")


if __name__ == "__main__":
    run("wang2018", draw)
