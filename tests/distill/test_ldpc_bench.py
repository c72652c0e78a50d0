"""The figures have the promised keys, and are what they say."""

import pytest

from noclone.distill.ldpc_bench import bench_ldpc, wilson


def test_figures():
    figures = bench_ldpc((0.03, 0.05), n_bits=200_000, repeats=1)
    assert [row["qber"] for row in figures["per_qber"]] == [0.03, 0.05]
    for row in figures["per_qber"]:
        assert row["mbps_per_core"] > 0
        assert 1.1 < row["efficiency_f"] < 1.45  # one frame of four that falls back costs 0.26
        assert row["frames"] == 4
        assert row["keys_wrong"] == 0
        assert row["frame_error_rate_95"][0] <= row["frame_error_rate"] <= row["frame_error_rate_95"][1]


@pytest.mark.parametrize(("failed", "frames"), [(0, 10), (5, 10), (10, 10), (1, 1000), (37, 64)])
def test_intervals(failed, frames):
    """Wilson's bounds are the shares from which what was seen lies 1.96 standard deviations away."""
    seen = failed / frames
    for bound, end in zip(wilson(failed, frames), (0.0, 1.0), strict=True):
        away = abs(bound - seen) / (bound * (1 - bound) / frames) ** 0.5 if 0 < bound < 1 else 1.96
        assert away == pytest.approx(1.96)
        assert (bound == end) <= (seen == end)
