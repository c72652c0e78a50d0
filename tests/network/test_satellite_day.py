"""A day of satellites: keys by night, none by day, what is relayed, pairs from orbit, and files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from noclone.cli.main import run_command
from noclone.network.satellite_day import run_day, sky_hz
from noclone.network.satellite_file import SHIPPED, SatelliteError, load_satellites
from noclone.network.satellite_sections import SkySection

SMALL = """
name = "small"
start = 2026-11-01T00:00:00Z
step_s = 5
[[satellite]]
name = "m"
altitude_km = 500
inclination_deg = 97.36
node_local_time_h = 0.3
[[station]]
name = "a"
latitude_deg = 40.4
longitude_deg = 117.6
[[station]]
name = "b"
latitude_deg = 38.0
longitude_deg = 112.0
[downlink]
divergence_urad = 10
aperture_m = 1.0
pointing_urad = 0.6
zenith_db = 2.0
fixed_db = 12.0
fades = 2
[pairs]
rate_hz = 5.9e7
[[relay]]
between = ["a", "b"]
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_a_night_of_passes_relays_the_smaller_key_and_pairs_need_no_trust(small: Path) -> None:
    found = run_day(load_satellites(small).at("2026-11-01T12:00", 8))
    keys = {one.station: one.key.secret_bits for one in found.passes if one.key.secret_bits}
    assert set(keys) == {"a", "b"}
    assert all(one.sun_deg < -18 for one in found.passes if one.key.secret_bits)
    totals = [sum(one.key.secret_bits for one in found.passes if one.station == end) for end in ("a", "b")]
    assert found.relayed[0].secret_bits == min(totals)
    shared = found.from_orbit[0]
    assert 100 < shared.seconds <= max(one.key.seconds for one in found.passes)
    assert 0.02 < shared.qber < 0.1
    assert shared.pairs > 0
    assert found.to_json()["simulated"] is True
    best = max((one.key for one in found.passes), key=lambda key: key.secret_bits)
    # Published passes count both bases; here both are chosen as often.
    assert found.best()["sifted_bits"] == pytest.approx(2 * best.sifted_bits, rel=1e-4)


def test_noon_gives_no_key(small: Path) -> None:
    found = run_day(load_satellites(small).at("2026-11-01", 8))
    assert found.passes
    assert all(one.sun_deg > 0 and one.key.secret_bits == 0 and one.key.reason for one in found.passes)


def test_the_sky_darkens_through_twilight(small: Path) -> None:
    sky = SkySection()
    assert sky.radiance(10.0) == pytest.approx(sky.day)
    assert sky.radiance(-30.0) == pytest.approx(sky.night)
    assert sky.night < sky.radiance(-12.0) < sky.radiance(-6.0) < sky.day
    brief = load_satellites(small)
    assert sky_hz(brief, 10.0) == pytest.approx(sky_hz(brief, -30.0) * sky.day / sky.night)


def test_the_command_gives_one_document_and_says_whom_to_trust(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["satellite", "day", str(small), "--start", "2026-11-01T12:00", "--hours", "8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["secret_bits"] > 0
    assert run_command(["satellite", "day", str(small), "--start", "2026-11-01T12:00", "--hours", "8"]) == 0
    text = capsys.readouterr().out
    assert "must be trusted" in text
    assert "need not be trusted" in text
    assert run_command(["satellite", "day", str(small), "--start", "2026-11-01", "--hours", "2"]) == 1
    assert "no satellite rises" in capsys.readouterr().out


def test_shipped_days_load() -> None:
    assert SHIPPED.names() == ["micius"]
    brief = load_satellites("micius")
    assert brief.relay
    assert not set(brief.numbers()) - set(brief.origins)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("inclination_deg = 97.36", "", "give either"),
        ("inclination_deg = 97.36", 'inclination_deg = 97.36\nelements = ["1 x", "2 y"]', "give either"),
        ("altitude_km = 500\ninclination_deg = 97.36", 'elements = ["1 x", "2 y"]', "no line 1 of two-line elements"),
        ('between = ["a", "b"]', 'between = ["a", "c"]', "two stations of the file"),
        ('name = "b"', 'name = "a"', "same name"),
        ("divergence_urad = 10", "divergence = 10", "did you mean 'divergence_urad'"),
        ("latitude_deg = 40.4", "latitude_deg = 140.4", "latitude_deg"),
    ],
)
def test_mistakes_are_named(old: str, new: str, message: str, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert old in SMALL
    small.write_text(SMALL.replace(old, new))
    assert run_command(["satellite", "day", str(small)]) == 2
    assert message in capsys.readouterr().err


def test_dates_that_are_none_and_files_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["satellite", "day", "micius", "--start", "tomorrow"]) == 2
    assert "is no date" in capsys.readouterr().err
    with pytest.raises(SatelliteError, match="neither a file nor a shipped"):
        load_satellites("sputnik")
