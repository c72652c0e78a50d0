"""Micius: Liao et al., Nature 549, 43 (2017): loss against distance of one pass, its track, and its key.

Twelve points of the measured loss and eleven of the track, digitised from the paper by Baidu's QCompute
(Extensions/QuantumNetwork/examples/data, Apache-2.0); tests hold the whole files where they are at hand.
"""

from __future__ import annotations

import math

from noclone.gallery.result import Result, Row, claim, near
from noclone.link.satellite import Downlink, Pass, elevation_deg

ALTITUDE_KM, NEAREST_KM = 500.0, 645.0
LOSS_DB = (  # slant range, km
    (645.0, 29.754), (695.0, 30.887), (745.0, 31.382), (795.0, 31.379), (845.0, 31.829), (895.0, 32.283),
    (945.0, 33.882), (995.0, 34.615), (1045.0, 35.232), (1095.0, 36.294), (1145.0, 37.360), (1195.0, 38.978),
)  # fmt: skip
TRACK_KM = (  # seconds
    (0.0, 1196.303), (25.0, 1052.203), (50.0, 913.053), (75.0, 791.520), (100.0, 700.004), (125.0, 650.747),
    (150.0, 650.895), (175.0, 699.672), (200.0, 790.436), (225.0, 911.155), (250.0, 1048.003),
)  # fmt: skip
DOWNLINK = Downlink(10.0, 1.0, 0.6, 2.0)  # 10 urad, 1 m; pointing and air assumed


def model_db(distance_km: float) -> float:
    """Return our loss without the fixed part."""
    return DOWNLINK.loss_db(distance_km, elevation_deg(distance_km, ALTITUDE_KM))


def fitted_fixed_db() -> float:
    """Return the fixed loss that meets the measured points on average."""
    return sum(db - model_db(km) for km, db in LOSS_DB) / len(LOSS_DB)


def fitted_pass() -> tuple[Pass, float]:
    """Return the pass that comes as near as was measured, and the second of its highest point."""
    over = Pass(ALTITUDE_KM, elevation_deg(NEAREST_KM, ALTITUDE_KM), 5.0)

    def misses(highest_s: float) -> float:
        return sum((over.range_km(t - highest_s) - km) ** 2 for t, km in TRACK_KM)

    return over, min((130 + 0.05 * i for i in range(240)), key=misses)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    fixed = fitted_fixed_db()
    left = [db - fixed - model_db(km) for km, db in LOSS_DB]
    over, highest = fitted_pass()
    off = [over.range_km(t - highest) - km for t, km in TRACK_KM]
    return (
        near("rise of the loss from 645 to 1195 km", model_db(1195.0) - model_db(645.0), 38.978 - 29.754, 1.5, "dB"),
        claim("loss, rms of twelve points", _rms(left), 0.0, 1.0, "dB"),
        claim("range along the pass, rms of eleven points", _rms(off), 0.0, 4.0, "km"),
        claim("fixed loss that is fitted", fixed, 8.0, 16.0, "dB"),
    )


def _rms(values: list[float]) -> float:
    return math.sqrt(sum(one * one for one in values) / len(values))


RESULT = Result(
    "liao2017",
    "Micius: loss against distance",
    "Liao et al., Nature 549, 43 (2017)",
    "secondary",
    "baidu/QCompute on GitHub, which digitised the paper's figure",
    "values",
    2,
    "Fitted: the fixed loss of optics and coupling, and when the satellite was highest. Pointing (0.6 "
    "µrad) and air (2 dB) are assumed.",
    rows,
)
