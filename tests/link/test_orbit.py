"""Orbits against geometry, a twin that turns the Earth by hand, and published sunrises; fading against its law."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from noclone.errors import InputError
from noclone.link.orbit import Circle, Elements, Satellite, Station
from noclone.link.satellite import EARTH_GM_KM3_PER_S2, EARTH_RADIUS_KM, Downlink, Pass
from noclone.link.sun import sun_elevation_deg, sun_right_ascension_deg

EPOCH = datetime(2026, 6, 1, tzinfo=UTC)
XINGLONG = Station("xinglong", 40.40, 117.58, 890.0)
MICIUS = Circle(500.0, 97.4, 0.3)


def unix(*moment: int) -> np.ndarray:
    return np.array(datetime(*moment, tzinfo=UTC).timestamp())


def test_the_sun_rises_and_sets_in_london_when_almanacs_say() -> None:
    """21 June 2026: 04:43 and 21:21 British Summer Time, the upper edge, refraction included: 0.833 degrees below."""
    for moment in ((2026, 6, 21, 3, 43), (2026, 6, 21, 20, 21)):
        assert float(sun_elevation_deg(unix(*moment), 51.5, -0.12)) == pytest.approx(-0.83, abs=0.25)


def test_the_sun_stands_where_the_seasons_put_it() -> None:
    assert float(sun_right_ascension_deg(unix(2026, 3, 20, 14, 46))) % 360 == pytest.approx(0, abs=0.02)  # equinox
    noon = sun_elevation_deg(unix(2026, 12, 21, 12, 0) + np.arange(-3600.0, 3600.0, 60.0), 0.0, 0.0).max()
    assert float(noon) == pytest.approx(90 - 23.44, abs=0.02)


def by_hand(station: Station, unix_s: np.ndarray) -> np.ndarray:
    """Ranges to the circle by Kepler alone, the Earth a turning ball."""
    radius = EARTH_RADIUS_KM + MICIUS.altitude_km
    since = unix_s - EPOCH.timestamp()
    along = math.sqrt(EARTH_GM_KM3_PER_S2 / radius**3) * since
    node = math.radians(float(sun_right_ascension_deg(np.array(EPOCH.timestamp()))) + 15 * (0.3 - 12))
    tilt = math.radians(MICIUS.inclination_deg)
    x, y, z = np.cos(along), np.sin(along) * math.cos(tilt), np.sin(along) * math.sin(tilt)
    place = radius * np.array([x * np.cos(node) - y * np.sin(node), x * np.sin(node) + y * np.cos(node), z])
    turn = np.radians(280.46061837 + 360.98564736629 * (unix_s - 946_728_000) / 86_400 + station.longitude_deg)
    latitude = math.radians(station.latitude_deg)
    ground = (EARTH_RADIUS_KM + station.height_m / 1000) * np.array(
        [np.cos(turn) * math.cos(latitude), np.sin(turn) * math.cos(latitude), np.full_like(turn, math.sin(latitude))]
    )
    return np.linalg.norm(place - ground, axis=0)


def test_passes_of_a_day_agree_with_kepler_over_a_turning_ball() -> None:
    """Sun-synchronous: once or twice each noon and midnight. SGP4 has the Earth's flattening besides, by which the
    satellite comes up to two minutes early or late within a day."""
    passes = list(Satellite("micius", MICIUS, EPOCH).passes(XINGLONG, EPOCH, 24.0, lowest_deg=10.0))
    assert 2 <= len(passes) <= 5
    for track in passes:
        local_h = (track.start.hour + track.start.minute / 60 + XINGLONG.longitude_deg / 15) % 24
        assert min(abs(local_h - 12), local_h, 24 - local_h) < 2.5
        late = (np.abs(track.range_km - by_hand(XINGLONG, track.unix_s + shift)).max() for shift in range(-120, 121, 2))
        assert min(late) < 60
        assert track.duration_s <= 1.05 * Pass(MICIUS.altitude_km, 90.0, 10.0).duration_s
        assert (track.elevation_deg > 10).all()
    night = [track for track in passes if track.sun_deg.max() < 0]
    assert night
    assert len(night) < len(passes)


def test_a_high_pass_lasts_as_long_as_the_textbook_says() -> None:
    satellite = Satellite("micius", MICIUS, EPOCH)
    passes = list(satellite.passes(XINGLONG, EPOCH.replace(hour=14), 4.0))
    best = max(passes, key=lambda track: track.elevation_deg.max())
    theory = Pass(MICIUS.altitude_km, float(best.elevation_deg.max()), 10.0)
    assert best.elevation_deg.max() > 60
    assert best.duration_s == pytest.approx(theory.duration_s, rel=0.05)  # the Earth turns
    assert best.range_km.min() == pytest.approx(theory.range_km(0.0), rel=0.06)


def test_steps_of_two_stations_lie_side_by_side() -> None:
    satellite = Satellite("micius", MICIUS, EPOCH)
    near = Station("near", 41.0, 116.0)
    first, second = (next(iter(satellite.passes(s, EPOCH.replace(hour=14), 4.0))) for s in (XINGLONG, near))
    both = np.intersect1d(first.unix_s, second.unix_s)
    assert both.size > 0.7 * min(first.unix_s.size, second.unix_s.size)


def test_two_line_elements_of_the_space_station_are_read() -> None:
    lines = Elements(
        "1 25544U 98067A   14020.93268519  .00009878  00000-0  18200-3 0  5082",
        "2 25544  51.6498 109.4756 0003572  55.9686 274.8005 15.49815350868473",
    )
    satellite = Satellite("iss", lines, EPOCH)
    start = datetime(2014, 1, 20, 12, tzinfo=UTC)
    passes = list(satellite.passes(Station("vienna", 48.2, 16.4), start, 24.0, lowest_deg=10.0))
    assert 4 <= len(passes) <= 8
    for track in passes:
        assert 400 < track.range_km.min() < 1600
        assert 60 < track.duration_s < 420


def test_what_is_no_orbit_is_refused() -> None:
    with pytest.raises(InputError, match="no line 1 of two-line"):
        Elements("1 garbage", "2 garbage")
    with pytest.raises(InputError):
        Circle(100.0, 90.0)
    satellite = Satellite("micius", MICIUS, EPOCH)
    with pytest.raises(InputError, match="lowest elevation"):
        next(satellite.passes(XINGLONG, EPOCH, 1.0, lowest_deg=95.0))


@pytest.mark.parametrize("pointing_urad", [0.3, 2.0, 6.0])
def test_fades_have_the_mean_and_the_law_of_a_trembling_beam(pointing_urad: float) -> None:
    downlink = Downlink(10.0, 1.0, pointing_urad)
    shares = [10 ** (-fade / 10) for fade in downlink.fades_db(8)]
    assert sum(shares) / 8 == pytest.approx(10 ** (-downlink.pointing_db() / 10), rel=1e-9)
    random = np.random.default_rng(5)
    r2 = (random.normal(0, pointing_urad, (2, 400_000)) ** 2).sum(axis=0)
    drawn = np.sort(np.exp(-2 * r2 / 5.0**2)).reshape(8, -1).mean(axis=1)
    assert shares == pytest.approx(drawn, rel=0.03, abs=0.002)
    assert Downlink(10.0, 1.0).fades_db(8) == (0.0,)
