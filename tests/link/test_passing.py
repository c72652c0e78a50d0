"""Light whose loss changes during a block: the same light as any other, and its cuts leave no trace."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from noclone.link.devices import Fibre, LinkDevices, Receiver
from noclone.link.lights import expected, one_block
from noclone.link.pairs import PairDevices, PairSource, transmit_pairs
from noclone.link.pairs_theory import expected_pair_counts
from noclone.link.passing import PassLight, Stretch, transmit_pairs_down, transmit_pass
from noclone.link.theory import expected_counts
from noclone.protocols import EntangledPairs
from noclone.records import NOTHING, Detections, Origin

SIGMAS = 5.5  # of each comparison: 4e-8


def events(light: PassLight, make_seed: Any, **options: Any) -> np.ndarray:
    seeds = {"alice_seed": make_seed("run/alice"), "physics_seed": make_seed("run/physics")}
    parts = transmit_pass(light, n_slots=light.n_slots, link="a-b", block=0, **seeds, **options)
    return np.concatenate([np.zeros(0, np.uint64), *parts])


def at(devices: LinkDevices, loss_db: float, dark_hz: float = 1000.0) -> LinkDevices:
    receiver = replace(devices.receiver, dark_count_hz=(dark_hz,) * devices.receiver.detectors)
    return replace(devices, fibre=Fibre(0.0, 0.0, loss_db), receiver=receiver)


@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_a_pass_without_change_is_a_fibres_light_bit_for_bit(make_devices, make_seed, send, scheme) -> None:
    devices = make_devices(10, scheme, dead_time_ns=300.0, jitter_ps=200.0, gate_ps=700.0)
    light = PassLight((Stretch(devices, 20_000_000),))
    assert np.array_equal(events(light, make_seed), send(devices, 20_000_000).events)


def test_neither_threads_nor_cuts_change_what_is_there(make_devices, make_seed) -> None:
    base = make_devices(10, "passive", dead_time_ns=5e6, afterpulse_probability=0.1, afterpulse_lifetime_ns=100.0)
    light = PassLight(tuple(Stretch(at(base, 10 + i % 7), 1_000_000 + i) for i in range(20)))
    one = events(light, make_seed, threads=1)
    assert np.array_equal(events(light, make_seed, threads=3), one)
    slots = (one >> np.uint64(Detections.SLOT_SHIFT)).astype(np.int64)
    assert np.all(np.diff(slots) > 0)
    assert slots[0] >= 0
    assert slots[-1] < light.n_slots
    for detector in range(4):  # dead for five stretches: what a detector remembers crosses the cuts
        mine = slots[(one >> np.uint64(Detections.DETECTOR_SHIFT + detector) & np.uint64(1)) == 1]
        assert np.all(np.diff(mine) >= 5_000_000)


def test_counts_of_a_pass_are_those_of_its_stretches(make_devices, make_seed) -> None:
    base = make_devices(10, "passive", dead_time_ns=50.0, jitter_ps=100.0, gate_ps=800.0)
    light = PassLight(tuple(Stretch(at(base, loss, dark), 2_000_000) for loss, dark in
                            ((8, 1e3), (12, 1e5), (20, 1e6), (12, 1e5), (8, 1e3))))  # fmt: skip
    mean = expected(light, light.n_slots)
    parts = [expected_counts(one.devices, one.n_slots) for one in light.stretches]
    assert mean.n_key == pytest.approx([sum(part.n_key[i] for part in parts) for i in range(3)])
    settings, seen = one_block(
        light,
        alice_seed=make_seed("run/alice"),
        physics_seed=make_seed("run/physics"),
        n_slots=light.n_slots,
        link="a-b",
        block=0,
        origin=Origin("simulated", seeded=True),
    )
    codes = settings.at(seen.slots)
    matched, wrong = codes >> 1 & 1 == seen.bases, codes & 1 != seen.values
    for basis, (n, m) in enumerate(((mean.n_key, mean.m_key), (mean.n_test, mean.m_test))):
        for i in range(3):
            here = matched & (seen.bases == basis) & (codes >> 2 == i)
            for found, wanted in ((here.sum(), n[i]), ((here & wrong).sum(), m[i])):
                # dead times are exact to a fraction of a slot in fifty: 0.1 % at most here
                assert abs(float(found) - wanted) < SIGMAS * math.sqrt(wanted) + 2e-3 * wanted
    assert light.loss_db == pytest.approx(-10 * math.log10((2 * 10**-0.8 + 2 * 10**-1.2 + 10**-2) / 5))


def test_what_is_no_pass_is_refused(make_devices, make_seed) -> None:
    devices = make_devices(10)
    with pytest.raises(ValueError, match="only loss and dark counts"):
        PassLight((Stretch(devices, 10), Stretch(make_devices(10, misalignment=0.2), 10)))
    for stretches in ((), (Stretch(devices, 0),)):
        with pytest.raises(ValueError, match="a pass has"):
            PassLight(stretches)
    light = PassLight((Stretch(devices, 10),))
    with pytest.raises(ValueError, match="10 slots, not 11"):
        next(transmit_pass(light, alice_seed=bytes(32), physics_seed=bytes(32), n_slots=11, link="a", block=0))


def pairs(scheme: str = "passive", **changes: Any) -> PairDevices:
    detectors = 2 if scheme == "active" else 4
    fields = {"efficiency": (0.6,) * detectors, "dark_count_hz": (2e4,) * detectors, "misalignment": 0.01, **changes}
    receiver = Receiver(scheme, **fields)
    protocol = EntangledPairs(0.7, 0.6, 0.2) if scheme == "active" else EntangledPairs(0.5, 0.5)
    return PairDevices(PairSource(1e9, 0.1), Fibre(0, 0.2, 5.0), Fibre(0, 0.2, 6.0), receiver, receiver, protocol)


def pairs_at(loss_alice_db: float, loss_db: float, dark_hz: float = 2e4, **changes: Any) -> PairDevices:
    devices = pairs(dark_count_hz=(dark_hz,) * 4, **changes)
    return replace(devices, fibre_alice=Fibre(0, 0, loss_alice_db), fibre=Fibre(0, 0, loss_db))


def both_events(light: PassLight, make_seed: Any, **options: Any) -> list[np.ndarray]:
    seeds = {"alice_seed": make_seed("run/alice"), "physics_seed": make_seed("run/physics")}
    parts = list(transmit_pairs_down(light, n_slots=light.n_slots, link="a-b", block=0, **seeds, **options))
    return [np.concatenate([part[end] for part in parts]) for end in (0, 1)]


@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_pairs_of_a_pass_without_change_are_a_fibres_bit_for_bit(make_seed, scheme) -> None:
    devices = pairs(scheme, dead_time_ns=300.0, jitter_ps=100.0, gate_ps=700.0)
    seeds = {"alice_seed": make_seed("run/alice"), "physics_seed": make_seed("run/physics")}
    parts = list(transmit_pairs(devices, n_slots=6_000_000, link="a-b", block=0, **seeds))
    found = both_events(PassLight((Stretch(devices, 6_000_000),)), make_seed)
    for end in (0, 1):
        assert len(found[end]) > 10_000
        assert np.array_equal(found[end], np.concatenate([part[end] for part in parts]))


def test_both_ends_remember_across_cuts_of_pairs_light(make_seed) -> None:
    stretches = [Stretch(pairs_at(10 + i % 7, 12 - i % 5, dead_time_ns=2e6), 300_000 + i) for i in range(20)]
    light = PassLight(tuple(stretches))
    one = both_events(light, make_seed, threads=1)
    for end, (found, again) in enumerate(zip(both_events(light, make_seed, threads=3), one, strict=True)):
        assert np.array_equal(found, again), end
        slots = (found >> np.uint64(Detections.SLOT_SHIFT)).astype(np.int64)
        assert np.all(np.diff(slots) > 0)
        assert 0 <= slots[0] <= slots[-1] < light.n_slots
        for detector in range(4):  # dead for seven stretches
            mine = slots[(found >> np.uint64(Detections.DETECTOR_SHIFT + detector) & np.uint64(1)) == 1]
            assert len(mine) > 1
            assert np.all(np.diff(mine) >= 2_000_000)


def test_coincidences_of_a_pass_are_those_of_its_stretches(make_seed) -> None:
    cases = ((5, 9, 1e3), (9, 5, 1e5), (15, 15, 1e6), (9, 5, 1e5), (5, 9, 1e3))
    light = PassLight(tuple(Stretch(pairs_at(*case), 4_000_000) for case in cases))
    mean = expected(light, light.n_slots)
    parts = [expected_pair_counts(one.devices, one.n_slots) for one in light.stretches]
    assert mean.n_key[0] == pytest.approx(sum(part.n_key[0] for part in parts))
    settings, seen = one_block(
        light,
        alice_seed=make_seed("run/alice"),
        physics_seed=make_seed("run/physics"),
        n_slots=light.n_slots,
        link="a-b",
        block=0,
        origin=Origin("simulated", seeded=True),
    )
    assert len(seen) == pytest.approx(
        mean.click_rate_hz * light.n_slots / light.clock_hz, abs=SIGMAS * math.sqrt(len(seen))
    )
    codes = settings.at(seen.slots)
    matched, wrong = codes & NOTHING == 0, codes & 1 != seen.values
    for basis, n, m in ((0, mean.n_key, mean.m_key), (1, mean.n_test, mean.m_test)):
        here = matched & (codes >> 1 & 1 == basis) & (seen.bases == basis)
        for found, wanted in ((here.sum(), n[0]), ((here & wrong).sum(), m[0])):
            assert wanted > 300
            assert abs(float(found) - wanted) < SIGMAS * math.sqrt(wanted)
    shares = [10 ** (-(a + b) / 10) for a, b, _ in cases]  # of pairs that arrive whole
    assert light.loss_db == pytest.approx(-10 * math.log10(sum(shares) / 5))


def test_a_pass_is_of_one_kind(make_devices) -> None:
    with pytest.raises(ValueError, match="only loss and dark counts"):
        PassLight((Stretch(pairs(), 10), Stretch(pairs(misalignment=0.1), 10)))
    with pytest.raises(ValueError, match="only loss and dark counts"):
        PassLight((Stretch(pairs(), 10), Stretch(make_devices(10, "passive"), 10)))
    light = PassLight((Stretch(pairs(), 10),))
    with pytest.raises(ValueError, match="10 slots, not 11"):
        next(transmit_pairs_down(light, alice_seed=bytes(32), physics_seed=bytes(32), n_slots=11, link="a", block=0))
