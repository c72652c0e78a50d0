"""Draw acin2007: Device independence ends at 7.1 % of errors."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.acin2007 import rate
from noclone.proofs.entangled import chsh_of_error, holevo_of_chsh


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    errors = [0.001 * i for i in range(181)]
    axes.plot([100 * e for e in errors], [chsh_of_error(e) for e in errors], label="CHSH value S")
    axes.plot(
        [100 * e for e in errors], [holevo_of_chsh(chsh_of_error(e)) for e in errors], label="Eve's bits, at most"
    )
    axes.plot([100 * e for e in errors], [max(rate(e), 0.0) for e in errors], label="secret bits")
    axes.axhline(2.0, color="grey", linewidth=1)
    for published in (7.1, 14.645):
        axes.axvline(published, color="black", linestyle=":")
    axes.set(xlabel="errors (%); dotted: published 7.1 and 14.6", ylim=(0, 3))
    axes.legend()


if __name__ == "__main__":
    run("acin2007", draw)
