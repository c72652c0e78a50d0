"""Continuous variables over 80 km: Jouguet et al., Nat. Photonics 7, 378 (2013), three distances.

What was read gives no modulation variance, one excess noise for all, and rates in words ("more than 10 kb/s, few kb/s,
few hundred b/s"). Ours: the modulation of the published range that gives most key; endless blocks, and blocks of 10^9
symbols after Leverrier et al. 2010, half of them for estimation.
"""

from __future__ import annotations

from noclone.gallery.result import Result, Row, claim
from noclone.proofs.gaussian import Gaussian
from noclone.units import transmittance

SYMBOLS_HZ, BETA, DETECTOR, ELECTRONIC = 1e6, 0.95, 0.552, 0.015
EXCESS, WORST = 0.0015, 0.0075  # the middles of "0.001 to 0.002", and of "0.007 to 0.008" at worst
LOSSES_DB = {25.0: 5.0, 53.0: 10.6, 80.5: 16.1}
VARIANCES = tuple(1.0 + 0.25 * i for i in range(37))  # 1 to 10


def key_bps(loss_db: float, excess: float) -> float:
    """Return secret bits per second of endless blocks, all symbols for key, at the best modulation."""
    links = (Gaussian(v, transmittance(loss_db), excess, DETECTOR, ELECTRONIC) for v in VARIANCES)
    return SYMBOLS_HZ * max(link.rate(BETA) for link in links)


def finite_bps(loss_db: float) -> float:
    """Return the same of blocks of 10^9 symbols."""
    links = (Gaussian(v, transmittance(loss_db), EXCESS, DETECTOR, ELECTRONIC) for v in VARIANCES)
    return SYMBOLS_HZ * max(link.finite_rate(BETA, 1e9) for link in links)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    near, middle, far = (key_bps(db, EXCESS) for db in LOSSES_DB.values())
    return (
        claim("key at 25 km, above 10 kb/s", near, 1e4, unit="b/s"),
        claim("key at 53 km, above some kb/s", middle, 2e3, unit="b/s"),
        claim("key at 80.5 km, above some hundred b/s", far, 2e2, unit="b/s"),
        claim("key at 80.5 km, worst noise", key_bps(LOSSES_DB[80.5], WORST), 2e2, far, unit="b/s"),
        claim("key at 80.5 km, blocks of 10⁹", finite_bps(LOSSES_DB[80.5]), 1e2, 2e3, unit="b/s"),
        claim("80.5 km over 25 km", far / near, 0.0, 0.1),
    )


RESULT = Result(
    "jouguet2013",
    "Continuous variables over 80 km",
    "Jouguet, Kunz-Jacques, Leverrier, Grangier, Diamanti, Nat. Photonics 7, 378 (2013), arXiv:1210.6216",
    "secondary",
    "a summary of the article's figures: rates in words, ranges for noise and modulation",
    "structural",
    0,
    "The published rates are of blocks of 10⁸ to 10⁹ symbols; ours are of endless ones, but for the row that says so.",
    rows,
)
