"""Sending or not sending: Wang, Yu, Hu, Phys. Rev. A 98, 062323 (2018): key over hundreds of km, however misaligned.

"Our protocol exceeds a secure distance of 700, 600, 500, or 300 km even though the single-photon interference
misalignment error rate is as large as 15 %, 25 %, 35 %, or 45 %": their abstract. Its detectors it does not tell.
"""

from __future__ import annotations

import math

from noclone.gallery.result import Result, Row, claim, order
from noclone.gallery.searching import crossing
from noclone.proofs.capacity import one_node_bound, repeaterless_bound
from noclone.proofs.middle_station import PhaseNoise, sns_rate
from noclone.units import transmittance

REACH_KM = {0.15: 700.0, 0.25: 600.0, 0.35: 500.0, 0.45: 300.0}
DETECTOR, DARK, DB_PER_KM, EFFICIENCY = 0.8, 1e-11, 0.2, 1.1  # assumed
INTENSITIES = tuple(0.02 * 1.5**i for i in range(10))
SENDING = tuple(2e-5 * 1.6**i for i in range(21))


def best_rate(length_km: float, misalignment: float) -> float:
    """Return bits per pulse at the best of some settings."""
    eta = DETECTOR * transmittance(DB_PER_KM * length_km / 2)
    noise = PhaseNoise(math.sqrt(-2 * math.log(1 - 2 * misalignment)))  # so that a share wrong is left of interference
    return max(sns_rate(eta, DARK, mu, sending, noise, EFFICIENCY) for mu in INTENSITIES for sending in SENDING)


def reach_km(misalignment: float) -> float:
    """Return where the key ends."""
    return crossing(lambda km: best_rate(km, misalignment), 50, 1200)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    eta = {km: transmittance(DB_PER_KM * km) for km in (300.0, 500.0)}
    return (
        *(
            order(
                f"reach at {100 * e:.0f} % of misalignment",
                reach_km(e),
                km,
                1.1,
                "km",
            )
            for e, km in REACH_KM.items()
        ),
        claim(
            "rate over the repeaterless bound, 500 km, 5 %",
            best_rate(500.0, 0.05) / repeaterless_bound(eta[500.0]),
            1.0,
        ),
        claim(
            "rate over the bound with one node, 500 km, 5 %",
            best_rate(500.0, 0.05) / one_node_bound(eta[500.0]),
            0.0,
            1.0,
        ),
        claim(
            "fall of the rate over 20 dB: with the channel's root",
            best_rate(300.0, 0.05) / best_rate(400.0, 0.05),
            8.0,
            12.0,
        ),
    )


RESULT = Result(
    "wang2018",
    "Twin fields, however misaligned",
    "Wang, Yu, Hu, Phys. Rev. A 98, 062323 (2018)",
    "read",
    "its abstract",
    "outcome only",
    0,
    "Assumed: detectors of 80 % with 10⁻¹¹ dark counts, 0.2 dB/km, f = 1.1, infinitely many decoys; the "
    "paper's own are in its text, which was not read.",
    rows,
)
