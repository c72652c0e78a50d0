"""The repeaterless bound: Pirandola, Laurenza, Ottaviani, Banchi, Nat. Commun. 8, 15043 (2017).

K = -log2(1 - eta): 1.44 eta at long distances. Reverse reconciliation with homodyne detection of strongly modulated
coherent states reaches half of it (their discussion of ideal protocols), which our Gaussian formulas must find.
"""

from __future__ import annotations

import math

from noclone.gallery.result import Result, Row, near, same, share
from noclone.proofs.capacity import one_node_bound, repeaterless_bound
from noclone.proofs.gaussian import Gaussian

STRONG = 1e5  # modulation variance; what is missing goes with its inverse


def homodyne(eta: float) -> float:
    """Return the ideal homodyne rate over a channel that only loses."""
    return Gaussian(STRONG, eta, 0.0, 1.0, 0.0).rate(1.0)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    return (
        near("bound over eta, at 100 dB", repeaterless_bound(1e-10) / 1e-10, 1.44, 0.005, "bit"),
        same("bound at 3.01 dB (eta = 1/2)", repeaterless_bound(0.5), 1.0, "bit"),
        same("bound with one node at 6.02 dB (eta = 1/4)", one_node_bound(0.25), 1.0, "bit"),
        same("bound at 160 dB, eta / ln 2", repeaterless_bound(1e-16), 1e-16 / math.log(2), "bit"),
        *(
            share(f"ideal homodyne over the bound, {eta:g}", homodyne(eta) / repeaterless_bound(eta), 0.5, 1e-4)
            for eta in (0.9, 0.5, 0.1)
        ),
    )


RESULT = Result(
    "pirandola2017",
    "What no repeaterless link can beat",
    "Pirandola, Laurenza, Ottaviani, Banchi, Nat. Commun. 8, 15043 (2017)",
    "secondary",
    "Pittaluga's abstract at QCrypt 2021 prints 1.44 eta; the closed form itself is in every later paper "
    "on twin fields",
    "values",
    0,
    "The half of homodyne detection is approached with modulation: 10⁻⁴ of it are left at a variance of 10⁵.",
    rows,
)
