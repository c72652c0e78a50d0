"""Entangled pairs: the law of the light against Fock space and published formulas, sampling against the law."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from noclone import rng
from noclone.link.devices import Fibre, Receiver
from noclone.link.pairs import PairDevices, PairSource, transmit_pairs
from noclone.link.pairs_theory import expected_chsh, expected_pair_counts
from noclone.link.settings import MeasuredSettings
from noclone.proofs.entangled import PairSource as Published
from noclone.protocols import EntangledPairs
from noclone.records import NOTHING, Detections, Origin

SEED = rng.seed_from_int(31)
SIGMAS = 6.0  # one in 10^9


def devices(scheme: str = "active", **changes) -> PairDevices:
    detectors = 2 if scheme == "active" else 4
    fields = {"efficiency": (0.6,) * detectors, "dark_count_hz": (2e4,) * detectors, "misalignment": 0.01, **changes}
    receiver = Receiver(scheme, **fields)
    protocol = EntangledPairs(0.7, 0.6) if scheme == "active" else EntangledPairs(0.5, 0.5)
    return PairDevices(PairSource(1e9, 0.1), Fibre(0, 0.2, 5.0), Fibre(0, 0.2, 6.0), receiver, receiver, protocol)


def emit(link: PairDevices, n_slots: int, **changes) -> tuple[np.ndarray, np.ndarray]:
    fields = {"alice_seed": rng.derive(SEED, "a"), "physics_seed": rng.derive(SEED, "p"), "link": "l", "block": 0}
    parts = list(transmit_pairs(link, n_slots=n_slots, **{**fields, **changes}))
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


@pytest.mark.parametrize("angle", [0.0, 22.5, 45.0, 73.0])
@pytest.mark.parametrize("statistics", ["thermal", "poisson"])
def test_silence_is_what_fock_space_says(angle: float, statistics: str) -> None:
    """One detector behind a polariser at either end, Bob's turned; all photon numbers up to five."""
    most, mean, eta_a, eta_b = 6, 0.02, 0.7, 0.4
    lower = np.diag(np.sqrt(np.arange(1, most)), 1)
    one = np.eye(most)
    b_h, b_v = np.kron(lower, one), np.kron(one, lower)
    b = math.cos(math.radians(angle)) * b_h + math.sin(math.radians(angle)) * b_v
    number, states = np.linalg.eigh(b.T @ b)
    unseen_b = states @ np.diag((1 - eta_b) ** number) @ states.T
    unseen_a = np.kron(np.diag((1 - eta_a) ** np.arange(most)), one)
    if statistics == "thermal":
        t = math.sqrt(mean / 2 / (1 + mean / 2))
        amplitudes = np.array([t ** (n + m) * (1 - t * t) for n in range(most) for m in range(most)])
        silent = float(amplitudes @ (unseen_a * unseen_b) @ amplitudes)
    else:
        chosen = [most, 1]  # |H>, |V> of one pair
        pair = np.zeros(most * most)
        pair[chosen] = math.sqrt(0.5)
        silent = math.exp(-mean * (1 - float(pair @ (unseen_a * unseen_b) @ pair)))
    v = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    source = PairSource(1e9, mean, statistics)
    got = source.silence(np.diag([1 - eta_a, 1.0]), np.eye(2) - eta_b * np.outer(v, v))
    assert got == pytest.approx(silent, abs=1e-8)
    assert got < 1 - mean * eta_a / 4


def test_expected_counts_are_ma_fung_lo() -> None:
    link = devices(dark_count_hz=(0.0, 0.0))
    eta = [10 ** (-loss / 10) * 0.6 for loss in (5.0, 6.0)]
    published = Published(0.1, *eta, misalignment=link.misalignment)
    found = expected_pair_counts(link, 10**9)
    for n, m, share in ((found.n_key, found.m_key, 0.7 * 0.6), (found.n_test, found.m_test, 0.3 * 0.4)):
        assert n[0] == pytest.approx(1e9 * share * published.gain(), rel=1e-6)
        assert m[0] / n[0] == pytest.approx(published.error_rate(), rel=1e-6)


def test_a_passive_splitter_costs_half_and_crosses_some_clicks() -> None:
    active = expected_pair_counts(replace(devices(), protocol=EntangledPairs(0.5, 0.5)), 10**9)
    passive = expected_pair_counts(devices("passive"), 10**9)
    assert passive.n_key[0] == pytest.approx(active.n_key[0], rel=0.01)
    assert passive.m_key[0] / passive.n_key[0] > active.m_key[0] / active.n_key[0]


LIMITS = {  # how far the model may be off, beside chance: dead times are taken as independent
    "plain": (devices(), 0.0),
    "passive": (devices("passive"), 0.0),
    "real": (
        devices(
            jitter_ps=60.0, gate_ps=500.0, dead_time_ns=20.0, afterpulse_probability=0.01, afterpulse_lifetime_ns=30.0
        ),
        0.01,
    ),
}


@pytest.mark.parametrize("kind", LIMITS)
def test_sampling_agrees_with_the_formulas(kind: str) -> None:
    link, accuracy = LIMITS[kind]
    n_slots = 40_000_000
    expected = expected_pair_counts(link, n_slots)
    alice, bob = emit(link, n_slots)
    assert len(bob) == pytest.approx(expected.click_rate_hz * n_slots / 1e9, rel=accuracy, abs=SIGMAS * len(bob) ** 0.5)
    codes = MeasuredSettings(Detections("l", 0, n_slots, 1e9, alice, Origin("simulated"))).at(bob >> np.uint64(16))
    both = (codes & NOTHING) == 0
    wrong = (codes & 1) != (bob & np.uint64(1))
    for basis, counts, errors in ((0, expected.n_key, expected.m_key), (1, expected.n_test, expected.m_test)):
        chosen = both & (codes >> 1 & 1 == basis) & ((bob >> np.uint64(1)) & np.uint64(1) == basis)
        for seen, mean in ((chosen.sum(), counts[0]), ((chosen & wrong).sum(), errors[0])):
            assert abs(seen - mean) < SIGMAS * math.sqrt(mean) + 2 * accuracy * mean


def test_the_chsh_value_is_that_of_the_errors() -> None:
    faint = replace(
        devices(dark_count_hz=(0.0, 0.0)), source=PairSource(1e9, 1e-4), protocol=EntangledPairs(0.5, 0.5, 0.3)
    )
    error = faint.misalignment
    assert expected_chsh(faint) == pytest.approx(2 * math.sqrt(2) * (1 - 2 * error), rel=1e-3)


def test_threads_and_segments_change_nothing_but_the_pieces() -> None:
    link = devices(jitter_ps=100.0)
    one = emit(link, 300_000, threads=1, segment_slots=1 << 14)
    two = emit(link, 300_000, threads=2, segment_slots=1 << 14)
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a, b)
        slots = a >> np.uint64(16)
        assert (slots[1:] > slots[:-1]).all()


def test_measured_settings_say_nothing_where_nothing_was_seen() -> None:
    events = np.array([3 << 16 | 1, 7 << 16 | 2], np.uint64)
    settings = MeasuredSettings(Detections("l", 0, 9, 1e9, events, Origin("simulated")))
    assert settings.at(np.array([0, 3, 6, 7, 8], np.uint64)).tolist() == [NOTHING, 1, NOTHING, 2, NOTHING]
    none = MeasuredSettings(Detections("l", 0, 9, 1e9, events[:0], Origin("simulated")))
    assert none.at(np.array([3], np.uint64)).tolist() == [NOTHING]


def test_impossible_sources_are_refused() -> None:
    for bad in ({"clock_hz": 0.0, "mean_pairs": 0.1}, {"clock_hz": 1e9, "mean_pairs": 0.0}):
        with pytest.raises(ValueError, match="must be"):
            PairSource(**bad)
    with pytest.raises(ValueError, match="p_chsh needs"):
        replace(devices("passive"), protocol=EntangledPairs(0.5, 0.5, 0.1))
