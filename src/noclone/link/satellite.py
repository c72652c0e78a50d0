"""A satellite over a ground station: where it is, and how much of its light arrives.

In: altitude, how high it rises, telescope and beam.  Out: range and elevation over time; loss in dB. Circular orbits
over a sphere that does not turn: good to some per cent of a pass's length, which the Earth's rotation changes with the
inclination; `orbit` has satellites over the Earth as it turns.

Geometry: any textbook of astrodynamics. Airmass: Kasten and Young, Appl. Opt. 28, 4735 (1989), whose elevation is in
degrees. Pointing: a Gaussian beam's intensity under jitter of the same width on both axes, its mean and its law
(Kiasaleh, IEEE Trans. Commun. 42, 1994; Toyoshima et al., J. Opt. Soc. Am. A 19, 567, 2002).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from noclone.errors import InputError

EARTH_RADIUS_KM = 6371.0
EARTH_GM_KM3_PER_S2 = 398_600.4418


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over a station.

    Args:
        altitude_km: Of the circular orbit.
        highest_deg: Elevation at its highest.
        lowest_deg: Below this nobody looks.
    """

    altitude_km: float
    highest_deg: float = 90.0
    lowest_deg: float = 10.0

    def __post_init__(self) -> None:
        if not 150 <= self.altitude_km <= 50_000:
            raise InputError(
                f"an orbit {self.altitude_km:g} km high is none that is meant here", hint="150 to 50000 km"
            )
        if not 0 <= self.lowest_deg < self.highest_deg <= 90:
            raise InputError("a pass rises from lowest_deg to highest_deg, both between 0 and 90")

    @property
    def period_s(self) -> float:
        """How long one revolution takes (Kepler)."""
        return 2 * math.pi * math.sqrt((EARTH_RADIUS_KM + self.altitude_km) ** 3 / EARTH_GM_KM3_PER_S2)

    @property
    def duration_s(self) -> float:
        """How long it is above the lowest elevation."""
        return 2 * self._seconds_to(_central_angle(self.lowest_deg, self.altitude_km))

    def _seconds_to(self, central_angle: float) -> float:
        nearest = _central_angle(self.highest_deg, self.altitude_km)
        along = math.acos(min(1.0, math.cos(central_angle) / math.cos(nearest)))
        return along * self.period_s / (2 * math.pi)

    def range_km(self, seconds: float) -> float:
        """Return the distance so many seconds after its highest point."""
        nearest = _central_angle(self.highest_deg, self.altitude_km)
        cosine = math.cos(nearest) * math.cos(2 * math.pi * seconds / self.period_s)
        orbit = EARTH_RADIUS_KM + self.altitude_km
        return math.sqrt(orbit**2 + EARTH_RADIUS_KM**2 - 2 * orbit * EARTH_RADIUS_KM * cosine)

    def elevation_deg(self, seconds: float) -> float:
        """Return the elevation so many seconds after its highest point."""
        return elevation_deg(self.range_km(seconds), self.altitude_km)

    def seconds(self, step_s: float = 1.0) -> Iterator[float]:
        """Return the middles of equal steps through the pass, as seconds after its highest point."""
        steps = max(1, round(self.duration_s / step_s))
        width = self.duration_s / steps
        return ((i + 0.5) * width - self.duration_s / 2 for i in range(steps))


def range_km(elevation: float, altitude_km: float) -> float:
    """Return the slant range of a satellite at an elevation in degrees."""
    rise = EARTH_RADIUS_KM * math.sin(math.radians(elevation))
    return math.sqrt(rise**2 + 2 * EARTH_RADIUS_KM * altitude_km + altitude_km**2) - rise


def elevation_deg(distance_km: float, altitude_km: float) -> float:
    """Return the elevation at which a satellite stands at a slant range."""
    sine = (altitude_km**2 + 2 * EARTH_RADIUS_KM * altitude_km - distance_km**2) / (2 * EARTH_RADIUS_KM * distance_km)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def airmass(elevation: float) -> float:
    """Return how much air light crosses, in zenith thicknesses (Kasten and Young 1989)."""
    return 1.0 / (math.sin(math.radians(elevation)) + 0.50572 * math.pow(elevation + 6.07995, -1.6364))


def _central_angle(elevation: float, altitude_km: float) -> float:
    """Return the angle at the Earth's centre between station and satellite, in radians."""
    angle = math.radians(elevation)
    return math.acos(EARTH_RADIUS_KM * math.cos(angle) / (EARTH_RADIUS_KM + altitude_km)) - angle


@dataclass(frozen=True, slots=True)
class Downlink:
    """Beam, telescope, air.

    Args:
        divergence_urad: Full angle of the beam: between the points of 1/e^2 of its intensity for a Gaussian beam, of
            the whole disc for a top-hat.
        aperture_m: Diameter of the ground telescope.
        pointing_urad: Standard deviation of the pointing, per axis.
        zenith_db: Loss in the air straight up.
        fixed_db: Optics, filters and coupling at both ends, the detectors excepted.
    """

    divergence_urad: float
    aperture_m: float
    pointing_urad: float = 0.0
    zenith_db: float = 1.5
    fixed_db: float = 0.0
    beam: Literal["gaussian", "top-hat"] = "gaussian"

    def diffraction_db(self, distance_km: float) -> float:
        """Return what the telescope misses of the beam. Far away the two shapes lie 3 dB apart: papers use both."""
        spot_m = self.divergence_urad * 1e-6 * distance_km * 1e3
        if self.beam == "top-hat":
            return -10 * math.log10(min(1.0, (self.aperture_m / spot_m) ** 2))
        caught = -math.expm1(-2 * (self.aperture_m / spot_m) ** 2)
        return -10 * math.log10(caught)

    def pointing_db(self) -> float:
        """Return the mean loss to pointing: theta^2 / (theta^2 + 4 sigma^2), theta from the middle to 1/e^2."""
        theta = self.divergence_urad / 2
        return -10 * math.log10(theta**2 / (theta**2 + 4 * self.pointing_urad**2))

    def fades_db(self, number: int) -> tuple[float, ...]:
        """Return what pointing costs in so many equally likely cases, which have the mean of `pointing_db`.

        Jitter leaves a share u of the intensity with P(u < x) = x^g, g = theta^2 / (4 sigma^2): where pointing is poor
        the light comes in flashes. Each case is the mean of u over its part of that law.
        """
        if self.pointing_urad < 1e-9 * self.divergence_urad:
            return (0.0,)
        g = (self.divergence_urad / 2) ** 2 / (4 * self.pointing_urad**2)
        edges = [(i / number) ** ((g + 1) / g) for i in range(number + 1)]
        means = [number * g / (g + 1) * (high - low) for low, high in pairwise(edges)]
        return tuple(-10 * math.log10(max(mean, sys.float_info.min)) for mean in means)

    def steady_db(self, distance_km: float, elevation: float) -> float:
        """Return the loss between the satellite's exit and the detectors when it points well."""
        return self.diffraction_db(distance_km) + self.zenith_db * airmass(elevation) + self.fixed_db

    def loss_db(self, distance_km: float, elevation: float) -> float:
        """Return the whole loss, pointing by its mean."""
        return self.steady_db(distance_km, elevation) + self.pointing_db()


def background_hz(
    radiance: float, field_of_view_urad: float, aperture_m: float, filter_nm: float, wavelength_nm: float
) -> float:
    """Return photons of the sky that a telescope sees a second.

    Args:
        radiance: Of the sky, W / (m^2 sr nm): about 1.5e-6 on a moonless night, 1.5e-5 under a full moon, 1.5e-2 by
            day.
        field_of_view_urad: Full angle.
        filter_nm: Width of the filter.
    """
    planck, light = 6.62607015e-34, 299_792_458.0
    solid_angle = math.pi * (field_of_view_urad * 1e-6 / 2) ** 2
    area = math.pi * (aperture_m / 2) ** 2
    watts = radiance * solid_angle * area * filter_nm
    return watts * wavelength_nm * 1e-9 / (planck * light)
