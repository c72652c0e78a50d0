"""The measurement of the KME runs, and what it measures is what it says."""

from __future__ import annotations

from noclone.kms.bench import bench_kme


def test_the_bench_serves_real_requests() -> None:
    result = bench_kme(seconds=0.3, connections=4)
    assert result["requests"] > 0
    assert result["requests_per_s"] > 0
    assert 0 < result["p50_ms"] <= result["p99_ms"]
