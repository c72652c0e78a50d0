"""Purifying and swapping pairs: BBPSSW (Bennett et al. 1996), DEJMPS (Deutsch et al. 1996), Werner pairs swapped.

The papers' formulas are in the weights of the four Bell states; `noclone.repeater` computes with correlations instead.
"""

from __future__ import annotations

from noclone.gallery.result import Result, Row, near, same
from noclone.gallery.searching import crossing
from noclone.proofs.entropy import error_entropy
from noclone.repeater.pairs import BellPair, bbpssw, dejmps

WEIGHTS = (0.70, 0.05, 0.15, 0.10)  # Phi+, Psi-, Psi+, Phi-
FIDELITIES = (0.6, 0.75, 0.9)


def bennett(fidelity: float) -> tuple[float, float]:
    """Return fidelity and success of BBPSSW by the printed formula: (F^2 + a^2) / p, p = F^2 + 2 F a + 5 a^2."""
    a = (1 - fidelity) / 3
    success = fidelity**2 + 2 * fidelity * a + 5 * a * a
    return (fidelity**2 + a * a) / success, success


def deutsch(weights: tuple[float, float, float, float]) -> tuple[float, ...]:
    """Return weights and success of DEJMPS by the printed map of (A, B, C, D)."""
    a, b, c, d = weights
    n = (a + b) ** 2 + (c + d) ** 2
    return (a * a + b * b) / n, 2 * c * d / n, (c * c + d * d) / n, 2 * a * b / n, n


def key_threshold() -> float:
    """Return the fidelity from which a Werner pair gives BB84 key."""
    return crossing(lambda f: 2 * error_entropy(BellPair.werner(f).error_z) - 1, 0.6, 1.0)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    out = []
    for f in FIDELITIES:
        pair = BellPair.werner(f)
        found = bbpssw(pair, pair)
        out.append(same(f"BBPSSW at {f}: fidelity", found.pair.fidelity, bennett(f)[0]))
        out.append(same(f"BBPSSW at {f}: success", found.success, bennett(f)[1]))
    pair = BellPair.of_weights(*WEIGHTS)
    done = dejmps(pair, pair)
    mine = (*done.pair.weights, done.success)
    names = ("Phi+", "Psi-", "Psi+", "Phi-", "success")
    out += [same(f"DEJMPS: {n}", one, theirs) for n, one, theirs in zip(names, mine, deutsch(WEIGHTS), strict=True)]
    swapped = BellPair.werner(0.9).swapped(BellPair.werner(0.8)).fidelity
    out.append(same("Werner 0.9 and 0.8 swapped", swapped, 0.9 * 0.8 + 0.1 * 0.2 / 3))
    out.append(near("fidelity from which a Werner pair gives key", key_threshold(), 0.835, 0.0005))
    return tuple(out)


RESULT = Result(
    "deutsch1996",
    "Two noisy pairs into a better one",
    "Bennett et al., Phys. Rev. Lett. 76, 722 (1996); Deutsch et al., Phys. Rev. Lett. 77, 2818 (1996)",
    "secondary",
    "jeevesh2002/690QCProject on GitHub, src/protocols/purification.py, for Werner pairs; the map of four "
    "weights is recalled, and held against density matrices in tests/repeater",
    "exact",
    0,
    "The threshold 0.835 is a rounded figure (11 % of errors), met to its last digit.",
    rows,
)
