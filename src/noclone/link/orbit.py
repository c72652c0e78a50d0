"""A satellite on its orbit, and when it passes over a station, by SGP4 (Skyfield).

In: two-line elements, or a circle given by height, inclination and node; stations; a day.  Out: passes, second by
second: slant range, elevation, and how high the Sun stands. Nothing is fetched: Skyfield's built-in timescale serves.

SGP4: Hoots and Roehrich 1980, in Vallado et al., AIAA 2006-6753. Elements that are weeks old err by kilometres.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noclone.errors import InputError
from noclone.extras import how_to_install
from noclone.link.satellite import EARTH_GM_KM3_PER_S2, EARTH_RADIUS_KM
from noclone.link.sun import sun_elevation_deg, sun_right_ascension_deg

F64 = NDArray[np.float64]
COARSE_S = 20.0
HORIZON_DEG = -6.0  # at the horizon none rises by more in a coarse step
SGP4_EPOCH = datetime(1949, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Station:
    """A telescope on the ground."""

    name: str
    latitude_deg: float
    longitude_deg: float
    height_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Circle:
    """A circular orbit.

    Args:
        node_local_time_h: Local solar time at which it crosses the equator northward, at the epoch: a sun-synchronous
            orbit (97.4 degrees at 500 km) keeps it.
        phase_deg: How far it is past that crossing at the epoch.
    """

    altitude_km: float
    inclination_deg: float
    node_local_time_h: float = 0.0
    phase_deg: float = 0.0

    def __post_init__(self) -> None:
        if not 150 <= self.altitude_km <= 50_000:
            raise InputError(
                f"an orbit {self.altitude_km:g} km high is none that is meant here", hint="150 to 50000 km"
            )


@dataclass(frozen=True, slots=True)
class Elements:
    """Two-line elements, as NORAD writes them."""

    first: str
    second: str

    def __post_init__(self) -> None:
        for number, line in (("1", self.first), ("2", self.second)):
            digits = sum(int(c) if c.isdigit() else c == "-" for c in line[:68])
            if len(line) != 69 or line[0] != number or line[68] != str(digits % 10):
                raise InputError(
                    f"this is no line {number} of two-line elements: {line[:80]!r}",
                    hint="69 characters, of which the last is the checksum",
                )


@dataclass(frozen=True, slots=True)
class Track:
    """One pass over one station.

    Args:
        unix_s: The middles of equal steps.
        step_s: Their width.
        sun_deg: Elevation of the Sun at the station.
    """

    station: Station
    unix_s: F64
    step_s: float
    range_km: F64
    elevation_deg: F64
    sun_deg: F64

    @property
    def start(self) -> datetime:
        """When it rises."""
        return datetime.fromtimestamp(float(self.unix_s[0]) - self.step_s / 2, UTC)

    @property
    def duration_s(self) -> float:
        """How long it stays."""
        return self.unix_s.size * self.step_s


def together(first: Track, second: Track) -> tuple[Track, Track] | None:
    """Return the parts of two passes in which both stations see the satellite at once; None where they never do."""
    both, *places = np.intersect1d(first.unix_s, second.unix_s, return_indices=True)
    if not both.size:
        return None
    a, b = (
        Track(one.station, both, one.step_s, one.range_km[at], one.elevation_deg[at], one.sun_deg[at])
        for one, at in zip((first, second), places, strict=True)
    )
    return a, b


class Satellite:
    """A satellite whose place is known at any time near its elements' epoch.

    Args:
        epoch: Of a circle; two-line elements bring their own.
    """

    def __init__(self, name: str, orbit: Circle | Elements, epoch: datetime) -> None:
        if importlib.util.find_spec("skyfield") is None:
            raise InputError(
                "orbits need Skyfield, which is not installed",
                hint=how_to_install("satellite"),
            )
        from skyfield.api import EarthSatellite, load

        self.name = name
        self._timescale: Any = load.timescale(builtin=True)
        if isinstance(orbit, Elements):
            self._satellite: Any = EarthSatellite(orbit.first, orbit.second, name, self._timescale)
        else:
            self._satellite = EarthSatellite.from_satrec(_satrec(orbit, epoch), self._timescale)

    def _seen(self, station: Station, unix_s: F64) -> tuple[F64, F64]:
        from skyfield.api import wgs84
        from skyfield.nutationlib import iau2000b_radians

        moment = datetime(2000, 1, 1, 12, tzinfo=UTC)
        seconds = unix_s - moment.timestamp()
        times = self._timescale.utc(2000, 1, 1, 12, 0, seconds)
        # As Skyfield's manual advises where a milliarcsecond is enough: three quarters of the time went into the rest.
        times._nutation_angles_radians = iau2000b_radians(times)
        place = wgs84.latlon(station.latitude_deg, station.longitude_deg, elevation_m=station.height_m)
        elevation, _, distance = (self._satellite - place).at(times).altaz()
        heights = np.asarray(elevation.degrees, float)
        if not np.all(np.isfinite(heights)):
            raise InputError(f"{self.name}: SGP4 gives no place at that time", hint="are the elements years old?")
        return heights, np.asarray(distance.km, float)

    def passes(
        self, station: Station, start: datetime, hours: float, *, lowest_deg: float = 10.0, step_s: float = 1.0
    ) -> Iterator[Track]:
        """Yield the passes that rise above `lowest_deg`, in steps of about `step_s`, those cut by the ends included."""
        if not 0 <= lowest_deg < 90:
            raise InputError(f"the lowest elevation lies between 0 and 90 degrees, not {lowest_deg:g}")
        first, last = start.timestamp(), (start + timedelta(hours=hours)).timestamp()
        coarse = np.arange(first, last + COARSE_S, COARSE_S)
        near = self._seen(station, coarse)[0] > HORIZON_DEG
        edges = np.flatnonzero(np.diff(np.concatenate(([False], near, [False])).astype(np.int8)))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            # Steps count from the start, so that those of two stations can be laid side by side.
            low = math.floor(max(0.0, coarse[begin] - COARSE_S - first) / step_s)
            high = math.ceil((min(last, coarse[min(end, coarse.size - 1)]) - first) / step_s)
            if high <= low:
                continue
            middles = first + (np.arange(low, high) + 0.5) * step_s
            elevation, distance = self._seen(station, middles)
            up = elevation > lowest_deg
            if not up.any():
                continue
            times = middles[up]
            sun = sun_elevation_deg(times, station.latitude_deg, station.longitude_deg)
            yield Track(station, times, step_s, distance[up], elevation[up], sun)


def _satrec(orbit: Circle, epoch: datetime) -> Any:
    """Return SGP4's record of a circle, without drag."""
    from sgp4.api import WGS72, Satrec

    radius = EARTH_RADIUS_KM + orbit.altitude_km
    per_minute = math.sqrt(EARTH_GM_KM3_PER_S2 / radius**3) * 60
    sun = float(sun_right_ascension_deg(np.array(epoch.timestamp())))
    node = math.radians((sun + 15 * (orbit.node_local_time_h - 12)) % 360)
    days = (epoch - SGP4_EPOCH) / timedelta(days=1)
    record = Satrec()
    record.sgp4init(
        WGS72, "i", 1, days, 0.0, 0.0, 0.0, 1e-6, 0.0, math.radians(orbit.inclination_deg),
        math.radians(orbit.phase_deg), per_minute, node,
    )  # fmt: skip
    return record
