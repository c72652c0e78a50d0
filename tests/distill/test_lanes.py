"""Blocks side by side: the same keys, pools and epsilons as one after the other."""

import dataclasses
import subprocess
import sys
import threading
import time

import pytest

from noclone.distill.authentication import PAIR_BITS, PAIR_BYTES, AuthenticationPool, MemoryLedger
from noclone.distill.job import BlockAborted, RefillPolicy
from noclone.distill.lanes import BlockInput, distill_blocks
from noclone.errors import InputError


class Watched(MemoryLedger):
    """Which segments were refilled, in order."""

    def __init__(self) -> None:
        self.refilled = []

    def refill(self, segment, key, cumulative_epsilon):
        self.refilled.append(segment)


class Slow:
    """Settings that wait for something before they answer."""

    def __init__(self, settings, wait) -> None:
        self._settings, self._wait = settings, wait

    def at(self, slots):
        self._wait()
        return self._settings.at(slots)


def inputs(make_block, n, **changes):
    cases = [make_block(block=block, seed=block, **changes) for block in range(n)]
    return [BlockInput(case.settings, case.detections, case.job) for case in cases]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_blocks_side_by_side_are_like_blocks_in_turn(make_block, make_pools, threads):
    pool_a, pool_b = make_pools()
    refill = RefillPolicy(target_bits=1 << 15)  # what the pools hold at first
    done = list(distill_blocks(inputs(make_block, 5, refill=refill), pool_a, pool_b, threads=threads))
    total = 0.0
    for block, both in enumerate(done):
        key, statistics = both.alice.key, both.alice.statistics
        assert key.to_bytes() == both.bob.key.to_bytes()
        assert key.provenance == both.bob.key.provenance
        assert key.provenance.block == block
        total += statistics.epsilon
        # What is under way is counted at its largest, so the sum is never too small, and hardly too large.
        assert total <= key.provenance.cumulative_epsilon <= total * (1 + 1e-9)
    assert pool_a.cumulative_epsilon == pool_b.cumulative_epsilon == done[-1].bob.statistics.cumulative_epsilon
    assert pool_a.consumed_bits == pool_b.consumed_bits == 5 * PAIR_BITS
    assert pool_a.marks() == pool_b.marks()
    assert len({both.alice.key.to_bytes() for both in done}) == 5


def test_two_blocks_are_under_way_at_once(make_block, make_pools):
    meeting = threading.Barrier(2, timeout=120)
    blocks = [
        dataclasses.replace(block, settings=Slow(block.settings, meeting.wait)) for block in inputs(make_block, 2)
    ]
    done = list(distill_blocks(blocks, *make_pools(), threads=2))
    assert [both.bob.key.provenance.block for both in done] == [0, 1]


def test_pools_are_refilled_in_the_order_of_the_blocks(make_block, make_pools):
    """The first block stands still until the second is far ahead, and yet ends before it."""
    ahead = threading.Event()

    def linger():
        assert ahead.wait(30)
        time.sleep(0.3)

    blocks = inputs(make_block, 2)
    blocks[0] = dataclasses.replace(blocks[0], settings=Slow(blocks[0].settings, linger))
    blocks[1] = dataclasses.replace(blocks[1], settings=Slow(blocks[1].settings, ahead.set))
    pools = make_pools()
    for pool in pools:
        pool.ledger = Watched()
    first, second = distill_blocks(blocks, *pools, threads=2)
    assert pools[0].ledger.refilled == pools[1].ledger.refilled == [1, 2]
    sum_of_both = first.alice.statistics.epsilon + second.alice.statistics.epsilon
    assert second.alice.statistics.cumulative_epsilon == pytest.approx(sum_of_both, rel=1e-9)


def test_a_block_that_gives_nothing_does_not_stop_those_behind_it(make_block, make_pools):
    blocks = inputs(make_block, 4)
    bad = make_block(block=1, qber=0.2, expected_qber=0.005)
    blocks[1] = BlockInput(bad.settings, bad.detections, bad.job)
    pool_a, pool_b = make_pools()
    done = list(distill_blocks(blocks, pool_a, pool_b, threads=2))
    assert isinstance(done[1], BlockAborted)
    assert done[1].reason == "qber-too-high"
    assert [k for k, both in enumerate(done) if not isinstance(both, BlockAborted)] == [0, 2, 3]
    assert pool_a.undertake(9, 0.0) == pool_a.cumulative_epsilon, "nothing is under way any more"


def test_a_block_waits_for_the_key_that_the_one_before_brings(make_block):
    pools = [AuthenticationPool(role, {0: (b"k" * PAIR_BYTES, 0)}) for role in ("alice", "bob")]
    done = list(distill_blocks(inputs(make_block, 3, refill=RefillPolicy(target_bits=PAIR_BITS)), *pools, threads=2))
    assert all(both.alice.key.to_bytes() == both.bob.key.to_bytes() for both in done)


def test_blocks_are_asked_for_one_ahead_and_no_further(make_block, make_pools):
    asked = []

    def source():
        for block in inputs(make_block, 5):
            asked.append(block)
            yield block

    outcomes = distill_blocks(source(), *make_pools(), threads=2)
    next(outcomes)
    assert len(asked) == 3
    outcomes.close()
    assert len(asked) == 3


def test_a_mistake_of_ours_is_raised(make_block, make_pools):
    blocks = inputs(make_block, 3)
    blocks[1] = dataclasses.replace(blocks[1], job=blocks[0].job)
    outcomes = distill_blocks(blocks, *make_pools(), threads=2)
    next(outcomes)
    with pytest.raises(InputError):
        next(outcomes)


def test_threads_may_come_first_together():
    """Each may make its own copy of what is made once; neither copy may go while it is used."""
    code = """
import sys, threading
sys.setswitchinterval(1e-6)
import numpy as np
from noclone.distill.amplification import amplify, seed_bytes
words, n = np.arange(1 << 10, dtype=np.uint64), 1 << 16
seed = bytes(range(256)) * (seed_bytes(n, n // 2) // 256 + 1)
seed, keys, start = seed[: seed_bytes(n, n // 2)], [], threading.Barrier(4)
def run():
    start.wait()
    keys.append(amplify(words, n, seed, n // 2).tobytes())
threads = [threading.Thread(target=run) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(keys) == 4 and len(set(keys)) == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
