"""Intercept and resend: what Bob sees follows the closed form, and Eve's record is worth what the books say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.light import transmit
from noclone.link.overheard import overheard
from noclone.link.settings import SeededSettings
from noclone.link.theory import expected_counts, expected_gains
from noclone.records import Basis, DecoyBB84, Origin
from noclone.redteam.intercept_resend import eve_record, intercept_resend, resent_photons
from noclone.redteam.record import information

PROTOCOL = DecoyBB84((0.5, 0.1, 0.002), (0.7, 0.2, 0.1), 0.8, 0.7)
ALICE, PHYSICS = bytes(range(32)), bytes(range(32, 64))
N_SLOTS = 40_000_000


def devices(misalignment=0.0, scheme="active", loss_db=15.0):
    count = 2 if scheme == "active" else 4
    receiver = Receiver(scheme, (0.8,) * count, (100.0,) * count, misalignment=misalignment)
    return LinkDevices(Source(1e9, PROTOCOL), Fibre(50.0, 0.2, loss_db - 10), receiver)


def run(link, tap):
    detections = transmit(
        link,
        alice_seed=ALICE,
        physics_seed=PHYSICS,
        n_slots=N_SLOTS,
        link="a-b",
        block=3,
        origin=Origin("simulated", seeded=True),
        tap=tap,
    )
    return detections, SeededSettings(ALICE, PROTOCOL).at(detections.slots)


def tolerance(mean):
    """Bernstein's bound at a false-alarm probability of 1e-9."""
    log = math.log(2e9)
    return log / 3 + math.sqrt(log * log / 9 + 2 * log * mean)


def qber(detections, codes):
    sifted = ((codes >> 1) & 1) == detections.bases
    return int(sifted.sum()), int((sifted & ((codes & 1) != detections.values)).sum())


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize("fraction", [0.0, 0.2, 1.0])
def test_error_rate_rises_by_a_quarter_of_the_fraction(fraction, scheme):
    e_d = 0.01
    link = devices(e_d, scheme)
    detections, codes = run(link, intercept_resend(link, fraction))
    n, errors = qber(detections, codes)
    expected = (1 - fraction / 2) * e_d + fraction / 4
    # Dark counts are some 1e-5 of the clicks.
    assert abs(errors - n * expected) <= tolerance(n * expected) + n * 2e-4


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_every_gain_and_error_as_in_theory(fraction):
    link = devices(0.02)
    tap = intercept_resend(link, fraction, p_key=0.7)
    detections, codes = run(link, tap)
    expected = expected_counts(link, N_SLOTS, tap)
    for basis, n, m in ((0, expected.n_key, expected.m_key), (1, expected.n_test, expected.m_test)):
        for intensity in range(3):
            those = (codes >> 2 == intensity) & ((codes >> 1) & 1 == basis) & (detections.bases == basis)
            wrong = those & ((codes & 1) != detections.values)
            assert abs(int(those.sum()) - n[intensity]) <= tolerance(n[intensity])
            assert abs(int(wrong.sum()) - m[intensity]) <= tolerance(m[intensity])


@pytest.mark.parametrize("loss_db", [10.0, 15.0, 40.0])
def test_bobs_gain_is_kept(loss_db):
    link = devices(loss_db=loss_db)
    honest, tapped = (expected_gains(link, tap).detection_rate_hz for tap in (None, intercept_resend(link, 1.0)))
    assert tapped == pytest.approx(honest, rel=1e-3)
    assert resent_photons(link) > 1  # she makes up for the pulses in which she found nothing


def test_strength_zero_is_the_honest_run():
    link = devices()
    assert np.array_equal(run(link, intercept_resend(link, 0.0))[0].events, run(link, None)[0].events)


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_eves_record_is_worth_half_a_bit(fraction):
    link = devices()
    tap = intercept_resend(link, fraction)
    detections, codes = run(link, tap)
    view = overheard(
        detections, link, tap, SeededSettings(ALICE, link.source.protocol), alice_seed=ALICE, physics_seed=PHYSICS
    )
    record = eve_record(view)
    sifted = ((codes >> 1) & 1) == detections.bases
    worth = information(record, view, sifted)
    n = worth.sifted_bits
    # Gains are kept on average only: weigh by how many sifted bits she really read.
    assert abs(worth.touched_bits - fraction * n) <= tolerance(fraction * n) + 0.01 * n
    read = worth.touched_bits
    assert abs(worth.information_bits - read / 2) <= tolerance(read / 4)
    assert worth.per_sifted_bit == pytest.approx(fraction / 2, abs=0.02)
    same = record.ground == 1
    assert np.array_equal(record.guess[same], codes[same] & 1)  # right basis, ideal detectors: she is never wrong
    # Where Bob used her basis, his value is hers but for dark counts.
    basis = ((codes >> 1) & 1) ^ (record.ground == 2)
    bobs = (record.ground > 0) & (basis == detections.bases)
    assert np.mean(record.guess[bobs] != detections.values[bobs]) < 1e-3


def test_record_is_empty_without_eve():
    link = devices()
    tap = intercept_resend(link, 0.0)
    detections, _ = run(link, tap)
    view = overheard(
        detections, link, tap, SeededSettings(ALICE, link.source.protocol), alice_seed=ALICE, physics_seed=PHYSICS
    )
    worth = information(eve_record(view), view)
    assert worth.touched_bits == 0
    assert worth.information_bits == 0


def test_a_biased_eve_is_right_more_often_in_her_basis():
    link = devices()
    gains = expected_gains(link, intercept_resend(link, 1.0, p_key=1.0))
    assert gains.error_rate(0, Basis.KEY) < 0.001
    assert gains.error_rate(0, Basis.TEST) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("field", ["fraction", "p_key"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_impossible_strength(field, value):
    with pytest.raises(ValueError, match=field):
        intercept_resend(devices(), **({"fraction": 0.5} | {field: value}))
