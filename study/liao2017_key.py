"""Draw liao2017_key: Micius: the key of one pass."""

from __future__ import annotations

import matplotlib.pyplot as plt
from drawing import PUBLISHED, run

from noclone.gallery.liao2017_key import SECRET_BITS, SIFTED_BITS, key_at


def draw(axes: plt.Axes) -> None:
    """Draw the figure."""
    highest = [25.0, 35.0, 50.0, 70.0, 90.0]
    found = [key_at(one, step_s=20.0) for one in highest]
    axes.plot(highest, [2 * one.sifted_bits for one in found], "o-", label="ours: sifted bits")
    axes.plot(highest, [one.secret_bits for one in found], "o-", label="ours: secret bits")
    axes.plot([49.0, 49.0], [SIFTED_BITS, SECRET_BITS], **PUBLISHED)
    axes.set(xlabel="highest elevation of the pass (degrees)", yscale="log", ylim=(1e4, 1e7))
    axes.legend()


if __name__ == "__main__":
    run("liao2017_key", draw)
