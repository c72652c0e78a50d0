"""How high the Sun stands: day, twilight or night at a station.

In: seconds since 1970 (UTC), a place.  Out: degrees above the horizon, without refraction. The Astronomical Almanac's
"low precision formulas for the Sun", good to 0.01 degrees between 1950 and 2050: no ephemeris has to be fetched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
J2000_UNIX_S = 946_728_000.0  # 2000-01-01 12:00 UTC
SECONDS_PER_DAY = 86_400.0


def sun_right_ascension_deg(unix_s: F64) -> F64:
    """Return the Sun's right ascension."""
    return _equatorial(unix_s)[0]


def sun_elevation_deg(unix_s: F64, latitude_deg: float, longitude_deg: float) -> F64:
    """Return the Sun's elevation at a place; longitudes grow eastward."""
    ascension, declination = _equatorial(unix_s)
    days = (unix_s - J2000_UNIX_S) / SECONDS_PER_DAY
    sidereal_deg = 280.46061837 + 360.98564736629 * days
    hour = np.radians(sidereal_deg + longitude_deg - ascension)
    latitude, declination = np.radians(latitude_deg), np.radians(declination)
    sine = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour)
    elevation: F64 = np.degrees(np.arcsin(np.clip(sine, -1, 1)))
    return elevation


def _equatorial(unix_s: F64) -> tuple[F64, F64]:
    days = (unix_s - J2000_UNIX_S) / SECONDS_PER_DAY
    longitude = 280.460 + 0.9856474 * days
    anomaly = np.radians(357.528 + 0.9856003 * days)
    ecliptic = np.radians(longitude + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    tilt = np.radians(23.439 - 4e-7 * days)
    ascension = np.degrees(np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic))) % 360
    return ascension, np.degrees(np.arcsin(np.sin(tilt) * np.sin(ecliptic)))
