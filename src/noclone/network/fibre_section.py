"""The fibre of a link in a scenario file, and the classical channels that share it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noclone.link.coexistence import WORST_RAMAN_PER_KM_NM, ClassicalChannel, raman_photons_hz
from noclone.link.devices import Fibre
from noclone.network.fields import NonNegative, Positive, Section


class ClassicalSection(Section):
    """A classical channel in the quantum channel's fibre."""

    power_dbm: Annotated[float, Field(ge=-100, le=40)] = Field(description="where it is launched")
    direction: Literal["with", "against"] = Field(default="with", description="the quantum light")
    crosstalk_db: NonNegative = Field(default=0.0, description="of another core into the quantum channel's")

    def channel(self) -> ClassicalChannel:
        """Return the channel."""
        return ClassicalChannel(self.power_dbm, self.direction, self.crosstalk_db)


class FibreSection(Section):
    """The quantum channel."""

    length_km: NonNegative
    attenuation_db_per_km: NonNegative = 0.2
    extra_loss_db: NonNegative = Field(default=0.0, description="connectors, splices, filters")
    classical: list[ClassicalSection] = Field(default=[], max_length=1000, description="data in the same fibre")
    raman_per_km_nm: NonNegative = Field(default=WORST_RAMAN_PER_KM_NM, description="of glass; hollow: 1e-12 or less")
    filter_nm: Positive = Field(default=0.6, description="width of the quantum receiver's filter")

    def fibre(self) -> Fibre:
        """Return the fibre."""
        return Fibre(self.length_km, self.attenuation_db_per_km, self.extra_loss_db)

    def noise_hz(self) -> float:
        """Return photons a second that classical channels scatter into the quantum receiver."""
        return raman_photons_hz(
            [one.channel() for one in self.classical],
            self.length_km,
            self.attenuation_db_per_km,
            extra_loss_db=self.extra_loss_db,
            raman_per_km_nm=self.raman_per_km_nm,
            filter_nm=self.filter_nm,
        )
