"""What devices report: simulated reports against closed forms, and light of other laws against sums over all cases."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest

from noclone.link.expected_telemetry import expected_telemetry
from noclone.link.flaws import Flaws, Guards
from noclone.link.slotlaw import Law, independent, photon_by_photon
from noclone.link.tap import NO_TAP, Outcome, Tap
from noclone.link.telemetry import Tally, Telemetry, measure, photocurrent_ua

N_SLOTS = 4_000_000
ALL = Guards(photocurrent=True, dark_slots=0.05, arrivals=True, output_meter=True, input_meter=True, setting_meter=True)


def tolerance(mean, sigmas=6.0):
    return sigmas * math.sqrt(mean) + sigmas**2 / 3


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize("jitter_ps", [0.0, 80.0])
def test_reports_of_honest_light_are_as_expected(make_devices, send, scheme, jitter_ps):
    link = replace(make_devices(scheme=scheme, jitter_ps=jitter_ps), guards=ALL)
    events = send(link, N_SLOTS).events
    tally = Tally(link.receiver.detectors)
    for first in range(0, len(events), 10_000):
        tally.add(events[first : first + 10_000])
    seen, expected = measure(tally, link, link, None, N_SLOTS, bytes(32), "x"), expected_telemetry(link)
    assert seen.events == len(events)
    assert abs(seen.events - N_SLOTS * expected.event) <= tolerance(N_SLOTS * expected.event)
    for clicks, p in zip(seen.clicks, expected.clicks, strict=True):
        assert abs(clicks - N_SLOTS * p) <= tolerance(N_SLOTS * p) + 1e-3 * N_SLOTS * p
    assert abs(seen.multiple - N_SLOTS * expected.multiple) <= tolerance(N_SLOTS * expected.multiple) * 1.1
    assert sum(seen.arrivals) == seen.events
    for n, share in zip(seen.arrivals, expected.arrivals, strict=True):
        assert abs(n - seen.events * share) <= tolerance(seen.events * share) + 0.002 * seen.events * share
    for value, planned in (
        (seen.photocurrent_ua, expected.photocurrent_ua),
        (seen.output, 1.0),
        (seen.input_photons, expected.input_photons),
    ):
        assert value == pytest.approx(planned, rel=0.02)
    assert seen.setting_deviation == 0
    assert Telemetry.from_json(asdict(seen)) == seen


def test_meters_that_are_not_there_read_nothing(make_devices):
    link = make_devices()
    seen = measure(Tally(2), link, link, None, N_SLOTS, bytes(32), "x")
    assert (seen.photocurrent_ua, seen.dark_counts, seen.arrivals, seen.output) == (None, None, None, None)


def test_bright_light_drives_a_current_that_photons_do_not(make_devices):
    link = replace(make_devices(), flaws=Flaws(linear_never_uw=650.0, linear_always_uw=800.0))
    blind = Outcome("bright", power_uw=700.0, blind=True)
    tap = Tap((Outcome("pass"), blind), ((0.99, 0.01),) * 16)
    assert photocurrent_ua(link, tap, 1e6) > photocurrent_ua(link, NO_TAP, 1e6) + 5


def test_dark_counts_of_blind_detectors_vanish(make_devices):
    link = replace(make_devices(dark_count_hz=(1e6, 1e6)), guards=ALL)
    blind = Tap((Outcome("pass"), Outcome("bright", blind=True)), ((0.0, 1.0),) * 16)
    counts = [measure(Tally(2), link, link, tap, 10**9, bytes(32), "x").dark_counts for tap in (None, blind)]
    assert abs(counts[0] - 100_000) < 6 * 317
    assert counts[1] == 0


def test_photons_go_one_by_one():
    """Against a sum over where each of k photons goes."""
    shares = np.array([0.3, 0.15, 0.05])
    lost = 1 - shares.sum()
    for photons in (1, 2, 3):
        expected = np.zeros(8)
        for places in product(range(4), repeat=photons):
            p = math.prod([*shares, lost][place] for place in places)
            expected[sum({1 << place for place in places if place < 3})] += p
        assert photon_by_photon(photons, shares) == pytest.approx(expected)


def test_a_law_joins_light_and_darkness():
    law = Law(independent(np.array([0.5, 0.2])), np.array([0.1, 0.3]))
    dark = -np.expm1(-law.dark)
    both = 1 - (1 - np.array([0.5, 0.2])) * (1 - dark)
    masks = {mask: p for p, mask in law.masks()}
    assert masks[3] == pytest.approx(both[0] * both[1])
    assert masks[1] == pytest.approx(both[0] * (1 - both[1]))
    assert law.click() == pytest.approx([0.5, 0.2])
    assert law.none_outside(np.ones(2), dark)[0] == pytest.approx(math.prod(1 - both))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Flaws(linear_never_uw=5.0, linear_always_uw=4.0), "at most linear_always_uw"),
        (lambda: Flaws(mismatch=1.5), "mismatch"),
        (lambda: Guards(dark_slots=0.5), "dark_slots"),
        (lambda: Outcome("bright", power_uw=-1.0), "power uw"),
        (lambda: Outcome("resend", photons=100), "photons"),
        (lambda: Outcome("pass", shift=0.7), "shift"),
    ],
)
def test_impossible_devices_and_light(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_linear_mode_clicks_above_its_threshold():
    flaws = Flaws(linear_never_uw=600.0, linear_always_uw=800.0)
    assert [flaws.linear_click(power) for power in (0, 600, 700, 800, 1e6)] == [0, 0, 0.5, 1, 1]
    assert Flaws().linear_click(1e9) == 0
