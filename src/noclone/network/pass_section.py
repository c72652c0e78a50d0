"""The passes of a satellite over ground stations in a scenario file: [link.pass], instead of a fibre.

In: the table.  Out: passes, second by second, with the loss and the light of the sky of each; see `pass_plan`. Over one
station the satellite is an end of the link; over two it is the source of pairs between its ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from noclone.errors import InputError, ScenarioError
from noclone.link.orbit import together
from noclone.link.satellite import Downlink, Pass
from noclone.network.fields import Section
from noclone.network.satellite_pass import Seen, geometry, moments, steady
from noclone.network.satellite_sections import DownlinkSection, OrbitSection, PlaceSection, SkySection, in_utc

if TYPE_CHECKING:
    from noclone.link.orbit import Track

Moment = tuple[float, float, float]  # loss in dB, photons of the sky a second, seconds


@dataclass(frozen=True, slots=True)
class OnePass:
    """A pass as the ends see it.

    Args:
        start: When it rises, UTC; nothing where it has no date.
        arms: By the one station; or by Alice's and Bob's, while both see it.
    """

    start: str
    arms: tuple[Seen, ...]

    @property
    def sun_deg(self) -> float:
        """Elevation of the Sun over any of the stations, at its highest."""
        return max(float(seen.sun_deg.max()) for seen in self.arms)

    @property
    def highest_deg(self) -> float:
        """Highest that the satellite stands over the station, or over both at once."""
        return float(np.min([seen.elevation_deg for seen in self.arms], axis=0).max())


class PassSection(Section):
    """A satellite's passes: by its orbit over a station or two, or one by geometry alone."""

    satellite: OrbitSection | None = Field(default=None, description="its orbit; needs station and start")
    station: PlaceSection | None = Field(default=None, description="where the ground station stands: Bob's")
    station_alice: PlaceSection | None = Field(default=None, description="bbm92: where Alice's stands")
    start: datetime | None = Field(default=None, description="passes are looked for from here on")
    epoch: datetime | None = Field(default=None, description="of a circular orbit; the start where not given")
    hours: Annotated[float, Field(gt=0, le=24 * 366)] = Field(default=24.0, description="and for so long")
    altitude_km: Annotated[float, Field(ge=150, le=50_000)] | None = Field(
        default=None, description="without an orbit: of a circle over an Earth that does not turn, by night"
    )
    highest_deg: Annotated[float, Field(gt=0, le=90)] | None = Field(
        default=None, description="without an orbit: the elevation at the pass's highest; bbm92: at both stations alike"
    )
    lowest_deg: Annotated[float, Field(ge=0, lt=90)] = Field(default=15.0, description="below this nobody looks")
    rises_to_deg: Annotated[float, Field(ge=0, le=90)] = Field(
        default=0.0, description="passes that do not rise to this are left out; bbm92: over both stations at once"
    )
    sun_below_deg: Annotated[float, Field(ge=-90, le=90)] = Field(
        default=90.0, description="passes with the Sun higher than this over a station are left out"
    )
    passes_per_block: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="so many passes, one after the other, make one block"
    )
    step_s: Annotated[float, Field(ge=0.1, le=60)] = Field(default=1.0, description="loss is constant for so long")
    downlink: DownlinkSection
    downlink_alice: DownlinkSection | None = Field(default=None, description="bbm92: Alice's, where it is another")
    sky: SkySection = SkySection()
    sky_alice: SkySection | None = Field(default=None, description="bbm92: over Alice's, where it is another")

    @model_validator(mode="after")
    def _check(self) -> Self:
        orbit = (self.satellite, self.station, self.start)
        flat = (self.altitude_km, self.highest_deg)
        if None not in orbit and flat == (None, None):
            return self
        if None not in flat and (*orbit, self.station_alice) == (None, None, None, None):
            self._flat()
            return self
        raise ValueError("a pass needs either satellite, station and start, or altitude_km and highest_deg")

    def check_ends(self, *, both: bool) -> None:
        """Refuse what does not fit the link's ends.

        Args:
            both: Whether both are ground stations.

        Raises:
            InputError: There is a station too few, or too much for Alice.
        """
        if not both:
            for name in ("station_alice", "downlink_alice", "sky_alice"):
                if getattr(self, name) is not None:
                    raise InputError(f"[link.pass] has {name} for bbm92 only: elsewhere Alice is the satellite")
        elif self.satellite is not None and self.station_alice is None:
            raise InputError("bbm92 from a satellite needs station_alice in [link.pass], beside Bob's station")

    @property
    def height_km(self) -> float:
        """How high the satellite flies, about: the least distance that its light has to go."""
        if self.satellite is None:
            assert self.altitude_km is not None
            return self.altitude_km
        return self.satellite.height_km

    def downlinks(self, *, both: bool) -> tuple[Downlink, ...]:
        """Return the downlink of each arm."""
        bob = self.downlink.downlink()
        return ((self.downlink_alice or self.downlink).downlink(), bob) if both else (bob,)

    def _flat(self) -> Pass:
        assert self.altitude_km is not None
        assert self.highest_deg is not None
        return Pass(self.altitude_km, self.highest_deg, self.lowest_deg)

    def passes(self, name: str, *, both: bool = False) -> list[OnePass]:
        """Return the passes, but those that are too low or have too much Sun.

        Args:
            name: The satellite's.
            both: Whether two stations have to see it at once.

        Raises:
            InputError: The orbit needs Skyfield, which is not installed.
            ScenarioError: The satellite does not rise, or not high enough while it is dark enough.
        """
        if self.satellite is None:
            seen = geometry(self._flat(), self.step_s)
            return [OnePass("", (seen, seen) if both else (seen,))] * self.passes_per_block
        found = [OnePass(arms[0].start.isoformat(timespec="seconds"), arms) for arms in self._tracks(name, both=both)]
        good = [one for one in found if one.sun_deg <= self.sun_below_deg and one.highest_deg >= self.rises_to_deg]
        where = "over both stations at once " if both else ""
        if not found:
            raise ScenarioError(
                f"{name} does not rise above {self.lowest_deg:g} degrees {where}within {self.hours:g} hours of "
                f"{self.start}",
                hint="give more hours, or a lower lowest_deg",
            )
        if not good:
            raise ScenarioError(
                f"{name} rises {where}within {self.hours:g} hours of {self.start}, but never to {self.rises_to_deg:g} "
                f"degrees with the Sun below {self.sun_below_deg:g} degrees",
                hint="give more hours, a lower rises_to_deg or a higher sun_below_deg",
            )
        return good

    def _tracks(self, name: str, *, both: bool) -> Iterator[tuple[Track, ...]]:
        assert self.satellite is not None
        assert self.station is not None
        assert self.start is not None
        start = in_utc(self.start)
        satellite = self.satellite.satellite(name, in_utc(self.epoch or self.start))

        def over(station: PlaceSection) -> Iterator[Track]:
            look = {"lowest_deg": self.lowest_deg, "step_s": self.step_s}
            return satellite.passes(station.place(name), start, self.hours, **look)

        if not both:
            yield from ((track,) for track in over(self.station))
            return
        assert self.station_alice is not None
        bobs = list(over(self.station))
        for alices in over(self.station_alice):
            yield from (arms for arms in (together(alices, track) for track in bobs) if arms is not None)

    def moments(self, seen: Seen) -> Iterator[Moment]:
        """Yield loss in dB, photons of the sky a second, and seconds; see `satellite_pass.moments`."""
        downlink = self.downlink
        return moments(
            seen, downlink.downlink(), downlink.fades, lambda sun: self.sky.photons_hz(sun, downlink.aperture_m)
        )

    def moments_of_both(self, arms: tuple[Seen, ...]) -> Iterator[tuple[Moment, ...]]:
        """Yield the same of Alice's arm and Bob's, pointing by its mean: faint light is in proportion to it."""
        ends = ((self.downlink_alice or self.downlink, self.sky_alice or self.sky), (self.downlink, self.sky))
        return zip(*(_steady(seen, *end) for seen, end in zip(arms, ends, strict=True)), strict=True)


def _steady(seen: Seen, downlink: DownlinkSection, sky: SkySection) -> Iterator[Moment]:
    return steady(seen, downlink.downlink(), lambda sun: sky.photons_hz(sun, downlink.aperture_m))
