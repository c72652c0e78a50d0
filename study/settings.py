"""Search the settings that the gallery stores for Lim 2014, Rusca 2018 and Boaron 2018, and Bob's efficiency there.

    python study/settings.py        half a minute; needs SciPy

Prints what is stored beside what is found: `tests/gallery/test_board.py` compares them (slow).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from optimum import best
from scipy.optimize import minimize_scalar

from noclone.gallery import boaron2018, lim2014, rusca2018


def searched() -> Iterator[tuple[str, float, float]]:
    """Yield name, value at the stored settings, value at the best that is found; from the stored settings on too."""
    for block in (1e6, 1e7, 1e9):
        point = lim2014.BEST[block]

        def lim(x: object, block: float = block) -> float:
            return 1e6 * lim2014.rate(x, 100.0, block)  # type: ignore[arg-type]

        yield f"lim2014, block of {block:.0e}", lim(point), best(lim, (lim2014.STARTS[0], point)).value
    for block, points in rusca2018.BEST.items():
        for proof, point, starts in zip(
            ("rusca2018", "lim2014"), points, (rusca2018.ONE_DECOY, rusca2018.TWO_DECOYS), strict=True
        ):

            def rusca(x: object, block: float = block, proof: str = proof) -> float:
                return 1e6 * rusca2018.rate(x, rusca2018.LOSS_DB, block, proof)  # type: ignore[arg-type]

            yield f"rusca2018, block of {block:.0e}, {proof}", rusca(point), best(rusca, (starts[0], point)).value
    for row in boaron2018.TABLE:

        def boaron(x: object, row: boaron2018.Row = row) -> float:
            return boaron2018.rate_bps(x, row, boaron2018.BOB, "rusca2018")  # type: ignore[arg-type]

        yield f"boaron2018, {row.length_km} km", boaron(row.best), best(boaron, (boaron2018.STARTS[0], row.best)).value


def fitted_efficiency() -> float:
    """Return Bob's efficiency that fits Boaron's first three rows best, in the logarithm."""

    def miss(efficiency: float) -> float:
        total = 0.0
        for row in boaron2018.TABLE[:3]:
            found = best(
                lambda x, row=row: boaron2018.rate_bps(x, row, efficiency, "rusca2018"),
                boaron2018.STARTS,
                evaluations=300,
            )
            total += math.log(max(found.value, 1e-6) / row.rate_bps) ** 2
        return total

    return float(minimize_scalar(miss, bounds=(0.1, 0.8), method="bounded", options={"xatol": 2e-3}).x)


if __name__ == "__main__":
    for name, stored, found in searched():
        print(f"{name:<40} stored {stored:.6g}   found {found:.6g}", flush=True)
    print(f"Bob's efficiency: stored {boaron2018.BOB}, found {fitted_efficiency()}")
