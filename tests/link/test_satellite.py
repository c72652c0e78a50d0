"""Satellites: textbook geometry, published losses, the measured Micius pass, and a pass's key."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from noclone.cli.main import run_command
from noclone.errors import InputError
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.satellite import Downlink, Pass, airmass, background_hz, elevation_deg, range_km
from noclone.network.satellite_pass import key_of_pass
from noclone.proofs.epsilon import Epsilons
from noclone.records import DecoyBB84

DATA = Path(__file__).parents[3] / "shared" / "data"
MICIUS_KM = 500.0


def column(name: str) -> list[tuple[float, float]]:
    """Measured data that lie beside a checkout; see tests/data/SOURCES.md."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not here: it does not belong to the project")
    rows = list(csv.reader(path.read_text().splitlines()))[1:]
    return [(float(a), float(b)) for a, b in rows]


def test_a_zenith_pass_at_500_km_lasts_443_s_above_ten_degrees() -> None:
    over = Pass(500.0, 90.0, 10.0)
    assert over.duration_s == pytest.approx(443, abs=1)
    assert over.period_s / 60 == pytest.approx(94.5, abs=0.2)
    assert over.range_km(0.0) == pytest.approx(500.0)
    assert over.elevation_deg(over.duration_s / 2) == pytest.approx(10.0, abs=1e-6)


def test_range_and_elevation_are_each_others_inverse() -> None:
    for elevation in (5.0, 30.0, 89.0):
        assert elevation_deg(range_km(elevation, 500.0), 500.0) == pytest.approx(elevation, abs=1e-9)
    assert range_km(90.0, 500.0) == pytest.approx(500.0)


def test_the_airmass_is_kasten_and_youngs() -> None:
    assert airmass(90.0) == pytest.approx(0.9997, abs=1e-4)
    assert airmass(30.0) == pytest.approx(1.9943, abs=1e-3)
    assert airmass(10.0) == pytest.approx(5.586, abs=5e-3)


def test_the_two_beams_of_the_literature_lie_three_decibels_apart() -> None:
    """Micius, 1200 km, 10 urad, 1 m: the 22 dB that are quoted are a top-hat's."""
    assert Downlink(10.0, 1.0, beam="top-hat").diffraction_db(1200.0) == pytest.approx(21.6, abs=0.05)
    assert Downlink(10.0, 1.0).diffraction_db(1200.0) == pytest.approx(18.6, abs=0.05)
    assert Downlink(10.0, 1.0).diffraction_db(0.1) == pytest.approx(0.0, abs=1e-6)


def test_pointing_costs_what_the_mean_of_a_gaussian_costs() -> None:
    theta, sigma = 5.0, 2.0
    downlink = Downlink(2 * theta, 1.0, sigma)
    total, weight, step = 0.0, 0.0, 0.001
    r = step / 2
    while r < 40:  # the mean of exp(-2 r^2 / theta^2) under a Rayleigh density
        density = r / sigma**2 * math.exp(-(r**2) / (2 * sigma**2))
        total += math.exp(-2 * r**2 / theta**2) * density * step
        weight += density * step
        r += step
    assert 10 ** (-downlink.pointing_db() / 10) == pytest.approx(total / weight, rel=1e-4)


def test_the_measured_micius_track() -> None:
    """Values, one fitted number (when it was highest): 2 km of a thousand."""
    track = column("micius2017_track.csv")[::10]
    over = Pass(MICIUS_KM, elevation_deg(min(km for _, km in track), MICIUS_KM), 5.0)

    def misses(highest_s: float) -> float:
        return math.sqrt(sum((over.range_km(t - highest_s) - km) ** 2 for t, km in track) / len(track))

    assert min(misses(130 + 0.2 * i) for i in range(60)) < 4.0


def test_the_measured_micius_loss() -> None:
    """Values, one fitted number (the fixed loss): within 1 dB rms while the range doubles."""
    measured = column("micius2017_link_efficiency.csv")
    downlink = Downlink(10.0, 1.0, 0.6, 2.0)
    left = [loss - downlink.loss_db(km, elevation_deg(km, MICIUS_KM)) for km, loss in measured]
    mean = sum(left) / len(left)
    assert math.sqrt(sum((one - mean) ** 2 for one in left) / len(left)) < 1.0
    assert 8 < mean < 16


def test_the_sky_by_night_and_by_day() -> None:
    """1 m, 50 urad, 1 nm at 850 nm: some 1e5 photons a second under a full moon, a thousand times that by day."""
    moon = background_hz(1.5e-5, 50.0, 1.0, 1.0, 850.0)
    assert 5e4 < moon < 2e5
    assert background_hz(1.5e-2, 50.0, 1.0, 1.0, 850.0) == pytest.approx(1000 * moon)


def micius(noise_hz: float = 25.0, misalignment: float = 0.008) -> LinkDevices:
    receiver = Receiver(
        scheme="passive",
        efficiency=(0.5,) * 4,
        dark_count_hz=(noise_hz,) * 4,
        gate_ps=2000.0,
        misalignment=misalignment,
    )
    return LinkDevices(Source(1e8, DecoyBB84((0.8, 0.1, 1e-6), (0.5, 0.25, 0.25), 0.5, 0.5)), Fibre(0.0, 0.0), receiver)


def test_a_pass_of_micius_gives_key_of_the_published_order() -> None:
    """Liao et al. 2017: 1,671,072 sifted bits, 300,939 secret ones in 273 s. Order of magnitude: much is recalled."""
    found = key_of_pass(
        Pass(MICIUS_KM, 49.0, 15.0),
        Downlink(10.0, 1.0, 0.6, 2.0, 12.0),
        micius(),
        Epsilons(1e-9, 1e-15),
        proof="lim2014",
        step_s=6.0,
    )
    assert 0.3 < found.secret_bits / 300_939 < 3
    assert 0.3 < found.sifted_bits_both_bases / 1_671_072 < 3
    assert 250 < found.seconds < 400


def test_daylight_ends_the_key() -> None:
    found = key_of_pass(
        Pass(MICIUS_KM, 49.0, 15.0),
        Downlink(10.0, 1.0, 0.6, 2.0, 12.0),
        micius(noise_hz=5e6),
        Epsilons(1e-9, 1e-15),
        proof="lim2014",
        step_s=20.0,
    )
    assert found.secret_bits == 0
    assert found.reason


def test_impossible_passes_are_refused() -> None:
    with pytest.raises(InputError):
        Pass(50.0)
    with pytest.raises(InputError):
        Pass(500.0, 10.0, 20.0)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["satellite", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["secret_bits"] > 100_000
    assert run_command(["satellite", "--noise-hz", "5e6"]) == 1
    assert "NO KEY" in capsys.readouterr().out
    assert run_command(["satellite", "--lowest-deg", "60"]) == 2
    assert "a pass rises" in capsys.readouterr().err
