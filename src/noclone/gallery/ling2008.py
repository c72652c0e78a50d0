"""Key priced by a measured violation: Ling et al., Phys. Rev. A 78, 020301 (2008): S = 2.5, about 300 b/s."""

from __future__ import annotations

from noclone.gallery.naik2000 import error_of_chsh
from noclone.gallery.result import Result, Row, above
from noclone.proofs.entangled import device_independent_rate
from noclone.units import transmittance

CHSH = 2.5
COINCIDENCES_HZ, LINK_DB, SIFTED = 18_000.0, 3.0, 0.25


def key_bps(chsh: float) -> float:
    """Return secret bits per second with ideal reconciliation, the errors those of white noise."""
    raw = SIFTED * COINCIDENCES_HZ * transmittance(LINK_DB)
    return raw * device_independent_rate(error_of_chsh(chsh), chsh)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    return (
        above("secret key at S = 2.5", key_bps(CHSH), 300.0, 1.1, "b/s"),
        above("the same, 10⁷ bits in 9.5 hours", key_bps(CHSH), 1e7 / (9.5 * 3600), 1.1, "b/s"),
    )


RESULT = Result(
    "ling2008",
    "A key rate priced by CHSH alone",
    "Ling, Peloso, Marcikic, Scarani, Lamas-Linares, Kurtsiefer, Phys. Rev. A 78, 020301 (2008)",
    "secondary",
    "plutoniumm/qkd on GitHub, test/expqubit.py, commit 266260f, which quotes the text",
    "bound",
    0,
    "Ours reconciles ideally, so it must lie above; S is printed with two digits.",
    rows,
)
