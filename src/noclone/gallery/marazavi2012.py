"""Limits of MDI-QKD's light: Ma and Razavi, PRA 86, 062319 (2012), Eqs. (21), (23), (35), (39), (51)-(54)."""

from __future__ import annotations

from noclone.gallery.result import Result, Row, near, same
from noclone.proofs.middle_station import Arms, mdi_gains, mdi_single_photons

ETA = (0.1, 0.04)
MISALIGNMENT = 0.015
FAINT = 1e-3


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    arms = Arms(*ETA, 0.0, MISALIGNMENT)
    single, error = mdi_single_photons(arms)
    gains = mdi_gains(Arms(ETA[0], ETA[0], 0.0, MISALIGNMENT), FAINT, FAINT)
    return (
        same("yield of two single photons over eta_a eta_b", single / (ETA[0] * ETA[1]), 0.5),
        same("errors of two single photons", error, MISALIGNMENT),
        same("errors of the key basis, no dark counts", gains.error_key, MISALIGNMENT),
        near("errors of the test basis, faint light", gains.error_test, 0.25 + MISALIGNMENT / 2, 1e-4),
        near("gain of the test over the key basis, faint light", gains.gain_test / gains.gain_key, 2.0, 1e-3),
    )


RESULT = Result(
    "marazavi2012",
    "Faint light at a middle station",
    "Ma, Razavi, Phys. Rev. A 86, 062319 (2012)",
    "secondary",
    "plutoniumm/qkd on GitHub, docs/guide/validation.md, which states the limits",
    "values",
    0,
    "The limits of faint light are approached at 10⁻³ photons.",
    rows,
)
