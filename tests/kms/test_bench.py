"""The measurement of the KME runs, and what it measures is what it says."""

from __future__ import annotations

from pathlib import Path

from noclone.kms.bench import bench_kme
from noclone.kms.store_bench import bench_store


def test_the_bench_serves_real_requests() -> None:
    result = bench_kme(seconds=0.3, connections=4, n_bytes=16 << 20)
    assert result["requests"] > 0
    assert result["requests_per_s"] > 0
    assert 0 < result["p50_ms"] <= result["p99_ms"]
    assert result["number_128"]["keys_per_s"] >= 128
    assert result["new_connections"]["requests"] > 0
    assert result["half_load"]["requests"] > 0


def test_the_bench_of_a_full_store_claims_what_it_says(tmp_path: Path) -> None:
    result = bench_store(keys=70_000, seconds=0.05, folder=tmp_path)
    assert result["keys"] >= 70_000
    assert [row["keys_a_claim"] for row in result["per_claim"]] == [1, 128]
    assert (
        min(row[which] for row in result["per_claim"] for which in ("almost_empty_keys_per_s", "full_keys_per_s")) > 0
    )
