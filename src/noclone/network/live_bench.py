"""How fast a whole live link is: light, Alice and Bob on this machine, against the same link built of glass.

In: a length of fibre.  Out: seconds of light per second of this machine, and secret bits per second of light.
Light is worked out while earlier blocks are distilled. Nothing but the light is a model: a decoy-state protocol, a
finite-key proof, both ends authenticated, their keys confirmed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from noclone import rng
from noclone.distill.authentication import AuthenticationPool
from noclone.distill.job import BlockAborted
from noclone.distill.lanes import BlockInput, distill_blocks
from noclone.network.blocks import LinkPlan, plan_link
from noclone.network.distillation_section import DistillationSection
from noclone.network.fibre_section import FibreSection
from noclone.network.link_sections import LinkSection, ReceiverSection, SourceSection
from noclone.network.simulate import block_of_light, origin_of

BENCH_SEED = rng.seed_from_int(1)
SECRET_BYTES = 4096


def live_link(length_km: float, clock_hz: float, block_key_bits: int) -> LinkSection:
    """Return a link with superconducting detectors, and all their effects."""
    return LinkSection(
        name="bench",
        alice="alder",
        bob="birch",
        # One decoy, as in Rusca et al. 2018; of what was tried this gave the longest key for 2^22 sifted bits at 50 km.
        source=SourceSection(clock_hz=clock_hz, intensities=[0.5, 0.15], probabilities=[0.7, 0.3], p_key=0.8),
        fibre=FibreSection(length_km=length_km, attenuation_db_per_km=0.2, extra_loss_db=1.0),
        receiver=ReceiverSection(
            scheme="passive",
            p_key=0.8,
            efficiency=0.8,
            dark_count_hz=100.0,
            dead_time_ns=30.0,
            afterpulse_probability=0.01,
            jitter_ps=50.0,
            gate_ps=500.0,
            misalignment=0.01,
        ),
        distillation=DistillationSection(block_key_bits=block_key_bits),
    )


def bench_live(
    length_km: float = 50.0,
    clock_hz: float = 1e9,
    *,
    block_key_bits: int = 1 << 22,
    blocks: int = 4,
    threads: int = 1,
) -> dict[str, float]:
    """Run a link for some blocks and return how it compares with real time.

    Args:
        block_key_bits: Sifted bits of a block.
        threads: How many blocks are distilled at a time; the light has two threads of its own.
    """
    plan = plan_link(live_link(length_km, clock_hz, block_key_bits))
    _run(plan, 1, threads)  # compiles
    start = time.perf_counter()
    light_s, sifted, secret, qber = _run(plan, blocks, threads)
    seconds = time.perf_counter() - start
    return {
        "length_km": length_km,
        "clock_hz": clock_hz,
        "blocks": float(blocks),
        "block_sifted_bits": sifted / blocks,
        "light_s": light_s,
        "seconds": seconds,
        "realtime_factor": light_s / seconds,
        "sifted_mbps": sifted / seconds / 1e6,
        "secret_bps_of_light": secret / light_s,
        "qber": qber,
    }


def _run(plan: LinkPlan, blocks: int, threads: int) -> tuple[float, int, int, float]:
    """Return seconds of light, sifted bits, secret bits and the last block's error rate."""
    secret_key = os.urandom(SECRET_BYTES)
    pools = [AuthenticationPool.from_secret(role, secret_key) for role in ("alice", "bob")]
    sifted = secret = 0
    qber = 0.0
    for outcome in distill_blocks(_light(plan, blocks), *pools, threads=threads):
        if isinstance(outcome, BlockAborted):
            raise outcome
        statistics = outcome.bob.statistics
        assert statistics.counts is not None
        sifted += statistics.counts.key_total
        secret += outcome.bob.key.n_bits + statistics.refill_bits
        qber = statistics.counts.qber_key or 0.0
    return blocks * plan.seconds_per_block, sifted, secret, qber


def _light(plan: LinkPlan, blocks: int) -> Iterator[BlockInput]:
    for block in range(blocks):
        settings, detections = block_of_light(plan, BENCH_SEED, block, seeded=True)
        yield BlockInput(settings, detections, plan.job(block, origin_of(seeded=True)))
