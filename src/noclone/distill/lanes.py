"""Several blocks of one link at a time: while one party of a block waits for the other, another block computes.

In: blocks in order.  Out: their outcomes in the same order. Used where both ends sit in this process.

A block's two parties take turns, so one block keeps one core busy. Two blocks, a thread each, keep two: their kernels
run without Python's lock. What must happen in the order of the blocks still does:

- a block begins when the one before has had its hellos, so each takes the next pair of keys from the pools;
- a block's first tag waits until the one before has ended, so pools are refilled, and keys released, in order;
- a block counts those that are still under way among what the link's key may fail by (`AuthenticationPool.undertake`).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from noclone.distill.authentication import PAIR_BITS, AuthenticationPool
from noclone.distill.job import BlockAborted, BlockJob
from noclone.distill.messages import Kind
from noclone.distill.parties import Entropy
from noclone.distill.session import DistilledBlock, distill_block
from noclone.process import prepare_to_compute
from noclone.records import AliceRecord, Detections


@dataclass(frozen=True, slots=True)
class BlockInput:
    """What the two ends hold of one block before they talk about it.

    Args:
        settings: Alice's.
        detections: Bob's.
        time_s: When the block is distilled.
        qber_expected: Error rate of the key basis in earlier blocks.
    """

    settings: AliceRecord
    detections: Detections
    job: BlockJob
    time_s: float = 0.0
    qber_expected: float | None = None


class _Turn:
    """How far a block is, for the one behind it."""

    def __init__(self) -> None:
        self.greeted = threading.Event()
        self.ended = threading.Event()

    def end(self) -> None:
        self.greeted.set()
        self.ended.set()


def distill_blocks(
    blocks: Iterable[BlockInput],
    pool_a: AuthenticationPool,
    pool_b: AuthenticationPool,
    *,
    threads: int = 2,
    entropy: Entropy = os.urandom,
) -> Iterator[DistilledBlock | BlockAborted]:
    """Yield the outcome of each block, in order; `threads` of them are under way at a time.

    One more is asked for ahead of its turn: whatever makes blocks (light, a file) works while others are distilled.

    Args:
        entropy: See `parties.alice`; with several threads it is called from all of them.
    """
    prepare_to_compute()
    waiting: deque[Future[DistilledBlock | BlockAborted]] = deque()
    before = _Turn()
    before.end()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="distill")
    try:
        for block in blocks:
            turn = _Turn()
            waiting.append(pool.submit(_distill, block, pool_a, pool_b, entropy, before, turn))
            before = turn
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _distill(
    block: BlockInput,
    pool_a: AuthenticationPool,
    pool_b: AuthenticationPool,
    entropy: Entropy,
    before: _Turn,
    turn: _Turn,
) -> DistilledBlock | BlockAborted:
    """Distil one block, in step with the one before."""

    def heed(role: str, message: bytes) -> None:
        if message[0] == Kind.ANNOUNCE:
            turn.greeted.set()
        elif message[0] == Kind.TAG and role == "alice":
            before.ended.wait()

    before.greeted.wait()
    if min(pool_a.available_bits, pool_b.available_bits) < PAIR_BITS:
        before.ended.wait()  # it may bring the key that this block needs
    try:
        return distill_block(
            block.settings,
            block.detections,
            block.job,
            pool_a,
            pool_b,
            time_s=block.time_s,
            qber_expected=block.qber_expected,
            entropy=entropy,
            heed=heed,
        )
    except BlockAborted as abort:
        return abort
    finally:
        before.ended.wait()  # also when this one gave up early: the one behind must not overtake the one before
        turn.end()
