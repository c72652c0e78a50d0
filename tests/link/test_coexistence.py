"""Raman noise against the two papers' routes, its maximum, and what it does to the key of a link."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from noclone.errors import ScenarioError
from noclone.io.toml import parse_toml
from noclone.link.coexistence import ClassicalChannel, raman_photons_hz, raman_watts
from noclone.network.blocks import plan_link
from noclone.network.scenario import SHIPPED, Scenario, load_scenario

ZERO_DBM = ClassicalChannel(0.0)


def test_the_power_law_of_eraerds_is_the_photon_law_of_kumar() -> None:
    """Kumar et al. Eq. (6): lambda^3 P rho L e^(-aL) / (2 h c^2) photons in each of two modes per inverse bandwidth."""
    length_km, wavelength, rho, planck, light = 25.0, 1531.12e-9, 3.0e-9, 6.62607015e-34, 299_792_458.0
    alpha = 0.2 * math.log(10) / 10
    rho_per_m = rho * 1e9  # per km and metre of wavelength; the length stays in km
    per_mode = wavelength**3 * 1e-3 * rho_per_m * length_km * math.exp(-alpha * length_km) / (2 * planck * light**2)
    filter_m = 45e-12  # Eraerds et al., Sec. III.1
    modes_hz = 2 * light * filter_m / wavelength**2
    found = raman_photons_hz([ZERO_DBM], length_km, 0.2, filter_nm=0.045, wavelength_nm=1531.12)
    assert found == pytest.approx(per_mode * modes_hz, rel=1e-9)
    assert 1e5 < found < 1e7  # some per cent of a photon in a gate of 1.5 ns at 0 dBm


def test_forward_noise_is_worst_at_the_attenuation_length_and_backward_noise_saturates() -> None:
    worst = max(range(1, 100), key=lambda km: raman_watts(ZERO_DBM, km, 0.2, 3e-9, 1.0))
    assert worst == round(10 / (0.2 * math.log(10)))  # 22 km
    against = ClassicalChannel(0.0, "against")
    end = 1e-3 * 3e-9 / (2 * 0.2 * math.log(10) / 10)
    assert raman_watts(against, 200.0, 0.2, 3e-9, 1.0) == pytest.approx(end, rel=1e-6)
    short = [raman_watts(one, 0.01, 0.2, 3e-9, 1.0) for one in (ZERO_DBM, against)]
    assert short[0] == pytest.approx(short[1], rel=1e-3)
    assert raman_watts(against, 10.0, 0.0, 3e-9, 1.0) == pytest.approx(1e-3 * 10 * 3e-9)


def test_cores_apart_and_hollow_cores_are_quieter() -> None:
    one = raman_photons_hz([ZERO_DBM], 50.0, 0.2)
    assert raman_photons_hz([ClassicalChannel(0.0, crosstalk_db=40.0)], 50.0, 0.2) == pytest.approx(one / 1e4)
    assert raman_photons_hz([ZERO_DBM], 50.0, 0.2, raman_per_km_nm=3e-12) == pytest.approx(one / 1e3)
    assert raman_photons_hz([ZERO_DBM, ZERO_DBM], 50.0, 0.2) == pytest.approx(2 * one)
    assert raman_photons_hz([], 50.0, 0.2) == 0.0


def metro(classical: str) -> Scenario:
    text = SHIPPED.text("metro").replace("[link.fibre]", f"[link.fibre]\n{classical}", 1)
    assert classical in text
    return parse_toml(text, Scenario, ScenarioError, name="metro.toml")


def test_a_link_beside_data_has_more_errors_and_less_key() -> None:
    alone = load_scenario("metro").links[0]
    faint, loud = (metro(f"filter_nm = 0.1\nclassical = [{{power_dbm = {dbm}}}]").links[0] for dbm in (-30, 0))
    rates = [sum(one.devices().receiver.dark_count_hz) for one in (alone, faint, loud)]
    assert rates[0] < rates[1] < rates[2]
    assert rates[2] - rates[0] == pytest.approx(1000 * (rates[1] - rates[0]), rel=1e-6)
    keys = [plan_link(one).agreement.length_bits for one in (alone, faint, loud)]
    assert keys[0] > keys[1] > 0 == keys[2]


def test_a_direction_that_is_none_is_named() -> None:
    with pytest.raises(ScenarioError, match="direction"):
        metro('classical = [{power_dbm = 0, direction = "up"}]')


def test_the_documentation_says_what_the_fields_are() -> None:
    text = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text()
    for field in ("classical", "raman_per_km_nm", "filter_nm"):
        assert f"`{field}`" in text
