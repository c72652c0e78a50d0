"""Classical channels in the quantum channel's fibre: how many photons of Raman noise reach the quantum receiver.

In: launch powers, directions, a fibre, a filter.  Out: photons a second. Glass scatters light of every channel to all
wavelengths near, and no filter takes out what falls on the quantum channel itself.

Eraerds, Walenta, Legre, Gisin and Zbinden, New J. Phys. 12, 063027 (2010), Eqs. (2) and (3); the same forward law, per
mode, as Eq. (6) of Kumar, Qin and Alleaume, New J. Phys. 17, 043027 (2015), whose worst coefficient in the C band,
3.0e-9 per km and nm, is the default. Four-wave mixing and leakage through filters are left out: keep classical channels
apart, and on one side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from noclone.units import SPEED_OF_LIGHT_M_PER_S, transmittance

PLANCK_J_S = 6.62607015e-34
WORST_RAMAN_PER_KM_NM = 3.0e-9  # Kumar et al. 2015: SMF-28, within the C band


@dataclass(frozen=True, slots=True)
class ClassicalChannel:
    """Light of a classical channel.

    Args:
        power_dbm: At its end of the fibre, where it is launched.
        direction: With the quantum light, or against it.
        crosstalk_db: Of a multicore fibre: how much weaker it is in the quantum channel's core than in its own.
    """

    power_dbm: float
    direction: Literal["with", "against"] = "with"
    crosstalk_db: float = 0.0

    @property
    def watts(self) -> float:
        """Launch power in the quantum channel's core."""
        return 1e-3 * 10 ** ((self.power_dbm - self.crosstalk_db) / 10)


def raman_watts(
    channel: ClassicalChannel, length_km: float, attenuation_db_per_km: float, raman_per_km_nm: float, filter_nm: float
) -> float:
    """Return Raman light at the fibre's far end, within the filter.

    With the quantum light P L exp(-a L) rho dlambda; against it P (1 - exp(-2 a L)) / (2 a) rho dlambda. Both take the
    same attenuation for both wavelengths.
    """
    alpha = attenuation_db_per_km * math.log(10) / 10
    if channel.direction == "with":
        reach_km = length_km * math.exp(-alpha * length_km)
    else:
        reach_km = -math.expm1(-2 * alpha * length_km) / (2 * alpha) if alpha else length_km
    return channel.watts * reach_km * raman_per_km_nm * filter_nm


def raman_photons_hz(
    channels: Iterable[ClassicalChannel],
    length_km: float,
    attenuation_db_per_km: float,
    *,
    extra_loss_db: float = 0.0,
    raman_per_km_nm: float = WORST_RAMAN_PER_KM_NM,
    filter_nm: float = 0.6,
    wavelength_nm: float = 1550.0,
) -> float:
    """Return photons a second of Raman noise at the quantum receiver's input.

    Args:
        extra_loss_db: Of connectors and filters, all of it taken to be at the receiver's end.
        raman_per_km_nm: Of glass; a hollow core has about a thousandth of it or less.
        filter_nm: Width of the receiver's filter.
    """
    watts = sum(raman_watts(one, length_km, attenuation_db_per_km, raman_per_km_nm, filter_nm) for one in channels)
    photon_j = PLANCK_J_S * SPEED_OF_LIGHT_M_PER_S / (wavelength_nm * 1e-9)
    return watts * transmittance(extra_loss_db) / photon_j
