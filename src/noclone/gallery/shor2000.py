"""How many errors BB84 bears: 11 % (Shor and Preskill, Phys. Rev. Lett. 85, 441 (2000)): 1 = 2 h(e)."""

from __future__ import annotations

from noclone.gallery.result import Result, Row, claim, near
from noclone.gallery.searching import crossing
from noclone.proofs.entangled import PairSource, chsh_of_error, device_independent_rate
from noclone.proofs.entropy import error_entropy


def rate(error: float) -> float:
    """Return secret bits per sifted bit with ideal reconciliation; below zero means none."""
    return 1.0 - 2.0 * error_entropy(error)


def faint_pairs(error: float) -> float:
    """Return the BBM92 rate of single pairs without loss, per pair: the same law out of `proofs.entangled`."""
    mean = 1e-7
    return PairSource(mean, 1.0, 1.0, misalignment=error).rate(1.0) / (0.5 * mean)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    threshold = crossing(rate, 1e-6, 0.5)
    return (
        near("errors without key", 100 * threshold, 11.0, 0.05, "%"),
        near("the same, of entangled pairs", 100 * crossing(faint_pairs, 1e-3, 0.3), 11.0, 0.05, "%"),
        claim(
            "CHSH-priced rate there, which must be nothing",
            device_independent_rate(threshold, chsh_of_error(threshold)),
            0,
            0,
        ),
    )


RESULT = Result(
    "shor2000",
    "BB84 bears 11 % of errors",
    "Shor, Preskill, Phys. Rev. Lett. 85, 441 (2000)",
    "secondary",
    "plutoniumm/qkd on GitHub, docs/guide/validation.md (11.003 %); Neumann et al. 2022, captions of "
    "Figs. 2 and 3 (11 %)",
    "values",
    0,
    "",
    rows,
)
