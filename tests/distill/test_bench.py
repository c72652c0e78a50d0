"""The figures have the promised keys, and are what they say."""

import pytest

from noclone.distill.bench import bench_amplification, bench_authentication, bench_reconciliation, binary_entropy


def test_reconciliation_figures():
    figures = bench_reconciliation((0.02, 0.05), n_bits=200_000, repeats=1)
    assert [row["qber"] for row in figures["per_qber"]] == [0.02, 0.05]
    for row in figures["per_qber"]:
        assert row["mbps_per_core"] > 0
        assert 1.0 < row["efficiency_f"] < 1.2
        assert row["frame_error_rate"] == 0
        assert row["frames"] == 4


def test_amplification_figures():
    figures = bench_amplification((10_000, 100_000))
    assert [row["block_bits"] for row in figures["per_size"]] == [10_000, 100_000]
    for row in figures["per_size"]:
        assert row["mbps_per_core"] > 1
        assert row["mbps_two_threads"] > 1
        assert 0 < row["mbps_per_core_fresh_seed"] < 3 * row["mbps_per_core"]  # drawing a seed takes time
    assert figures["binary_toeplitz"]["mbps_per_core"] > 0.1


def test_authentication_is_not_seen_in_a_profile():
    figures = bench_authentication(1 << 16)
    assert figures["poly1305_gbps_per_core"] > 0.1
    assert figures["polynomial_hash_gbps_per_core"] > 0.1


@pytest.mark.parametrize(("p", "bits"), [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.11, 0.49991595816452)])
def test_binary_entropy(p, bits):
    assert binary_entropy(p) == pytest.approx(bits, abs=1e-12)
