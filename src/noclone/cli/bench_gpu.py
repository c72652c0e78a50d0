"""`noclone bench gpu`: what an NVIDIA card does with amplification, decoding and light, where there is one.

In: nothing.  Out: plain data: the card's name and absolute figures; or why there are none. Each stage's result is
compared with the processor's, bit for bit, while it is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from noclone import gpu, rng

if TYPE_CHECKING:
    from noclone.link.devices import LinkDevices

SEED = rng.seed_from_int(1)
QBER = 0.02


def bench_gpu(
    *,
    sizes: Sequence[int] = (10**6, 1 << 22, 10**7, 1 << 27, 1 << 30),
    frames: Sequence[int] = (64, 512, 2048),
    lengths_km: Sequence[float] = (0, 10, 25, 50),
    seconds: float = 2.0,
) -> dict[str, Any]:
    """Measure the card.

    Returns:
        `card`, its name; for each block size amplification's rate with key and seed on the card already, and from and
        to the processor's memory; for each number of frames the rate of decoding at QBER 2 %; for each length of fibre
        how fast the light is with its first half on the card, how many candidates that half takes by itself, and how
        fast the processor's threads are alone.
    """
    missing = gpu.why_not()
    if missing:
        return {"not_run": f"no NVIDIA GPU: {missing[0]}"}
    return {
        "card": gpu.card(),
        "amplification_per_size": [_amplification(n_bits) for n_bits in sizes],
        "ldpc_per_frames": [_decoding(n) for n in frames],
        "light_by_length_km": {f"{length_km:g}": _light(length_km, seconds) for length_km in lengths_km},
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
    in_all_s = _median_s(lambda: amplification_cuda.amplify(words, n_bits, seed, length_bits, points), cuda.synchronize)
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


def _light(length_km: float, seconds: float) -> dict[str, Any]:
    from noclone.link import bench

    devices, threads = bench.fibre_devices(length_km), os.cpu_count() or 1
    with _device("gpu"):
        bench.measure(devices, 0.0, 1)  # compiles
        there = bench.measure(devices, seconds, 1)
    with _device("cpu"):
        bench.measure(devices, 0.0, 1)
        here = bench.measure(devices, seconds, threads)
    return {
        "candidates_per_s": _candidates_per_s(devices),
        "realtime_factor": there["realtime_factor"],
        "detections_per_s": there["detections_per_s"],
        "threads": threads,
        "realtime_factor_all_threads": here["realtime_factor"],
    }


def _candidates_per_s(devices: LinkDevices) -> float:
    """Return how many candidates the card works out, their clicks brought back in order."""
    from numba import cuda

    from noclone.link.aes import aes256_keys, ars_keys
    from noclone.link.clicktable import click_table
    from noclone.link.light import Pulses, segment_length
    from noclone.link.pulses_cuda import TOGETHER, CardPulses
    from noclone.link.tap import NO_TAP

    table = click_table(devices, NO_TAP)
    keys = np.stack([*[aes256_keys(bytes(32))] * 3, ars_keys(bytes(16))])
    law = Pulses(devices, table, keys, segment_length(table.p_max)).law
    card, n_slots = CardPulses(law), TOGETHER * law.length
    return n_slots * law.p_max / _median_s(lambda: card.clicks(0, n_slots), cuda.synchronize)


@contextmanager
def _device(name: str) -> Iterator[None]:
    """Have work done there for a while."""
    before = os.environ.get("NOCLONE_DEVICE")
    os.environ["NOCLONE_DEVICE"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["NOCLONE_DEVICE"]
        else:
            os.environ["NOCLONE_DEVICE"] = before


def _syndrome(code: Any, splits: int, error: Any) -> Any:
    """Return a frame's syndrome from the definition: of all stretches, then of the first halves of some."""
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
