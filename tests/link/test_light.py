"""The light as a whole: blind to threads and chunks, without drift, true to a slot-by-slot simulator."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from noclone.link.light import transmit_chunks
from noclone.link.segments import segment_length
from noclone.link.tap import NO_TAP, PASS, SETTINGS, Outcome, Tap
from noclone.link.theory import expected_counts
from noclone.records import DecoyBB84, Detections

ALL_ON = {
    "dead_time_ns": 300.0,
    "afterpulse_probability": 0.1,
    "afterpulse_lifetime_ns": 500.0,
    "jitter_ps": 200.0,
    "gate_ps": 700.0,
}


def chunks(devices, make_seed, n_slots, **options):
    keys = {"alice_seed": make_seed("run/alice"), "physics_seed": make_seed("run/physics"), "link": "a-b", "block": 0}
    return transmit_chunks(devices, n_slots=n_slots, **(keys | options))


@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_threads_and_chunks_change_nothing(make_devices, make_seed, send, scheme):
    devices, n_slots = make_devices(10, scheme, **ALL_ON), 20_000_000
    one = send(devices, n_slots, threads=1)
    assert segment_length(0.05) * 4 < n_slots
    for threads in (2, 3, 5):
        assert np.array_equal(send(devices, n_slots, threads=threads).events, one.events)
    parts = list(chunks(devices, make_seed, n_slots))
    assert len(parts) > 4
    assert np.array_equal(np.concatenate(parts), one.events)
    slots = one.slots
    assert np.all(slots[1:] > slots[:-1])
    assert int(slots[-1]) < n_slots


def test_everything_hangs_on_the_seeds(make_devices, make_seed, send):
    devices, n_slots = make_devices(10), 1_000_000
    first = send(devices, n_slots).events
    assert np.array_equal(first, send(devices, n_slots).events)
    for other in ({"block": 1}, {"link": "b-a"}, {"physics_seed": bytes(32)}, {"alice_seed": bytes(32)}):
        assert not np.array_equal(np.concatenate(list(chunks(devices, make_seed, n_slots, **other))), first)


def test_a_longer_block_begins_like_a_shorter_one(make_devices, send):
    devices = make_devices(10)
    short, long = send(devices, 3_000_000).events, send(devices, 9_000_000).events
    assert np.array_equal(long[: len(short)], short)


def test_a_tap_of_strength_zero_is_no_tap(make_devices, send):
    devices = make_devices(10, "passive", **ALL_ON)
    weak = Tap((PASS, Outcome("resend", 50.0), Outcome("stop")), ((1.0, 0.0, 0.0),) * SETTINGS)
    honest = send(devices, 2_000_000).events
    assert np.array_equal(send(devices, 2_000_000, tap=weak).events, honest)
    assert np.array_equal(send(devices, 2_000_000, tap=NO_TAP).events, honest)


def test_closing_early_leaves_no_thread(make_devices, make_seed):
    before = threading.active_count()
    light = chunks(make_devices(10), make_seed, 2**48, threads=3)
    next(light)
    light.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("options", [{"n_slots": 0}, {"n_slots": 2**48 + 1}, {"threads": 0}, {"segment_slots": 0.5}])
def test_bad_requests(make_devices, make_seed, options):
    if options == {"segment_slots": 0.5}:
        options = {"segment_slots": 2**41}
    with pytest.raises(ValueError, match=next(iter(options))):
        next(chunks(make_devices(), make_seed, **({"n_slots": 10} | options)))


def test_darkness(make_devices, send, allowed):
    nothing = make_devices(400, dark_count_hz=(0.0, 0.0), efficiency=(0.0, 0.0), misalignment=0.0)
    assert len(send(nothing, 2**48)) == 0
    dark = make_devices(400, dark_count_hz=(0.001, 0.002))
    detections = send(dark, 2**48)
    expected = 0.003 * 2**48 / 1e9
    assert abs(len(detections) - expected) <= allowed(expected)
    # Rarer than the light proposes: the rejected proposals must leave the law exact.
    rare = make_devices(400, dark_count_hz=(1e-8, 0.0), clock_hz=1e12)
    assert len(send(rare, 2**48)) == 0


def test_one_slot_and_bright_light(make_devices, send):
    bright = replace(make_devices().source, protocol=DecoyBB84((900.0, 800.0), (0.5, 0.5), 0.5, 0.5))
    devices = replace(make_devices(0), source=bright)
    assert len(send(devices, 1)) == 1
    detections = send(devices, 5000)
    assert np.array_equal(detections.slots, np.arange(5000))  # every slot clicks


@pytest.mark.parametrize("clock_hz", [8e7, 1e9, 2.5e9, 3e9])
def test_long_runs_do_not_drift(make_devices, send, tally, clock_hz):
    # A receiver whose frames slip by 1 ps would be 350 slots off after 2^40 slots of 3 GHz, with QBER 1/2 long before.
    period_ps = 1e12 / clock_hz
    devices = make_devices(
        84, clock_hz=clock_hz, dark_count_hz=(0.0, 0.0), jitter_ps=0.02 * period_ps, gate_ps=0.2 * period_ps
    )
    detections = send(devices, 2**41)
    late = detections.events[detections.slots > 2**40]
    seen = tally(devices, Detections("a-b", 0, 2**41, clock_hz, late, detections.origin))
    assert seen.n.sum() > 500
    assert seen.m.sum() / seen.n.sum() < 0.05
    arrival = ((late >> np.uint64(8)) & np.uint64(0xFF)).astype(np.uint8).view(np.int8)
    assert abs(arrival.mean() + 0.5) < 5 * 0.02 * 256 / np.sqrt(len(late))  # centred, half a step off by rounding down
    assert np.abs(arrival.astype(int)).max() <= 26


def slot_by_slot(devices, n_slots, rng):
    """Return events of a simulator that draws photons for every slot; only the basis, value and slot are filled in."""
    receiver, protocol, period = devices.receiver, devices.source.protocol, devices.source.period_ps
    intensity = rng.choice(len(protocol.intensities), n_slots, p=protocol.probabilities)
    basis = (rng.random(n_slots) > protocol.p_key_alice).astype(int)
    value = rng.integers(0, 2, n_slots)
    bob = (rng.random(n_slots) > protocol.p_key_bob).astype(int)
    through = 10 ** (-devices.fibre.loss_db / 10)
    photons = rng.poisson(np.array(protocol.intensities)[intensity] * through)
    clicks = set()
    for slot in np.flatnonzero(photons):
        for _ in range(photons[slot]):
            same = bob[slot] == basis[slot]
            d = value[slot] ^ (rng.random() < receiver.misalignment) if same else rng.integers(0, 2)
            if rng.random() < receiver.efficiency[d]:
                clicks.add((slot, d))
    timed = [(slot * period + rng.normal(0, receiver.jitter_ps), int(d)) for slot, d in clicks]
    for d, rate in enumerate(receiver.dark_count_hz):
        n_dark = rng.poisson(rate * n_slots * period * 1e-12)
        timed += [((u - 0.5) * period, d) for u in rng.random(n_dark) * n_slots]
    timed.sort(reverse=True)
    alive, masks = [-1e99, -1e99], {}
    while timed:
        when, d = timed.pop()
        if when < alive[d]:
            continue
        alive[d] = when + receiver.dead_time_ns * 1e3
        if rng.random() < receiver.afterpulse_probability:
            timed.append((alive[d] + rng.exponential(receiver.afterpulse_lifetime_ns * 1e3), d))
            timed.sort(reverse=True)
        slot = round(when / period)
        if abs(when - slot * period) < (receiver.gate_ps or period) / 2 and 0 <= slot < n_slots:
            masks[slot] = masks.get(slot, 0) | 1 << d
    slots = np.array(sorted(masks))
    mask = np.array([masks[s] for s in slots])
    read = np.where(mask == 3, rng.integers(0, 2, len(mask)), mask >> 1)
    same = bob[slots] == basis[slots]
    cell = intensity[slots] * 2 + basis[slots]
    wrong = same & (read != value[slots])
    n = np.bincount(cell[same], minlength=6).reshape(-1, 2)
    return len(slots), n, np.bincount(cell[wrong], minlength=6).reshape(-1, 2), int((mask == 3).sum())


def test_agrees_with_a_slot_by_slot_simulator(make_devices, make_seed, tally, allowed):
    devices = make_devices(8, **(ALL_ON | {"dead_time_ns": 40.0, "dark_count_hz": (2e6, 1e6)}))
    slow_slots, fast_slots = 400_000, 8_000_000
    total, n, m, double = slot_by_slot(devices, slow_slots, np.random.default_rng(11))
    events = np.concatenate(list(chunks(devices, make_seed, fast_slots, segment_slots=1000)))
    detections = Detections("a-b", 0, fast_slots, 1e9, events, None)  # type: ignore[arg-type]
    fast = tally(devices, detections)
    ratio = slow_slots / fast_slots
    fast_double = int(((events >> np.uint64(2)) & np.uint64(1)).sum())
    pairs = [(total, len(events)), (double, fast_double)]
    pairs += list(zip(n.ravel(), fast.n.ravel(), strict=True)) + list(zip(m.ravel(), fast.m.ravel(), strict=True))
    for slow, quick in pairs:
        expected = quick * ratio
        # Both are random, so their difference varies more by the ratio. Afterpulses make clicks come in bunches.
        assert abs(slow - expected) <= allowed(max(expected * (1 + ratio), 1.0), spread=1.1)


def test_short_segments_and_long_dead_time(make_devices, make_seed, allowed):
    # 10 us of dead time is ten segments of 1,000 slots: a cut that forgets the dead time would show as more clicks.
    devices = make_devices(5, dead_time_ns=10_000.0, dark_count_hz=(0.0, 0.0))
    n_slots = 4_000_000
    events = np.concatenate(list(chunks(devices, make_seed, n_slots, segment_slots=1000)))
    for d in (0, 1):
        slots = (events[(events >> np.uint64(4 + d)) & np.uint64(1) == 1] >> np.uint64(16)).astype(np.int64)
        gaps = np.diff(slots)
        assert gaps.min() >= 10_000
        assert np.mean(gaps) < 10_100
    expected = expected_counts(devices, n_slots).click_rate_hz * n_slots / 1e9
    assert abs(len(events) - expected) <= allowed(expected)
    whole = np.concatenate(list(chunks(devices, make_seed, n_slots)))
    assert abs(len(events) - len(whole)) <= 2 * allowed(expected)


@pytest.mark.parametrize("dead_time_ns", [0.0, 30.0, 10_000.0])
def test_time_between_clicks(make_devices, send, allowed, dead_time_ns):
    # Once alive again, a detector waits a geometric time: the shifted gaps have mean 1/p and no memory.
    devices = make_devices(20, dead_time_ns=dead_time_ns, dark_count_hz=(0.0, 0.0))
    n_slots = 20_000_000 if dead_time_ns < 1000 else 400_000_000
    events = send(devices, n_slots).events
    slots = (events[(events >> np.uint64(4)) & np.uint64(1) == 1] >> np.uint64(16)).astype(np.int64)
    blind = max(0, int(dead_time_ns) - 1)  # slots at 1 GHz: the one that begins as the dead time ends is seen
    waits = np.diff(slots) - blind
    assert waits.min() == 1
    protocol = devices.source.protocol
    p = 0.0  # that detector 0 would click in a slot, worked out by hand for this receiver
    for p_mu, mu in zip(protocol.probabilities, protocol.intensities, strict=True):
        for p_alice, p_same in ((0.8, 0.7), (0.2, 0.3)):
            for weight, share in ((p_same / 2, 0.99), (p_same / 2, 0.01), (1 - p_same, 0.5)):
                p += p_mu * p_alice * weight * -np.expm1(-mu * 0.9 * 0.01 * share)
    assert abs(waits.mean() * p - 1) <= allowed(len(waits)) / len(waits)
    for quantile in (0.1, 0.5, 0.9):
        limit = int(np.log(1 - quantile) / np.log1p(-p))
        expected = len(waits) * (1 - (1 - p) ** limit)
        assert abs(int((waits <= limit).sum()) - expected) <= allowed(expected)


SENT_ELSEWHERE = """
import hashlib
from noclone.link.aes_simd import VARIANT
from noclone.link.bench import bench_devices, fibre_devices
from noclone.link.light import transmit_chunks

digest = hashlib.sha256()
for devices in (bench_devices(10), fibre_devices(0)):
    for events in transmit_chunks(
        devices, alice_seed=bytes(32), physics_seed=bytes(32), n_slots=300_000, link="a-b", block=0
    ):
        digest.update(events.tobytes())
print(VARIANT, digest.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_portable_variant_gives_the_same_light():
    command = [sys.executable, "-c", SENT_ELSEWHERE]
    results = {}
    for wanted in ("portable", ""):
        environment = {**os.environ, "NOCLONE_SIMD": wanted}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        variant, results[wanted] = done.stdout.split()
        assert wanted in ("", variant)
    assert results["portable"] == results[""] != hashlib.sha256().hexdigest()
