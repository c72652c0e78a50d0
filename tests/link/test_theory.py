"""Gains and error rates of every intensity and basis: the light against closed forms, and the closed forms by hand.

Each comparison fails by chance with probability 1e-9 at most (Bernstein's bound on the counts); there are about 1,000.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from noclone.link.theory import expected_counts, expected_gains
from noclone.records import Basis, DecoyBB84

BRIGHT = DecoyBB84((0.9, 0.3, 0.0), (0.5, 0.3, 0.2), 0.5, 0.5)
DIM = DecoyBB84((0.12, 0.02), (0.6, 0.4), 0.95, 0.9)
SNAP = {"dark_count_hz": (50_000.0, 20_000.0)}


def agree(devices, seen, allowed, spread=1.0, model=0.0):
    """Compare counts; `model` is the relative error that the closed form claims for itself."""
    expected = expected_counts(devices, seen.detections.n_slots)
    total = expected.click_rate_hz * seen.detections.n_slots / devices.source.clock_hz
    pairs = [(len(seen.detections), total)]
    for basis, (n, m) in enumerate([(expected.n_key, expected.m_key), (expected.n_test, expected.m_test)]):
        pairs += list(zip(seen.n[:, basis], n, strict=True)) + list(zip(seen.m[:, basis], m, strict=True))
    for number, mean in pairs:
        assert abs(int(number) - mean) <= allowed(mean, spread) + model * mean, (number, mean)


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize("loss_db", [0, 5, 10, 20, 30, 40, 50])
def test_gains_over_loss(make_devices, send, tally, allowed, scheme, loss_db):
    devices = make_devices(loss_db, scheme)
    n_slots = min(10**10, int(3e5 * 10 ** (loss_db / 10)) + 2_000_000)
    agree(devices, tally(devices, send(devices, n_slots)), allowed)


@pytest.mark.parametrize("protocol", [BRIGHT, DIM])
@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_gains_over_mean_photon_numbers(make_devices, send, tally, allowed, protocol, scheme):
    devices = make_devices(12, scheme, protocol=protocol, misalignment=0.03)
    devices = replace(devices, receiver=replace(devices.receiver, loss_db=1.5))
    agree(devices, tally(devices, send(devices, 10_000_000)), allowed)


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize("dead_time_ns", [0.0, 0.6, 1.0, 30.0, 10_000.0])
def test_dead_time(make_devices, send, tally, allowed, scheme, dead_time_ns):
    devices = make_devices(15, scheme, dead_time_ns=dead_time_ns)
    n_slots = 20_000_000 if dead_time_ns < 1000 else 200_000_000
    # Dark counts, which have no place in the slot, make up 1e-4 of the clicks: their half slot counts for nothing here.
    agree(devices, tally(devices, send(devices, n_slots)), allowed)


@pytest.mark.parametrize("dark_count_hz", [0.0, 1e3, 1e6])
def test_dark_counts(make_devices, send, tally, allowed, dark_count_hz):
    devices = make_devices(40, dark_count_hz=(dark_count_hz, 2 * dark_count_hz), gate_ps=250.0)
    seen = tally(devices, send(devices, 300_000_000))
    agree(devices, seen, allowed)
    if dark_count_hz == 0:
        assert seen.m.sum() < 0.05 * seen.n.sum()


@pytest.mark.parametrize(("jitter_ps", "gate_ps"), [(80.0, 200.0), (80.0, None), (300.0, 400.0), (1500.0, 1000.0)])
@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_gate_and_jitter(make_devices, send, tally, allowed, scheme, jitter_ps, gate_ps):
    devices = make_devices(12, scheme, jitter_ps=jitter_ps, gate_ps=gate_ps)
    agree(devices, tally(devices, send(devices, 10_000_000)), allowed)


@pytest.mark.parametrize("lifetime_ns", [0.0, 20.0, 1_000.0])
@pytest.mark.parametrize(("probability", "dead_time_ns"), [(0.05, 30.0), (0.2, 0.0), (0.1, 10_000.0)])
@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_afterpulses(make_devices, send, tally, allowed, scheme, probability, dead_time_ns, lifetime_ns):
    devices = make_devices(
        20,
        scheme,
        afterpulse_probability=probability,
        afterpulse_lifetime_ns=lifetime_ns,
        dead_time_ns=dead_time_ns,
        gate_ps=500.0,
    )
    n_slots = 30_000_000 if dead_time_ns < 1000 else 300_000_000
    # Clicks come in bunches of 1 + p + p^2 + ... on average, which widens the spread by as much at most. The closed
    # form is first order in p times the share of time that the detectors are blind.
    alive = 1 - max(expected_gains(devices).detector_rate_hz) * dead_time_ns * 1e-9
    agree(
        devices,
        tally(devices, send(devices, n_slots)),
        allowed,
        spread=1 / (1 - probability),
        model=probability * (1 - alive),
    )


@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_double_clicks(make_devices, send, allowed, scheme):
    # By hand, for one intensity's light and no dark counts: each detector clicks with 1 - exp(-its share of the light).
    protocol = DecoyBB84((2.0, 1.0), (0.999, 0.001), 0.6, 0.7)
    devices = make_devices(
        3, scheme, protocol=protocol, dark_count_hz=(0.0,) * (2 if scheme == "active" else 4), misalignment=0.05
    )
    n_slots = 300_000
    detections = send(devices, n_slots)
    p_double = 0.0
    efficiency = devices.receiver.efficiency
    for p_mu, mu in zip(protocol.probabilities, protocol.intensities, strict=True):
        light = mu * 10**-0.3
        for p_basis, basis in ((0.6, 0), (0.4, 1)):
            for value in (0, 1):
                straight, crossed = ([0.95, 0.05] if value == 0 else [0.05, 0.95]), [0.5, 0.5]
                if scheme == "active":
                    splits = [(0.7, straight if basis == 0 else crossed), (0.3, straight if basis == 1 else crossed)]
                else:
                    key, test = (straight, crossed) if basis == 0 else (crossed, straight)
                    splits = [(1.0, [0.7 * s for s in key] + [0.3 * s for s in test])]
                for p_split, shares in splits:
                    quiet = [math.exp(-light * s * e) for s, e in zip(shares, efficiency, strict=True)]
                    none = math.prod(quiet)
                    one = sum(none / q * (1 - q) for q in quiet)
                    p_double += p_mu * p_basis / 2 * p_split * (1 - none - one)
    events = detections.events
    several = (events >> np.uint64(2)) & np.uint64(1) == 1
    masks = ((events >> np.uint64(4)) & np.uint64(15)).astype(np.uint8)
    assert np.array_equal(np.bitwise_count(masks) > 1, several)
    assert abs(int(several.sum()) - n_slots * p_double) <= allowed(n_slots * p_double)
    values = detections.values[several]
    assert abs(int(values.sum()) - len(values) / 2) <= allowed(len(values) / 4)
    if scheme == "passive":
        across = ((masks & 3) > 0) & ((masks & 12) > 0)
        assert abs(int(detections.bases[across].sum()) - across.sum() / 2) <= allowed(across.sum() / 4)
        assert np.array_equal(detections.bases[~across], (masks[~across] > 3).astype(np.uint8))


def test_textbook_gain_and_error_rate(make_devices):
    # Ma, Qi, Zhao, Lo 2005, Eqs. 10 and 11 with their exact gain 1 - (1 - Y0) exp(-eta mu); two detectors share Y0.
    protocol = DecoyBB84((0.48, 0.05), (0.5, 0.5), 0.5, 0.5)
    dark, e_d, loss_db, eta_bob = 0.85e-6, 0.033, 21.0, 0.045
    devices = make_devices(
        loss_db,
        clock_hz=2e6,
        protocol=protocol,
        efficiency=(eta_bob, eta_bob),
        dark_count_hz=(dark * 2e6, dark * 2e6),
        misalignment=e_d,
    )
    gains = expected_gains(devices)
    eta = eta_bob * 10 ** (-loss_db / 10)
    y0 = 1 - math.exp(-2 * dark)
    for i, mu in enumerate(protocol.intensities):
        gain = 1 - (1 - y0) * math.exp(-eta * mu)
        error = 0.5 * y0 + e_d * (1 - math.exp(-eta * mu))
        for basis in Basis:
            assert 2 * gains.gain[i][basis] == pytest.approx(gain, rel=1e-12)
            # Their error term counts a photon and a dark count in one slot twice and forgets double clicks.
            assert gains.error_rate(i, basis) == pytest.approx(error / gain, rel=2 * (y0 + eta * mu))


def test_counts_are_gains_times_how_often(make_devices):
    devices = make_devices(10, **SNAP)
    gains, counts = expected_gains(devices), expected_counts(devices, 1000)
    assert counts.n_key == pytest.approx(
        [1000 * p * 0.8 * g[0] for p, g in zip((0.7, 0.2, 0.1), gains.gain, strict=True)]
    )
    assert counts.m_test == pytest.approx(
        [1000 * p * 0.2 * g[1] for p, g in zip((0.7, 0.2, 0.1), gains.error, strict=True)]
    )
    assert counts.click_rate_hz == gains.detection_rate_hz


def test_dead_time_of_a_busy_detector(make_devices):
    # Bright light in every slot: a detector that clicks whenever it can clicks once in ceil(dead time / period) slots.
    protocol = DecoyBB84((900.0, 800.0), (0.5, 0.5), 0.5, 0.5)
    devices = make_devices(0, protocol=protocol, efficiency=(1.0, 1.0), misalignment=0.5, dead_time_ns=30.0)
    for rate in expected_gains(devices).detector_rate_hz:
        assert rate == pytest.approx(1e9 / 30, rel=1e-3)


def test_no_light_no_counts(make_devices):
    devices = make_devices(10, efficiency=(0.0, 0.0), dark_count_hz=(0.0, 0.0))
    gains = expected_gains(devices)
    assert gains.detection_rate_hz == 0
    assert gains.error_rate(0, Basis.KEY) == 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_everything_at_once_with_high_statistics(make_devices, send, tally, allowed, scheme):
    # 4e9 pulses of a metro link: what first-order terms leave out must stay under what they claim.
    devices = make_devices(
        18,
        scheme,
        jitter_ps=120.0,
        gate_ps=500.0,
        dead_time_ns=35.0,
        afterpulse_probability=0.02,
        afterpulse_lifetime_ns=80.0,
    )
    seen = tally(devices, send(devices, 4 * 10**9))
    blind = max(expected_gains(devices).detector_rate_hz) * 35e-9
    agree(devices, seen, allowed, spread=1 / 0.98, model=0.02 * blind + blind / 35)
