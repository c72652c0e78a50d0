"""`noclone bench gpu`: what an NVIDIA card does with amplification, decoding and light, where there is one.

In: nothing.  Out: plain data: the card's name and absolute figures; or why there are none. Each stage's result is
compared with the processor's, bit for bit, while it is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from noclone import gpu, rng
from noclone.process import cores

if TYPE_CHECKING:
    from noclone.link.devices import LinkDevices
    from noclone.link.light import Pulses
    from noclone.link.pulses_cuda import CardPulses

SEED = rng.seed_from_int(1)
QBER = 0.02


def bench_gpu(
    *,
    sizes: Sequence[int] = (10**6, 1 << 22, 10**7, 1 << 27, 1 << 30),
    frames: Sequence[int] = (64, 512, 2048),
    lengths_km: Sequence[float] = (0, 10, 25, 50),
    seconds: float = 1.0,
) -> dict[str, Any]:
    """Measure the card.

    Returns:
        `card`, its name; `first_use_s`, what a process waits for once. For each block size amplification's rate with
        key and seed on the card already, with copies from and to memory that it reaches by itself (pinned), with copies
        as `amplify` makes them, and on one core. For each number of frames the rate of decoding at QBER 2 %, without
        and with copies, and on one core. For each length of fibre how many candidates a second the light's first half
        takes on the card and on one core, and how fast the whole light is on two threads and on all cores, with that
        half there and without.
    """
    missing = gpu.why_not()
    if missing:
        return {"not_run": f"no NVIDIA GPU can be used, {missing[0]}"}
    return {
        "card": gpu.card(),
        "decoding_at_qber": QBER,
        "first_use_s": _first_use_s(),
        "amplification": [_amplification(n_bits) for n_bits in sizes],
        "decoding": [_decoding(n) for n in frames],
        "light": [_light(length_km, seconds) for length_km in lengths_km],
    }


def _first_use_s() -> float:
    """Measure what a process waits for once: the card's libraries, and the kernels compiled."""
    from noclone.link.bench import fibre_devices

    start = time.perf_counter()
    from noclone.distill import amplification, amplification_cuda, ldpc_cuda
    from noclone.distill.ldpc_codes import FRAME_BITS, codes

    seed = bytes(amplification.seed_bytes(1024, 512))
    amplification_cuda.amplify(np.zeros(16, np.uint64), 1024, seed, 512, len(seed) // 64)
    code = codes()[0]
    nothing = np.zeros((1, code.whole_words), np.uint64)
    ldpc_cuda.find_errors(code, 0, np.zeros(FRAME_BITS, np.bool_), nothing, np.arange(1))
    _, card = _pulses(fibre_devices(25))
    with card.memory() as memory:
        card.clicks(memory, 0, 1)
    return time.perf_counter() - start


def _amplification(n_bits: int) -> dict[str, Any]:
    from numba import cuda

    from noclone.bits import word_count
    from noclone.distill import amplification, amplification_cuda

    generator = rng.stream(SEED, "bench/gpu/amplification")
    length_bits = n_bits // 2
    words = generator.integers(0, 2**64, word_count(n_bits), np.uint64)
    seed = generator.bytes(amplification.seed_bytes(n_bits, length_bits))
    points = len(seed) // 64
    pinned_words, pinned_out = (
        cuda.pinned_array(len(words), np.uint64),
        cuda.pinned_array(word_count(length_bits), np.uint64),
    )
    pinned_seed = cuda.pinned_array(len(seed), np.uint8)
    pinned_words[:], pinned_seed[:] = words, np.frombuffer(seed, np.uint8)
    work = amplification_cuda.Amplifier(n_bits, length_bits, points)

    def with_pinned_copies() -> None:
        work.load(pinned_words, pinned_seed.data)
        work.run()
        work.result(pinned_out)

    pinned_s = _median_s(with_pinned_copies)
    on_card_s = _median_s(work.run, cuda.synchronize)
    with gpu.using("cpu"):
        here_s = _median_s(lambda: amplification.amplify(words, n_bits, seed, length_bits))
        equal = bool(np.array_equal(pinned_out, amplification.amplify(words, n_bits, seed, length_bits)))
    work.wipe()
    in_all_s = _median_s(lambda: amplification_cuda.amplify(words, n_bits, seed, length_bits, points))
    return {
        "block_bits": n_bits,
        "equal_bits": equal,
        "gbps_on_card": n_bits / on_card_s / 1e9,
        "gbps_pinned_copies": n_bits / pinned_s / 1e9,
        "gbps_with_copies": n_bits / in_all_s / 1e9,
        "gbps_one_core": n_bits / here_s / 1e9,
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
    everyone, some = np.arange(n_frames), np.arange(min(n_frames, 64))
    decoder = ldpc_cuda.Decoder(code, splits, known, n_frames)
    loaded = decoder.load(syndromes)
    on_card_s = _median_s(lambda: decoder.decode(loaded), cuda.synchronize)
    in_all_s = _median_s(lambda: ldpc_cuda.find_errors(code, splits, known, syndromes, everyone))
    there = ldpc_cuda.find_errors(code, splits, known, syndromes, everyone)
    with gpu.using("cpu"):
        here = ldpc_search.find_errors(code, splits, known, syndromes, some[:1], 1)  # compiles
        start = time.perf_counter()
        here = ldpc_search.find_errors(code, splits, known, syndromes, some, 1)
        here_s = time.perf_counter() - start
    return {
        "frames": n_frames,
        "equal_bits": all(bool(np.array_equal(a[some], b[some])) for a, b in zip(here, there, strict=True)),
        "frame_error_rate": float(np.mean(there[1] <= 0)),
        "mbps_on_card": n_frames * FRAME_BITS / on_card_s / 1e6,
        "mbps_with_copies": n_frames * FRAME_BITS / in_all_s / 1e6,
        "mbps_one_core": len(some) * FRAME_BITS / here_s / 1e6,
    }


def _light(length_km: float, seconds: float) -> dict[str, Any]:
    from noclone.link import bench

    devices, threads = bench.fibre_devices(length_km), cores()
    with gpu.using("cpu"):
        bench.measure(devices, 0.0, 1)  # compiles
        two, all_cores = (bench.measure(devices, seconds, n)["realtime_factor"] for n in (2, threads))
    with gpu.using("gpu"):
        bench.measure(devices, 0.0, 1)  # takes the memory
        there_two, there = (bench.measure(devices, seconds, n)["realtime_factor"] for n in (2, threads))
    return {
        "length_km": length_km,
        **_candidates(devices),
        "realtime_with_card_two_threads": there_two,
        "realtime_with_card_all_cores": there,
        "realtime_two_threads": two,
        "realtime_all_cores": all_cores,
    }


def _pulses(devices: LinkDevices) -> tuple[Pulses, CardPulses]:
    """Return the first half of the light, here and on the card."""
    from noclone.link.aes import aes256_keys, ars_keys
    from noclone.link.clicktable import click_table
    from noclone.link.light import Pulses
    from noclone.link.pulses_cuda import CardPulses
    from noclone.link.segments import segment_length
    from noclone.link.tap import NO_TAP

    table = click_table(devices, NO_TAP)
    keys = np.stack([*[aes256_keys(bytes(32))] * 3, ars_keys(bytes(16))])
    pulses = Pulses(devices, table, keys, segment_length(table.p_max))
    return pulses, CardPulses(pulses.law)


def _candidates(devices: LinkDevices) -> dict[str, Any]:
    """Measure the first half of the light alone: candidates worked out, their clicks in order in memory."""
    from noclone.link.pulses_cuda import SET_BITS

    pulses, card = _pulses(devices)
    length, p_max, n_slots = pulses.law.length, pulses.law.p_max, card.group
    with card.memory() as memory:
        there_s = _median_s(lambda: card.clicks(memory, 0, n_slots))
        found, here = card.clicks(memory, 0, n_slots), pulses.clicks(1, length)
        equal = found is not None
        if found is not None:
            first, last = np.searchsorted(found, (length << SET_BITS, 2 * length << SET_BITS))
            equal = bool(np.array_equal(found[first:last] - (length << SET_BITS), here))
    return {
        "equal_bits": equal,
        "candidates_per_s_card": n_slots * p_max / there_s,
        "candidates_per_s_one_core": length * p_max / _median_s(lambda: pulses.clicks(1, length)),
    }


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


def _median_s(work: Callable[[], object], wait: Callable[[], None] = lambda: None) -> float:
    """Return the median time of a piece of work, over a fifth of a second, after one run that may compile."""
    work()
    wait()
    spent: list[float] = []
    while len(spent) < 3 or (sum(spent) < 0.2 and len(spent) < 100):
        start = time.perf_counter()
        work()
        wait()
        spent.append(time.perf_counter() - start)
    return median(spent)
