"""25 km with continuous variables: Lodewyck et al., Phys. Rev. A 76, 042305 (2007)."""

from __future__ import annotations

from noclone.gallery.result import Result, Row, near
from noclone.proofs.gaussian import Gaussian

LINK = Gaussian(18.5, 0.302, 0.005, 0.606, 0.041)  # 5.2 dB
SYMBOLS_HZ, BETA = 350e3, 0.898


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    return (
        near("information of Alice and Bob", SYMBOLS_HZ * LINK.mutual_information() / 1e3, 365, 0.5, "kb/s"),
        near("Eve's, at most", SYMBOLS_HZ * LINK.holevo() / 1e3, 316, 0.5, "kb/s"),
        near("secret key", SYMBOLS_HZ * LINK.rate(BETA) / 1e3, 12.3, 0.05, "kb/s"),
    )


RESULT = Result(
    "lodewyck2007",
    "Continuous variables over 25 km",
    "Lodewyck et al., Phys. Rev. A 76, 042305 (2007), arXiv:0706.4255",
    "secondary",
    "plutoniumm/qkd on GitHub, docs/guide/validation.md",
    "values",
    0,
    "Endless blocks; β = 0.898 is the paper's.",
    rows,
)
