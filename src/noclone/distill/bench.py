"""How fast reconciliation, privacy amplification and authentication run here, on one core.

Each figure is measured when it is asked for, on random keys, and checked for correctness while it is measured.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.poly1305 import Poly1305

from noclone import rng
from noclone.bits import Words
from noclone.crypto.polynomial_hash import KEY_BYTES as HASH_KEY_BYTES
from noclone.crypto.polynomial_hash import digest
from noclone.crypto.transcript_hash import TranscriptTags
from noclone.distill import binary_toeplitz, cascade_bench, flight_bench
from noclone.distill.amplification import FAMILY, amplify, seed_bytes
from noclone.distill.cascade_bench import binary_entropy, random_words

__all__ = ["bench_amplification", "bench_reconciliation", "binary_entropy"]

BATCH_BITS = 1 << 22
# Round trip, blocks in flight, blocks in all.
FLIGHTS = ((0.0, 1, 8), (0.0, 8, 48), (0.001, 8, 24), (0.001, 32, 96), (0.01, 8, 8), (0.01, 64, 128))
BENCH_SEED = rng.seed_from_int(1)


def bench_reconciliation(
    qbers: Sequence[float] = (0.01, 0.02, 0.03, 0.05, 0.08),
    *,
    n_bits: int = BATCH_BITS,
    repeats: int = 2,
    flights: Sequence[tuple[float, int, int]] = FLIGHTS,
    delayed_qber: float = 0.02,
) -> dict[str, Any]:
    """Measure Cascade per error rate: both parties' work on one core, from their keys to the corrected key.

    Returns:
        For each error rate mbps_per_core (the best repeat; as a block in one process does it, without coming back to
        Python after each message), mbps_by_messages (coming back), mbps_two_threads (two blocks side by side),
        efficiency_f (leak over n h(errors / n), all repeats), frame_error_rate with its 95 % confidence interval and
        the frames it was counted on, and rounds. For each of `flights` (see `flight_bench.measure_delayed`) the
        throughput of one link whose ends are two processes, a core each. Kernels are compiled before the clock starts.
    """
    generator = rng.stream(BENCH_SEED, "bench/reconciliation")
    cascade_bench.measure(generator, n_bits, qbers[0], 1)  # compiles
    return {
        "method": "cascade",
        "block_bits": n_bits,
        "per_qber": [cascade_bench.measure(generator, n_bits, qber, repeats) for qber in qbers],
        "delayed": flight_bench.measure_delayed(n_bits, delayed_qber, flights),
    }


def bench_amplification(
    sizes: Sequence[int] = (10**5, 10**6, 1 << 22, 10**7, 1 << 27), *, share: float = 0.5
) -> dict[str, Any]:
    """Measure privacy amplification by block size: one party's work, `share` of the bits kept.

    Returns:
        For each size mbps_per_core with the seed in hand, and with a fresh one from the operating system each time
        (which one of the two parties draws); mbps_two_threads, the seed in hand; and the length of the seed.
    """
    generator = rng.stream(BENCH_SEED, "bench/amplification")
    figures: dict[str, Any] = {"family": FAMILY, "share": share, "per_size": []}
    amplify(np.ones(16, np.uint64), 1024, bytes(seed_bytes(1024, 512)), 512)  # compile
    for n_bits in sizes:
        length_bits = int(share * n_bits)
        seed = generator.bytes(seed_bytes(n_bits, length_bits))
        figures["per_size"].append(_amplification_row(random_words(generator, n_bits), n_bits, seed, length_bits))
    n_bits = 1 << 20  # what other makers use, at the size that is usually quoted
    words, seed = random_words(generator, n_bits), generator.bytes(binary_toeplitz.seed_bytes(n_bits, n_bits // 2))
    binary_s = _best_s(lambda: binary_toeplitz.amplify(words, n_bits, seed, n_bits // 2))
    figures["binary_toeplitz_bits"] = n_bits
    figures["binary_toeplitz_mbps_per_core"] = n_bits / binary_s / 1e6
    return figures


def _amplification_row(words: Words, n_bits: int, seed: bytes, length_bits: int) -> dict[str, Any]:
    in_hand_s = _best_s(lambda: amplify(words, n_bits, seed, length_bits))
    fresh_s = _best_s(lambda: amplify(words, n_bits, os.urandom(len(seed)), length_bits))
    with ThreadPoolExecutor(2) as pool:
        both_s = _best_s(lambda: list(pool.map(lambda _: amplify(words, n_bits, seed, length_bits), range(2))))
    return {
        "block_bits": n_bits,
        "mbps_per_core": n_bits / in_hand_s / 1e6,
        "mbps_per_core_fresh_seed": n_bits / fresh_s / 1e6,
        "mbps_two_threads": 2 * n_bits / both_s / 1e6,
        "seed_bytes": len(seed),
    }


def bench_authentication(n_bytes: int = 1 << 20) -> dict[str, Any]:
    """Measure what authenticates and confirms: tags of a transcript, the hash of a key, Poly1305 of a message."""
    data, key = os.urandom(n_bytes), os.urandom(32)
    confirm_s = _best_s(lambda: digest(data, 8 * n_bytes, key[:HASH_KEY_BYTES], 64))
    tag_s = _best_s(lambda: Poly1305.generate_tag(key, data))
    transcript = TranscriptTags((key, key))
    transcript_s = _best_s(lambda: transcript.update(data))
    return {
        "bytes": n_bytes,
        "transcript_gbps_per_core": 8 * n_bytes / transcript_s / 1e9,
        "poly1305_gbps_per_core": 8 * n_bytes / tag_s / 1e9,
        "polynomial_hash_gbps_per_core": 8 * n_bytes / confirm_s / 1e9,
    }


def _best_s(work: Callable[[], object]) -> float:
    """Return the least time that a piece of work took, over a fifth of a second, after one run that may compile."""
    work()
    best_s, spent_s, runs = math.inf, 0.0, 0
    while runs < 2 or (spent_s < 0.2 and runs < 100):
        start = time.perf_counter()
        work()
        elapsed_s = time.perf_counter() - start
        best_s, spent_s, runs = min(best_s, elapsed_s), spent_s + elapsed_s, runs + 1
    return best_s
