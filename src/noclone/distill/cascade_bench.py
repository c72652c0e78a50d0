"""Cascade under the clock: both parties on one core, two blocks on two; over a channel of some length: `flight_bench`.

Each figure is measured when it is asked for, on random keys, and checked for correctness while it is measured.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from noclone.bits import Words, count_ones, word_count
from noclone.distill import cascade
from noclone.distill.duet import Duet
from noclone.distill.job import BlockStatistics
from noclone.distill.messages import Conversation
from noclone.process import prepare_to_compute

CHUNK_ERRORS = 1 << 17


def binary_entropy(p: float) -> float:
    """Return h(p) = -p log2 p - (1 - p) log2 (1 - p) (Shannon 1948, section 6)."""
    return 0.0 if p in (0.0, 1.0) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def random_words(generator: np.random.Generator, n_bits: int) -> Words:
    """Return n random bits, packed."""
    words = generator.integers(0, 2**64, word_count(n_bits), np.uint64)
    if n_bits % 64:
        words[-1] &= np.uint64((1 << n_bits % 64) - 1)
    return words


def random_errors(generator: np.random.Generator, n_bits: int, qber: float) -> Words:
    """Return n bits, packed, each of them set with probability `qber`: their gaps are geometric."""
    errors = np.zeros(word_count(n_bits), np.uint64)
    at = -1
    while at < n_bits and qber:
        gaps = generator.geometric(qber, CHUNK_ERRORS)
        places = at + np.cumsum(gaps)
        at = int(places[-1])
        here = places[places < n_bits]
        np.bitwise_or.at(errors, here >> 6, np.uint64(1) << (here & 63).astype(np.uint64))
    return errors


def interval_95(bad: int, total: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a rate of which `bad` in `total` were seen (Clopper and Pearson 1934)."""

    def at_most(k: int, p: float) -> float:
        logs = [
            math.lgamma(total + 1) - math.lgamma(i + 1) - math.lgamma(total - i + 1)
            + i * math.log(p) + (total - i) * math.log1p(-p)
            for i in range(k + 1)
        ]  # fmt: skip
        return sum(map(math.exp, logs))

    def root(falling: Callable[[float], float]) -> float:
        low, high = 0.0, 1.0
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if falling(middle) > 0 else (low, middle)
        return high

    lower = root(lambda p: at_most(bad - 1, p) - 0.975) if bad else 0.0
    upper = root(lambda p: at_most(bad, p) - 0.025) if bad < total else 1.0
    return lower, upper


def reconcile(alice: cascade.Answerer, bob: cascade.Questioner) -> int:
    """Run the protocol to its end and return how many bytes crossed."""
    crossed = 0
    message = bob.next(None)
    while message is not None:
        answer = alice.answer(message)
        crossed += len(message) + len(answer)
        message = bob.next(answer)
    return crossed


def reconcile_together(alice: cascade.Answerer, bob: cascade.Questioner) -> None:
    """Run the protocol as both parties of a block in one process do, transcripts included (see `duet`)."""
    duet = Duet()
    duet.alice_joins(alice, Conversation("alice", BlockStatistics("bench", 0, "alice")))
    duet.bob_joins(bob, Conversation("bob", BlockStatistics("bench", 0, "bob")))
    reconcile(alice, bob)


def bad_frames(difference: Words, params: cascade.CascadeParameters) -> tuple[int, int]:
    """Return how many frames still hold errors, and how many frames there are."""
    bad = total = 0
    for group in params.groups:
        total += group.frames
        here = difference[group.first_word : group.first_word + word_count(group.n_bits)]
        frames = set()
        for word in np.flatnonzero(here):
            value = int(here[word])
            places = [64 * int(word) + i for i in range(64) if value >> i & 1]
            frames |= {(at // group.lanes // group.frame_bits, at % group.lanes) for at in places}
        bad += len(frames)
    return bad, total


class Case:
    """Two keys, ready to be reconciled."""

    def __init__(self, generator: np.random.Generator, n_bits: int, qber: float) -> None:
        self.n_bits = n_bits
        self.alice = random_words(generator, n_bits)
        self.errors = random_errors(generator, n_bits, qber)
        self.bob = self.alice ^ self.errors
        self.params = cascade.plan(n_bits, qber, generator.bytes(cascade.SEED_BYTES))

    @property
    def ideal_bits(self) -> float:
        """Shannon's price for these errors."""
        return self.n_bits * binary_entropy(count_ones(self.errors) / self.n_bits)

    def parties(self) -> tuple[cascade.Answerer, cascade.Questioner]:
        """Return both parties: their work begins here."""
        alice = cascade.Answerer(self.alice, self.n_bits, self.params)
        return alice, cascade.Questioner(self.bob, self.n_bits, self.params)


def measure(generator: np.random.Generator, n_bits: int, qber: float, repeats: int) -> dict[str, Any]:
    """Measure one error rate: both parties' work on one core, from their keys to the corrected key."""
    best_s, messages_s, leak, ideal, bad, frames, rounds, crossed = math.inf, math.inf, 0, 0.0, 0, 0, 0, 0
    for _ in range(repeats):
        case = Case(generator, n_bits, qber)
        start = time.perf_counter()
        alice, bob = case.parties()
        crossed += reconcile(alice, bob)
        messages_s = min(messages_s, time.perf_counter() - start)
        start = time.perf_counter()
        alice, bob = case.parties()
        reconcile_together(alice, bob)
        best_s = min(best_s, time.perf_counter() - start)
        leak += alice.leak_bits
        rounds = max(rounds, alice.rounds)
        ideal += case.ideal_bits
        wrong, here = bad_frames(bob.words ^ case.alice, case.params)
        bad, frames = bad + wrong, frames + here
    return {
        "qber": qber,
        "mbps_per_core": n_bits / best_s / 1e6,
        "mbps_by_messages": n_bits / messages_s / 1e6,
        "mbps_two_threads": _two_threads(generator, n_bits, qber, repeats),
        "efficiency_f": leak / ideal if ideal else math.nan,
        "frame_error_rate": bad / frames,
        "frame_error_rate_95": interval_95(bad, frames),
        "frames": frames,
        "rounds": rounds,
        "bytes_crossed_per_block": crossed // repeats,
    }


def _two_threads(generator: np.random.Generator, n_bits: int, qber: float, repeats: int) -> float:
    """Return Mb/s of two blocks that are reconciled side by side, each by one thread: the best repeat."""
    prepare_to_compute()
    best_s = math.inf
    for _ in range(repeats):
        cases = [Case(generator, n_bits, qber) for _ in range(2)]
        threads = [threading.Thread(target=lambda case=case: reconcile_together(*case.parties())) for case in cases]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best_s = min(best_s, time.perf_counter() - start)
    return 2 * n_bits / best_s / 1e6
