"""Orbit, ground station, beam and sky in files: those of satellites, and links of scenarios.

In: their tables.  Out: what `link.orbit` and `link.satellite` take, and how much light of the sky is seen.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from noclone.link.orbit import Circle, Elements, Satellite, Station
from noclone.link.satellite import EARTH_GM_KM3_PER_S2, EARTH_RADIUS_KM, Downlink, background_hz
from noclone.network.fields import NonNegative, Positive, Section
from noclone.units import transmittance

TWILIGHT_DEG = 18.0


class OrbitSection(Section):
    """How a satellite flies: two-line elements, or a circle."""

    elements: Annotated[list[str], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="the two lines"
    )
    altitude_km: Annotated[float, Field(ge=150, le=50_000)] | None = None
    inclination_deg: Annotated[float, Field(ge=0, le=180)] | None = None
    node_local_time_h: Annotated[float, Field(ge=0, lt=24)] = 0.0
    phase_deg: Annotated[float, Field(ge=0, lt=360)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.elements is None) == (self.altitude_km is None or self.inclination_deg is None):
            raise ValueError("give either 'elements', or 'altitude_km' and 'inclination_deg'")
        return self

    @property
    def height_km(self) -> float:
        """Height above a round Earth: of the circle, or the mean one (Kepler's third law) of two-line elements."""
        if self.altitude_km is not None:
            return self.altitude_km
        assert self.elements is not None
        per_s = float(self.elements[1][52:63]) * 2 * math.pi / 86_400  # mean motion, revolutions a day
        return math.cbrt(EARTH_GM_KM3_PER_S2 / per_s**2) - EARTH_RADIUS_KM

    def satellite(self, name: str, epoch: datetime) -> Satellite:
        """Return the satellite of that name; a circle's place is given for the epoch."""
        if self.elements is not None:
            return Satellite(name, Elements(*self.elements), epoch)
        assert self.altitude_km is not None
        assert self.inclination_deg is not None
        circle = Circle(self.altitude_km, self.inclination_deg, self.node_local_time_h, self.phase_deg)
        return Satellite(name, circle, epoch)


class PlaceSection(Section):
    """Where a telescope stands."""

    latitude_deg: Annotated[float, Field(ge=-90, le=90)]
    longitude_deg: Annotated[float, Field(ge=-180, le=180)]
    height_m: Annotated[float, Field(ge=-500, le=9000)] = 0.0

    def place(self, name: str) -> Station:
        """Return the station of that name."""
        return Station(name, self.latitude_deg, self.longitude_deg, self.height_m)


class DownlinkSection(Section):
    """Beam, telescope, air."""

    divergence_urad: Positive
    aperture_m: Positive
    pointing_urad: NonNegative = 0.0
    zenith_db: NonNegative = 1.5
    fixed_db: NonNegative = 0.0
    beam: Literal["gaussian", "top-hat"] = "gaussian"
    fades: Annotated[int, Field(ge=1, le=64)] = Field(default=6, description="cases of pointing in a second")

    def downlink(self) -> Downlink:
        """Return the downlink."""
        return Downlink(
            self.divergence_urad, self.aperture_m, self.pointing_urad, self.zenith_db, self.fixed_db, self.beam
        )


class SkySection(Section):
    """What the telescope sees beside the satellite."""

    night: NonNegative = Field(default=1.5e-6, description="radiance, W / (m^2 sr nm), with the Sun 18 degrees down")
    day: NonNegative = Field(default=1.5e-2, description="the same with the Sun up")
    field_of_view_urad: Positive = 50.0
    filter_nm: Positive = 1.0
    wavelength_nm: Positive = 850.0
    optics_db: NonNegative = Field(default=3.0, description="from the aperture to the detectors, of the sky's light")

    def radiance(self, sun_deg: float) -> float:
        """Return the sky's radiance for the Sun's elevation; its logarithm falls evenly from sunset to 18 degrees down.

        Real twilight falls faster at first, so this sees too much light rather than too little.
        """
        down = min(1.0, max(0.0, -sun_deg / TWILIGHT_DEG))
        if self.night <= 0 or self.day <= 0:
            return self.night if down == 1.0 else self.day
        return math.exp((1 - down) * math.log(self.day) + down * math.log(self.night))

    def photons_hz(self, sun_deg: float, aperture_m: float) -> float:
        """Return photons of the sky that reach the detectors of a telescope a second."""
        seen = background_hz(
            self.radiance(sun_deg), self.field_of_view_urad, aperture_m, self.filter_nm, self.wavelength_nm
        )
        return seen * transmittance(self.optics_db)


def in_utc(moment: datetime) -> datetime:
    """Return a moment of a file in UTC, which it is where it names no zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
