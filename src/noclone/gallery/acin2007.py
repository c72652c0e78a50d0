"""What a CHSH value is worth: Acin et al., Phys. Rev. Lett. 98, 230501 (2007); Pironio et al., New J. Phys. 11, 045021.

S = 2 sqrt(2) (1 - 2 Q): at most 2 sqrt(2), no violation above (2 - sqrt 2)/4 of errors, no key above 7.1 %.
"""

from __future__ import annotations

import math

from noclone.gallery.result import Result, Row, near, same
from noclone.gallery.searching import crossing
from noclone.proofs.entangled import chsh_of_error, holevo_of_chsh
from noclone.proofs.entropy import binary_entropy


def rate(error: float) -> float:
    """Return secret bits per pair, below zero too, so that the curve can be followed."""
    return 1.0 - binary_entropy(error) - holevo_of_chsh(chsh_of_error(error))


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    return (
        same("CHSH without errors (Tsirelson)", chsh_of_error(0.0), 2 * math.sqrt(2)),
        near("errors without key", 100 * crossing(rate, 1e-6, 0.2), 7.1, 0.05, "%"),
        near("errors without violation", 100 * crossing(lambda q: chsh_of_error(q) - 2, 0, 0.5), 14.645, 5e-4, "%"),
        same(
            "visibility without violation, 1/sqrt(2)",
            1 - 2 * crossing(lambda q: chsh_of_error(q) - 2, 0, 0.5),
            1 / math.sqrt(2),
        ),
        near("Eve's bit at S = 2", holevo_of_chsh(2.0), 1.0, 1e-12),
    )


RESULT = Result(
    "acin2007",
    "Device independence ends at 7.1 % of errors",
    "Acín, Brunner, Gisin, Massar, Pironio, Scarani, Phys. Rev. Lett. 98, 230501 (2007)",
    "secondary",
    "plutoniumm/qkd on GitHub, docs/guide/validation.md (7.1 %, 14.645 %)",
    "values",
    0,
    "",
    rows,
)
