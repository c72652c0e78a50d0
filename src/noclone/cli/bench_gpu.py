"""`noclone bench gpu`: what an NVIDIA card does with amplification, decoding and light, where there is one.

In: nothing.  Out: plain data: the card's name and absolute figures; or why there are none. Each stage's result is
compared with the processor's, bit for bit, while it is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from noclone import gpu, rng

SEED = rng.seed_from_int(1)
QBER = 0.02


def bench_gpu(
    *,
    sizes: Sequence[int] = (10**6, 1 << 22, 10**7, 1 << 27, 1 << 30),
    frames: Sequence[int] = (64, 512, 2048),
) -> dict[str, Any]:
    """Measure the card.

    Returns:
        `card`, its name; for each block size amplification's rate with key and seed on the card already, and from and
        to the processor's memory; for each number of frames the rate of decoding at QBER 2 %, copies included.
    """
    missing = gpu.why_not()
    if missing:
        return {"not_run": f"no NVIDIA GPU: {missing[0]}"}
    return {
        "card": gpu.card(),
        "amplification_per_size": [_amplification(n_bits) for n_bits in sizes],
        "ldpc_per_frames": [_decoding(n) for n in frames],
    }


def _amplification(n_bits: int) -> dict[str, Any]:
    from numba import cuda

    from noclone.distill import amplification, amplification_cuda

    generator = rng.stream(SEED, "bench/gpu/amplification")
    length_bits = n_bits // 2
    words = generator.integers(0, 2**64, -(-n_bits // 64), np.uint64)
    seed = generator.bytes(amplification.seed_bytes(n_bits, length_bits))
    points = len(seed) // 64
    work = amplification_cuda.Amplifier(n_bits, length_bits, points)
    work.load(words, seed)
    on_card_s = _median_s(work.run, cuda.synchronize)
    equal = bool(np.array_equal(work.result(), amplification.amplify(words, n_bits, seed, length_bits)))
    work.wipe()
    del work
    in_all_s = _median_s(
        lambda: amplification_cuda.amplify(words, n_bits, seed, length_bits, points), cuda.synchronize
    )
    return {
        "block_bits": n_bits,
        "equal": equal,
        "gbps_on_card": n_bits / on_card_s / 1e9,
        "gbps_with_copies": n_bits / in_all_s / 1e9,
    }


def _decoding(n_frames: int) -> dict[str, Any]:
    from numba import cuda

    from noclone.distill import ldpc_cuda, ldpc_plan, ldpc_search
    from noclone.distill.ldpc_codes import FRAME_BITS, codes

    generator = rng.stream(SEED, "bench/gpu/ldpc")
    params = ldpc_plan.plan(64 * FRAME_BITS, QBER, bytes(32))
    assert params is not None
    code, splits = codes()[params.code], params.words[0] - codes()[params.code].whole_words
    known = np.zeros(FRAME_BITS, np.bool_)
    syndromes = np.stack([_syndrome(code, splits, generator.random(FRAME_BITS) < QBER) for _ in range(n_frames)])
    everyone = np.arange(n_frames)
    decoder = ldpc_cuda.Decoder(code, splits, known, n_frames)
    loaded = decoder.load(syndromes)
    on_card_s = _median_s(lambda: decoder.decode(loaded), cuda.synchronize)
    in_all_s = _median_s(lambda: ldpc_cuda.find_errors(code, splits, known, syndromes, everyone), cuda.synchronize)
    there = ldpc_cuda.find_errors(code, splits, known, syndromes, everyone)
    some = everyone[:8]
    start = time.perf_counter()
    here = ldpc_search.find_errors(code, splits, known, syndromes, some, 1)
    here_s = time.perf_counter() - start
    return {
        "frames": n_frames,
        "qber": QBER,
        "equal": all(bool(np.array_equal(a[some], b[some])) for a, b in zip(here, there, strict=True)),
        "frame_error_rate": float(np.mean(there[1] == 0)),
        "iterations_per_frame": float(np.mean(there[1])),
        "mbps_on_card": n_frames * FRAME_BITS / on_card_s / 1e6,
        "mbps_with_copies": n_frames * FRAME_BITS / in_all_s / 1e6,
        "mbps_per_core": len(some) * FRAME_BITS / here_s / 1e6,
    }


def _syndrome(code: Any, splits: int, error: Any) -> Any:
    """Return a frame's syndrome from the definition: the stretches' parities, then those of the first halves of some."""
    columns = error.reshape(-1, code.circulant)
    whole, first = np.zeros((2, code.rows, code.circulant), np.bool_)
    for row, half, column, shift in zip(code.row, code.half, code.column, code.shift, strict=True):
        part = np.roll(columns[column], -shift)
        whole[row] ^= part
        if half == 0:
            first[row] ^= part
    packed, halves = (np.packbits(bits.reshape(-1), bitorder="little").view(np.uint64) for bits in (whole, first))
    return np.concatenate((packed, halves[code.split_order()[:splits]]))


def _median_s(work: Callable[[], object], wait: Callable[[], None]) -> float:
    """Return the median time of a piece of work, over a fifth of a second, after one run that may compile."""
    work()
    wait()
    spent: list[float] = []
    while len(spent) < 5 or (sum(spent) < 0.2 and len(spent) < 100):
        start = time.perf_counter()
        work()
        wait()
        spent.append(time.perf_counter() - start)
    return median(spent)
