"""MDI and twin-field: the papers' limits, the bounds that nothing beats, and where twin-field wins."""

from __future__ import annotations

import math

import pytest

from noclone.errors import InputError
from noclone.proofs.capacity import chain_bound, network_bound, one_node_bound, repeaterless_bound
from noclone.proofs.middle_station import (
    Arms,
    PhaseNoise,
    bessel_i0,
    cal_rate,
    mdi_gains,
    mdi_rate,
    mdi_single_photons,
    sns_rate,
)
from noclone.units import transmittance

AMPLITUDES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08)


def test_bessel_is_that_of_tables() -> None:
    assert bessel_i0(1.0) == pytest.approx(1.2660658777520084, rel=1e-14)
    assert bessel_i0(5.0) == pytest.approx(27.239871823604442, rel=1e-13)


@pytest.mark.parametrize("misalignment", [0.0, 0.01, 0.03])
def test_mdi_gains_have_the_limits_of_ma_and_razavi(misalignment: float) -> None:
    """Faint light, no dark counts: Y11 = eta^2/2, E_X = 1/4 + e_d/2, Q_X = 2 Q_Z."""
    arms = Arms(0.1, 0.1, 0.0, misalignment)
    single, error = mdi_single_photons(arms)
    assert single == pytest.approx(0.1 * 0.1 / 2)
    assert error == pytest.approx(misalignment)
    gains = mdi_gains(arms, 1e-3, 1e-3)
    assert gains.error_test == pytest.approx(0.25 + misalignment / 2, abs=1e-3)
    assert gains.gain_test / gains.gain_key == pytest.approx(2.0, rel=1e-3)
    assert gains.error_key == pytest.approx(misalignment, abs=1e-9)


def test_mdi_in_darkness_is_half_wrong() -> None:
    gains = mdi_gains(Arms(0.0, 0.0, 1e-6, 0.01), 0.4, 0.4)
    assert gains.error_key == pytest.approx(0.5, abs=1e-2)
    assert mdi_rate(Arms(0.0, 0.0, 1e-6, 0.01), 0.4, 0.4) == 0


def rubenok(loss_db: float, mu: float) -> float:
    """Rubenok et al., Phys. Rev. Lett. 111, 130501 (2013): detectors of 14.5 % and 1.83e-5 dark counts."""
    eta = 0.145 * transmittance(loss_db / 2)
    return mdi_gains(Arms(eta, eta, 1.83e-5, 0.03), mu, mu).error_test


@pytest.mark.parametrize(
    ("loss_db", "mu", "published"), [(9.1, 0.396, 0.270), (13.7, 0.279, 0.274), (18.2, 0.251, 0.274)]
)
def test_mdi_errors_of_the_test_basis_are_those_that_were_measured(loss_db: float, mu: float, published: float) -> None:
    """Bound class: the visibility of 47 % that was measured is one fitted number (e_d = 3 %)."""
    assert rubenok(loss_db, mu) == pytest.approx(published, abs=0.012)


@pytest.mark.parametrize("km", [50, 150, 300, 450, 600])
def test_no_rate_exceeds_its_bound(km: float) -> None:
    channel = transmittance(0.16 * km)
    eta = math.sqrt(channel)
    best_mdi = max(mdi_rate(Arms(eta, eta, 0.0, 0.0), mu, mu, 1.0) for mu in (0.1, 0.3, 0.5, 0.8, 1.0))
    assert best_mdi < repeaterless_bound(channel)
    quiet = PhaseNoise()
    for mu in AMPLITUDES:
        assert cal_rate(eta, 0.0, mu, quiet, 1.0) < one_node_bound(channel)
    for mu in (0.1, 0.3, 0.5, 0.8):
        for sending in (0.01, 0.05, 0.2, 0.5):
            assert sns_rate(eta, 0.0, mu, sending, quiet, 1.0) < one_node_bound(channel)


def test_twin_field_beats_the_repeaterless_bound_where_it_should() -> None:
    """Real detectors (50 %, 1e-9) and 0.1 rad of phase noise: not at 150 km, but at 400."""

    def best(km: float) -> tuple[float, float]:
        eta = 0.5 * transmittance(0.16 * km / 2)
        cal = max(cal_rate(eta, 1e-9, mu, PhaseNoise(0.1)) for mu in AMPLITUDES)
        sns = max(sns_rate(eta, 1e-9, mu, s, PhaseNoise(0.1)) for mu in (0.2, 0.4, 0.6) for s in (0.02, 0.05, 0.1))
        return cal, sns

    near, far = transmittance(0.16 * 150), transmittance(0.16 * 400)
    assert max(best(150)) < repeaterless_bound(near)
    assert min(best(400)) > repeaterless_bound(far)


def test_twin_field_falls_with_the_square_root_of_the_channel() -> None:
    def rate(km: float) -> float:
        return cal_rate(transmittance(0.16 * km / 2), 0.0, 0.02, PhaseNoise())

    assert rate(200) / rate(400) == pytest.approx(10 ** (0.16 * 100 / 10), rel=0.05)


def test_noise_only_takes_key() -> None:
    eta = transmittance(20)
    rates = [cal_rate(eta, 1e-8, 0.02, PhaseNoise(phase)) for phase in (0.0, 0.1, 0.2, 0.4, 0.8)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0
    assert cal_rate(0.0, 1e-6, 0.02, PhaseNoise()) == 0


def test_the_bounds_themselves() -> None:
    assert repeaterless_bound(1.0) == math.inf
    assert repeaterless_bound(1e-16) == pytest.approx(1e-16 / math.log(2), rel=1e-12), "no digits lost at 160 dB"
    assert one_node_bound(0.25) == pytest.approx(1.0)
    assert chain_bound([0.5, 0.25]) == repeaterless_bound(0.25)
    links = {("a", "b"): 0.5, ("b", "d"): 0.5, ("a", "c"): 0.25, ("c", "d"): 0.25}
    assert network_bound(links, "a", "d", multipath=False) == pytest.approx(1.0)
    assert network_bound(links, "a", "d", multipath=True) == pytest.approx(1.0 + repeaterless_bound(0.25))
    assert network_bound(links, "a", "z", multipath=True) == 0
    with pytest.raises(InputError):
        repeaterless_bound(1.2)
