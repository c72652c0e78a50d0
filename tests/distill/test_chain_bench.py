"""The model's blocks and the bench's figures hang together."""

import numpy as np
import pytest

from noclone.distill.chain_bench import TABLE_SLOTS, bench_chain, stage_seconds
from noclone.distill.sifting_bench import bench_sifting


def test_bench_chain_reports_rates():
    found = bench_chain(1_000_000, qber=0.01, blocks=2)
    assert set(found["by_threads"]) == {"1", "2"}
    for rates in found["by_threads"].values():
        share = found["secret_bits"] / found["sifted_bits"]
        assert rates["secret_mbps"] / rates["sifted_mbps"] == pytest.approx(share, rel=0.05)
    assert found["sifted_mbps"] == found["by_threads"]["1"]["sifted_mbps"] > 0
    assert found["by_processes"]["2"]["sifted_mbps"] > 0
    assert 1 < found["leak_factor"] < 1.2


def test_every_stage_takes_its_time(case):
    seconds, done = stage_seconds(case)
    assert done.alice.key.to_bytes() == done.bob.key.to_bytes()
    assert set(seconds) == {
        "greeting", "settings", "sifting", "estimation", "reconciliation", "confirmation", "amplification",
    }  # fmt: skip
    assert min(seconds.values()) > 0


def test_bench_sifting_reports_rates():
    found = bench_sifting(200_000, mean_gaps=(4, 100), repeats=1)
    short, long = found["per_gap"]
    assert short["mean_gap"] == 4
    assert 0 < short["bytes_per_event"] < long["bytes_per_event"] < 2
    assert min(short["events_per_s_one_thread"], short["events_per_s_two_threads"]) > 0


def test_a_large_model_block_has_the_shares_that_were_agreed(make_block):
    """Settings repeat, so what is off by chance in the table would be off in every block."""
    case = make_block()
    codes = case.settings.at(np.arange(TABLE_SLOTS, dtype=np.uint64))
    protocol = case.job.protocol
    gains = -np.expm1(-np.array(protocol.intensities) / 16) * np.array(protocol.probabilities)
    for level, share in enumerate(gains / gains.sum()):
        for basis, p in enumerate((protocol.p_key_alice, 1 - protocol.p_key_alice)):
            assert np.count_nonzero(codes >> 1 == basis | level << 1) == pytest.approx(p * share * TABLE_SLOTS, abs=1)
