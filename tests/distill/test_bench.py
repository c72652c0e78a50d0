"""The figures have the promised keys, and are what they say."""

import numpy as np
import pytest

from noclone.bits import count_ones, unpack
from noclone.distill.bench import bench_amplification, bench_authentication, bench_reconciliation, binary_entropy
from noclone.distill.cascade import plan
from noclone.distill.cascade_bench import bad_frames, interval_95, random_errors


def test_reconciliation_figures():
    figures = bench_reconciliation((0.02, 0.05), n_bits=200_000, repeats=1, flights=((0.002, 1, 2), (0.01, 4, 8)))
    assert [row["qber"] for row in figures["per_qber"]] == [0.02, 0.05]
    for row in figures["per_qber"]:
        assert row["mbps_per_core"] > 0
        assert 1.0 < row["efficiency_f"] < 1.2
        assert row["frame_error_rate"] == 0
        assert row["frames"] == 4
        # Of 4 frames none failed: the rate is below the root of (1 - p)^4 = 0.025.
        assert row["frame_error_rate_95"] == (0.0, pytest.approx(1 - 0.025**0.25))
        assert row["mbps_two_threads"] > 0
    alone, four = figures["delayed"]
    for row in (alone, four):
        assert row["rounds"] > 10
        # No round was faster than the line; only as many blocks shared it as were in flight.
        assert 0 < row["mbps"] < row["blocks_in_flight"] * 0.2 / (1e-3 * row["round_trip_ms"] * row["rounds"])
    # Two runs of four blocks beside each other: one after the other they would take eight times a block's round trips.
    assert four["mbps"] > 1.2 * 0.2 / (0.01 * four["rounds"])


@pytest.mark.parametrize(
    ("bad", "total", "lower", "upper"),
    [(1, 10, 0.00253, 0.44502), (5, 10, 0.18709, 0.81291), (10, 10, 0.69150, 1.0), (3, 1000, 0.000619, 0.008742)],
)
def test_confidence_intervals(bad, total, lower, upper):
    """Quantiles of the beta distribution, as SciPy 1.15 gives them."""
    assert interval_95(bad, total) == (pytest.approx(lower, rel=2e-3), pytest.approx(upper, rel=2e-3))


def test_amplification_figures():
    figures = bench_amplification((10_000, 100_000))
    assert [row["block_bits"] for row in figures["per_size"]] == [10_000, 100_000]
    for row in figures["per_size"]:
        assert row["mbps_per_core"] > 1
        assert row["mbps_two_threads"] > 1
        assert 0 < row["mbps_per_core_fresh_seed"] < 3 * row["mbps_per_core"]  # drawing a seed takes time
    assert figures["binary_toeplitz_mbps_per_core"] > 0.1


def test_authentication_is_not_seen_in_a_profile():
    figures = bench_authentication(1 << 16)
    assert figures["poly1305_gbps_per_core"] > 0.1
    assert figures["polynomial_hash_gbps_per_core"] > 0.1


@pytest.mark.parametrize(("p", "bits"), [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.11, 0.49991595816452)])
def test_binary_entropy(p, bits):
    assert binary_entropy(p) == pytest.approx(bits, abs=1e-12)


@pytest.mark.parametrize(("n_bits", "qber"), [(1000, 0.0), (100_000, 0.03), (3_000_001, 0.08), (640, 1.0)])
def test_errors_come_at_their_rate_and_everywhere(n_bits, qber):
    errors = random_errors(np.random.default_rng(3), n_bits, qber)
    assert len(errors) == -(-n_bits // 64)
    for part in (errors, errors[: len(errors) // 2]):
        n = min(64 * len(part), n_bits)
        assert abs(count_ones(part) - n * qber) <= 5 * (n * qber * (1 - qber)) ** 0.5
    bits = unpack(errors, n_bits)
    pairs = int((bits[1:] & bits[:-1]).sum())  # neighbours are independent
    assert abs(pairs - n_bits * qber**2) <= 6 * (n_bits * qber**2) ** 0.5 + 1


def test_a_frame_is_counted_once_however_many_bits_are_wrong():
    params = plan(1 << 20, 0.02, bytes(32))
    (group,) = params.groups
    assert (group.lanes, group.batches) == (16, 1)
    difference = np.zeros(1 << 14, np.uint64)
    assert bad_frames(difference, params) == (0, 16)
    difference[5] = difference[9000] = 1 << 3 | 1 << 19  # four bits of frame 3
    assert bad_frames(difference, params) == (1, 16)
    difference[70] = 1 << 4
    assert bad_frames(difference, params) == (2, 16)
