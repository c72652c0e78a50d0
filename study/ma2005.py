"""Redraw the key rate of Ma, Qi, Zhao, Lo, Phys. Rev. A 72, 012326 (2005) for the experiment of Gobby et al. 2004.

Published: maximum distance 140.55 km with weak and vacuum decoys and 142.05 km with infinitely many; optimal signal
0.48 (f = 1.22) and 0.54 (f = 1); at 40 km with nu = mu/4 the bounds miss Y1 by 3.5 % and e1 by 16.8 %.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
from report import Deviation, run

from noclone.proofs.asymptotic import best_mean_photons, rate, weak_and_vacuum
from noclone.proofs.models import MaChannel
from noclone.units import transmittance

# Gobby, Yuan, Shields, Appl. Phys. Lett. 84, 3762 (2004), as Ma et al. tabulate it.
BOB, BACKGROUND, MISALIGNMENT, EFFICIENCY, DB_PER_KM = 0.045, 1.7e-6, 0.033, 1.22, 0.21
SIGNAL, DECOY = 0.48, 0.05


def channel(length_km: float) -> MaChannel:
    """Return the experiment's channel."""
    return MaChannel(BOB * transmittance(DB_PER_KM * length_km), BACKGROUND, MISALIGNMENT)


def rate_weak_vacuum(length_km: float) -> float:
    """Return bits per pulse with one weak decoy and vacuum."""
    link = channel(length_km)
    signal = link.gain(SIGNAL)
    return rate(signal, weak_and_vacuum(signal, link.gain(DECOY), BACKGROUND), EFFICIENCY)


def rate_infinite(length_km: float) -> float:
    """Return bits per pulse with infinitely many decoys."""
    link = channel(length_km)
    return rate(link.gain(SIGNAL), link.single_photons(), EFFICIENCY)


def reach_km(curve: Callable[[float], float]) -> float:
    """Return where a rate crosses zero, by bisection."""
    low, high = 50.0, 200.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if curve(middle) > 0 else (low, middle)
    return low


def shortfall() -> tuple[float, float]:
    """Return by how much, relative, the bounds miss Y1 and e1 at 40 km with nu = mu / 4."""
    link = channel(40.0)
    bound = weak_and_vacuum(link.gain(SIGNAL), link.gain(SIGNAL / 4), BACKGROUND)
    truth = link.single_photons()
    return 1 - bound.yield_lower / truth.yield_lower, bound.error_upper / truth.error_upper - 1


def study(folder: Path, *, points: int = 150) -> list[Deviation]:
    """Draw the figure and return the deviations."""
    lengths = [150.0 * i / points for i in range(points)]
    figure, axes = plt.subplots()
    for curve, label in ((rate_infinite, "infinite decoys"), (rate_weak_vacuum, "weak + vacuum")):
        rates = [curve(x) for x in lengths]
        axes.semilogy(
            [x for x, r in zip(lengths, rates, strict=True) if r > 0], [r for r in rates if r > 0], label=label
        )
    axes.axvline(140.55, ls=":", c="k", label="published reach")
    axes.axvline(142.05, ls=":", c="k")
    axes.set(xlabel="fibre (km)", ylabel="secret bits per pulse", title="Ma et al. 2005, GYS")
    axes.legend()
    figure.savefig(folder / "ma2005.png")
    plt.close(figure)
    y1, e1 = shortfall()
    return [
        Deviation("reach, weak + vacuum (km)", reach_km(rate_weak_vacuum), 140.55),
        Deviation("reach, infinite decoys (km)", reach_km(rate_infinite), 142.05),
        Deviation("optimal signal, f = 1.22", best_mean_photons(MISALIGNMENT, 1.22), 0.48),
        Deviation("optimal signal, f = 1", best_mean_photons(MISALIGNMENT, 1.0), 0.54),
        Deviation("bound misses Y1 by (%)", 100 * y1, 3.5),
        Deviation("bound misses e1 by (%)", 100 * e1, 16.8),
    ]


if __name__ == "__main__":
    run("Ma et al. 2005", study)
