"""Draw liao2017: Micius: loss against distance."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import run

from noclone.gallery.liao2017 import LOSS_DB, fitted_fixed_db, model_db


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    fixed = fitted_fixed_db()
    ranges = [600.0 + 10 * i for i in range(66)]
    axes.plot(ranges, [fixed + model_db(km) for km in ranges], label=f"ours, {fixed:.1f} dB fitted")
    axes.plot([km for km, _ in LOSS_DB], [db for _, db in LOSS_DB], "ks", label="measured")
    axes.set(xlabel="slant range (km)", ylabel="loss (dB)")
    axes.legend()


if __name__ == "__main__":
    run("liao2017", draw)
