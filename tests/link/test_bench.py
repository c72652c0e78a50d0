"""The benchmark measures what it says: rates that belong together, for each loss asked for."""

from __future__ import annotations

import pytest

from noclone.link.bench import CLOCK_HZ, bench_devices, bench_link
from noclone.link.theory import expected_gains


def test_bench(allowed):
    measured = bench_link((10.0, 30), seconds=0.05)
    assert set(measured["by_loss_db"]) == {"10", "30"}
    for loss_db, rates in measured["by_loss_db"].items():
        assert rates["realtime_factor"] == pytest.approx(rates["pulses_per_s"] / CLOCK_HZ)
        gain = expected_gains(bench_devices(float(loss_db))).detection_rate_hz / CLOCK_HZ
        # At least 2,000 detections were counted, each segment giving tens of thousands.
        assert rates["detections_per_s"] / rates["pulses_per_s"] == pytest.approx(gain, rel=allowed(2000) / 2000)
    assert measured["by_loss_db"]["30"]["realtime_factor"] > measured["by_loss_db"]["10"]["realtime_factor"]
