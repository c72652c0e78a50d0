"""The live bench makes real key of simulated light."""

from noclone.network.live_bench import bench_live


def test_bench_live_reports_how_it_compares_with_real_time():
    found = bench_live(25.0, block_key_bits=1 << 20, blocks=2)
    assert found["blocks"] == 2
    assert abs(found["block_sifted_bits"] / (1 << 20) - 1) < 0.01
    assert found["secret_bps_of_light"] > 1e6
    assert found["realtime_factor"] == found["light_s"] / found["seconds"] > 0
