"""Twin-field's station: its law against the published formula, sampling against the law."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone import rng
from noclone.link.devices import Fibre, Receiver
from noclone.link.meeting import expected_station_counts, transmit_to_station
from noclone.link.settings import SeededSettings
from noclone.link.twin import TwinStation
from noclone.protocols import Sender, TwinField

SEED = rng.seed_from_int(33)
SIGMAS = 6.0
ALICE = Sender((0.7, 0.08, 0.001), (0.2, 0.4, 0.4), 0.6)
BOB = Sender((0.5, 0.06, 0.0), (0.2, 0.4, 0.4), 0.7)


def devices(**changes) -> TwinStation:
    fields = {"efficiency": (0.6,) * 2, "dark_count_hz": (1e4,) * 2, "misalignment": 0.0, **changes}
    noise = fields.pop("phase_noise_rad", 0.0)
    arms = Fibre(0, 0.2, 10.0), Fibre(0, 0.2, 8.0)
    return TwinStation(1e9, *arms, Receiver("active", **fields), TwinField(ALICE, BOB, 0.03, 0.02), 1.0, noise)


def test_the_key_basis_is_that_of_curty_azuma_and_lo() -> None:
    """p_XX and e_X of equal arms, per announcement, in their form; noise enters as what is left of the interference."""
    sender = Sender((0.7, 0.08, 0.0), (0.2, 0.4, 0.4), 0.5)
    receiver = Receiver("active", (0.5,) * 2, (1e4,) * 2)
    link = TwinStation(1e9, Fibre(0, 0.2, 9.0), Fibre(0, 0.2, 9.0), receiver, TwinField(sender, sender, 0.03, 0.03))
    found = expected_station_counts(link, 10**9)
    gamma, live = 0.03 * 10**-0.9 * 0.5, math.exp(-1e-5)
    gain = 0.5 * live * (math.exp(-gamma) + math.exp(gamma)) * math.exp(-gamma) - live**2 * math.exp(-2 * gamma)
    error = math.exp(-gamma) - live * math.exp(-gamma)
    error /= math.exp(-gamma) + math.exp(gamma) - 2 * live * math.exp(-gamma)
    assert sum(found.n_key) == pytest.approx(1e9 * 0.25 * 2 * gain, rel=1e-6)
    assert sum(found.m_key) / sum(found.n_key) == pytest.approx(error, rel=1e-5)


def test_phase_noise_errs_as_its_variance_says() -> None:
    quiet, noisy = (
        expected_station_counts(devices(dark_count_hz=(0.0,) * 2, phase_noise_rad=s), 10**9) for s in (0.0, 0.2)
    )
    grown = sum(noisy.m_key) / sum(noisy.n_key) - sum(quiet.m_key) / sum(quiet.n_key)
    a, b = 0.03 * 10**-1.0, 0.02 * 10**-0.8
    contrast = 2 * math.sqrt(a * b) / (a + b)
    assert grown == pytest.approx(contrast * -math.expm1(-0.02) / 2, rel=0.01)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_sampling_agrees_with_the_law(noise: float) -> None:
    link, n_slots = devices(phase_noise_rad=noise, misalignment=0.01), 20_000_000
    expected = expected_station_counts(link, n_slots)
    parts = transmit_to_station(
        link, alice_seed=rng.derive(SEED, "a"), physics_seed=rng.derive(SEED, "p"), n_slots=n_slots, link="l", block=0
    )
    events = np.concatenate(list(parts))
    codes = SeededSettings(rng.derive(SEED, "a"), ALICE).at(events >> np.uint64(16)).astype(np.int64)
    low = events.astype(np.int64) & 0xFFFF
    wrong = codes & 1 != low & 1
    classes = 3 * (codes >> 2) + (low >> 8)
    for basis, counts, errors in ((0, expected.n_key, expected.m_key), (1, expected.n_test, expected.m_test)):
        chosen = (codes >> 1 & 1 == basis) & (low >> 1 & 1 == basis)
        for rows, means in ((chosen, counts), (chosen & wrong, errors)):
            seen = np.bincount(classes[rows], minlength=9)
            for n, mean in zip(seen, means, strict=True):
                assert abs(n - mean) < SIGMAS * math.sqrt(mean) + 20


def test_a_station_for_twin_fields_has_two_detectors() -> None:
    with pytest.raises(ValueError, match="2 detectors"):
        TwinStation(
            1e9,
            Fibre(0, 0),
            Fibre(0, 0),
            Receiver("passive", (0.5,) * 4, (0.0,) * 4),
            TwinField(ALICE, BOB, 0.03, 0.02),
        )
