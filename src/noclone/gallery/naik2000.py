"""E91 with its CHSH value and its errors measured apart: Naik et al., Phys. Rev. Lett. 84, 4733 (2000)."""

from __future__ import annotations

from noclone.gallery.result import Result, Row, near
from noclone.gallery.searching import crossing
from noclone.proofs.entangled import chsh_of_error

S, S_PRIME = 2.665, 2.644  # both +- 0.019
ERROR, ERROR_BAR = 0.0306, 0.0011


def error_of_chsh(chsh: float) -> float:
    """Return the error rate of a pair with white noise, from its CHSH value: Acin et al.'s bridge, backwards."""
    return crossing(lambda error: chsh_of_error(error) - chsh, 0.0, 0.5)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    full = 0.25  # errors of who intercepts every photon
    share = crossing(lambda x: chsh_of_error(x * full) - 2.0, 0.0, 1.0)
    return (
        near(
            "errors, from the mean of S and S'",
            100 * error_of_chsh((S + S_PRIME) / 2),
            100 * ERROR,
            100 * ERROR_BAR,
            "%",
        ),
        near("photons that Eve may measure while S > 2", 100 * share, 58.6, 0.05, "%"),
        near("S where Eve measures all of them", chsh_of_error(full), 2**0.5, 1e-9),
    )


RESULT = Result(
    "naik2000",
    "Errors out of a measured CHSH value",
    "Naik, Peterson, White, Berglund, Kwiat, Phys. Rev. Lett. 84, 4733 (2000)",
    "secondary",
    "plutoniumm/qkd on GitHub, test/expqubit.py, commit 266260f, which quotes the text",
    "values",
    0,
    "White noise is assumed; S and its error bar were measured on other pairs than the errors.",
    rows,
)
