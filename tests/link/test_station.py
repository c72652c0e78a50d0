"""MDI-QKD's station: its law against Ma and Razavi, sampling against the law."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone import rng
from noclone.link.devices import Fibre, Receiver
from noclone.link.meeting import expected_station_counts, transmit_to_station
from noclone.link.settings import SeededSettings
from noclone.link.station import BellStation
from noclone.proofs.middle_station import Arms, mdi_gains
from noclone.protocols import DecoyMdi, Sender

SEED = rng.seed_from_int(32)
SIGMAS = 6.0
ALICE = Sender((0.5, 0.1, 0.001), (0.5, 0.3, 0.2), 0.6)
BOB = Sender((0.4, 0.08, 0.0), (0.4, 0.4, 0.2), 0.5)


def devices(**changes) -> BellStation:
    fields = {"efficiency": (0.6,) * 4, "dark_count_hz": (1e4,) * 4, "misalignment": 0.015, **changes}
    return BellStation(1e9, Fibre(0, 0.2, 3.0), Fibre(0, 0.2, 5.0), Receiver("passive", **fields), DecoyMdi(ALICE, BOB))


def emit(link: BellStation, n_slots: int, **changes) -> np.ndarray:
    fields = {"alice_seed": rng.derive(SEED, "a"), "physics_seed": rng.derive(SEED, "p"), "link": "l", "block": 0}
    return np.concatenate(list(transmit_to_station(link, n_slots=n_slots, **{**fields, **changes})))


def test_expected_counts_are_those_of_ma_and_razavi() -> None:
    """Asymmetric arms and intensities; all nine pairs of intensities, both bases."""
    link = devices()
    found = expected_station_counts(link, 10**9)
    arms = Arms(10**-0.3 * 0.6, 10**-0.5 * 0.6, -math.expm1(-1e-5), 0.015)
    for i, (mu, p) in enumerate(zip(ALICE.intensities, ALICE.probabilities, strict=True)):
        for j, (nu, q) in enumerate(zip(BOB.intensities, BOB.probabilities, strict=True)):
            gains, sent, one = mdi_gains(arms, mu, nu), 1e9 * p * q, 3 * i + j
            assert found.n_key[one] == pytest.approx(sent * 0.3 * gains.gain_key, rel=1e-6)
            assert found.n_test[one] == pytest.approx(sent * 0.2 * gains.gain_test, rel=1e-6)
            assert found.m_key[one] == pytest.approx(found.n_key[one] * gains.error_key, rel=1e-5)
            assert found.m_test[one] == pytest.approx(found.n_test[one] * gains.error_test, rel=1e-5)


@pytest.mark.parametrize("changes", [{}, {"jitter_ps": 80.0, "gate_ps": 400.0, "dead_time_ns": 10.0}])
def test_sampling_agrees_with_the_law(changes: dict[str, float]) -> None:
    link, n_slots = devices(**changes), 30_000_000
    expected = expected_station_counts(link, n_slots)
    events = emit(link, n_slots)
    codes = SeededSettings(rng.derive(SEED, "a"), ALICE).at(events >> np.uint64(16)).astype(np.int64)
    low = events.astype(np.int64) & 0xFFFF
    wrong = codes & 1 != low & 1
    classes = 3 * (codes >> 2) + (low >> 8)
    for basis, counts, errors in ((0, expected.n_key, expected.m_key), (1, expected.n_test, expected.m_test)):
        chosen = (codes >> 1 & 1 == basis) & (low >> 1 & 1 == basis)
        for rows, means in ((chosen, counts), (chosen & wrong, errors)):
            seen = np.bincount(classes[rows], minlength=9)
            for n, mean in zip(seen, means, strict=True):
                assert abs(n - mean) < SIGMAS * math.sqrt(mean) + 20  # small means have longer tails than normal ones


def test_without_overlap_nothing_is_learned_in_the_test_basis() -> None:
    link = BellStation(1e9, Fibre(0, 0.2), Fibre(0, 0.2), devices().receiver, DecoyMdi(ALICE, ALICE), 0.0)
    found = expected_station_counts(link, 10**9)
    assert sum(found.m_test) / sum(found.n_test) == pytest.approx(0.5, abs=1e-9)


def test_threads_change_nothing() -> None:
    link = devices()
    one = emit(link, 2_000_000, threads=1, segment_slots=1 << 18)
    assert np.array_equal(one, emit(link, 2_000_000, threads=2, segment_slots=1 << 18))
    assert (np.diff((one >> np.uint64(16)).astype(np.int64)) > 0).all()


def test_a_station_has_four_detectors() -> None:
    with pytest.raises(ValueError, match="4 detectors"):
        BellStation(1e9, Fibre(0, 0), Fibre(0, 0), Receiver("active", (0.5,) * 2, (0.0,) * 2), DecoyMdi(ALICE, BOB))
