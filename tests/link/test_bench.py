"""The benchmark measures what it says: rates that belong together, for each link asked for."""

from __future__ import annotations

import pytest

from noclone.link.bench import CLOCK_HZ, bench_devices, bench_link, fibre_devices
from noclone.link.theory import expected_gains


def test_bench(allowed):
    measured = bench_link((10, 30), (50.0,), seconds=0.02)
    assert set(measured["by_loss_db"]) == {"10", "30"}
    assert set(measured["by_length_km"]) == {"50"}
    for name, make in (("by_loss_db", bench_devices), ("by_length_km", fibre_devices)):
        for key, rates in measured[name].items():
            assert rates["realtime_factor"] == pytest.approx(rates["pulses_per_s"] / CLOCK_HZ)
            assert rates["realtime_factor_one_thread"] > 0
            gain = expected_gains(make(float(key))).detection_rate_hz / CLOCK_HZ
            # At least 2,000 detections were counted, each segment giving tens of thousands.
            seen = rates["detections_per_s"] / rates["pulses_per_s"]
            assert seen == pytest.approx(gain, rel=allowed(2000) / 2000)
    assert measured["threads"] == 2
    assert measured["by_loss_db"]["30"]["realtime_factor"] > measured["by_loss_db"]["10"]["realtime_factor"]


def test_the_links_are_those_that_the_targets_speak_of():
    devices = fibre_devices(100)
    assert devices.fibre.loss_db == 21
    assert devices.receiver.detectors == 4
    assert bench_devices(20).fibre.loss_db == 20
