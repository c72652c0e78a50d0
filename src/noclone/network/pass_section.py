"""The passes of a satellite over a ground station in a scenario file: [link.pass], instead of a fibre.

In: the table.  Out: passes, second by second, with the loss and the light of the sky of each; see `pass_plan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from noclone.errors import ScenarioError
from noclone.link.satellite import Pass
from noclone.network.fields import Section
from noclone.network.satellite_pass import Seen, geometry, moments
from noclone.network.satellite_sections import DownlinkSection, OrbitSection, PlaceSection, SkySection, in_utc


class PassSection(Section):
    """A satellite's passes: by its orbit over a station, or one by geometry alone."""

    satellite: OrbitSection | None = Field(default=None, description="its orbit; needs station and start")
    station: PlaceSection | None = Field(default=None, description="where the ground station stands")
    start: datetime | None = Field(default=None, description="passes are looked for from here on")
    epoch: datetime | None = Field(default=None, description="of a circular orbit; the start where not given")
    hours: Annotated[float, Field(gt=0, le=24 * 31)] = Field(default=24.0, description="and for so long")
    altitude_km: Annotated[float, Field(ge=150, le=50_000)] | None = Field(
        default=None, description="without an orbit: of a circle over an Earth that does not turn, by night"
    )
    highest_deg: Annotated[float, Field(gt=0, le=90)] | None = Field(
        default=None, description="without an orbit: the elevation at the pass's highest"
    )
    lowest_deg: Annotated[float, Field(ge=0, lt=90)] = Field(default=15.0, description="below this nobody looks")
    step_s: Annotated[float, Field(ge=0.1, le=60)] = Field(default=1.0, description="loss is constant for so long")
    downlink: DownlinkSection
    sky: SkySection = SkySection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        orbit = (self.satellite, self.station, self.start)
        flat = (self.altitude_km, self.highest_deg)
        if None not in orbit and flat == (None, None):
            return self
        if None not in flat and orbit == (None, None, None):
            self._flat()
            return self
        raise ValueError("a pass needs either satellite, station and start, or altitude_km and highest_deg")

    @property
    def height_km(self) -> float:
        """How high the satellite flies, about: the least distance that its light has to go."""
        if self.satellite is None:
            assert self.altitude_km is not None
            return self.altitude_km
        return self.satellite.height_km

    def _flat(self) -> Pass:
        assert self.altitude_km is not None
        assert self.highest_deg is not None
        return Pass(self.altitude_km, self.highest_deg, self.lowest_deg)

    def passes(self, name: str) -> list[tuple[str, Seen]]:
        """Return when each pass begins (nothing where it has no date), and the pass.

        Args:
            name: The satellite's.

        Raises:
            InputError: The orbit needs Skyfield, which is not installed.
            ScenarioError: The satellite does not rise.
        """
        if self.satellite is None:
            return [("", geometry(self._flat(), self.step_s))]
        assert self.station is not None
        assert self.start is not None
        satellite = self.satellite.satellite(name, in_utc(self.epoch or self.start))
        found: list[tuple[str, Seen]] = [
            (track.start.isoformat(timespec="seconds"), track)
            for track in satellite.passes(
                self.station.place(name),
                in_utc(self.start),
                self.hours,
                lowest_deg=self.lowest_deg,
                step_s=self.step_s,
            )
        ]
        if not found:
            raise ScenarioError(
                f"{name} does not rise above {self.lowest_deg:g} degrees within {self.hours:g} hours of {self.start}",
                hint="give more hours, or a lower lowest_deg",
            )
        return found

    def moments(self, seen: Seen) -> Iterator[tuple[float, float, float]]:
        """Yield loss in dB, photons of the sky a second, and seconds; see `satellite_pass.moments`."""
        downlink = self.downlink
        return moments(
            seen, downlink.downlink(), downlink.fades, lambda sun: self.sky.photons_hz(sun, downlink.aperture_m)
        )
