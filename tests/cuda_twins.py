"""The card's kernels against the CPU's, bit for bit: run as a script, in a process of its own.

    python tests/cuda_twins.py STAGE [--large]

Numba decides when it is first imported whether its card is a simulator (NUMBA_ENABLE_CUDASIM=1, any machine, slow); so
the tests start this file anew. `--large` is for a real card.
"""

import sys

import numpy as np


def check_amplification(large):
    from noclone.distill import amplification, amplification_cuda

    rng = np.random.default_rng(3)
    shapes = [(1000, 400), (40_000, 18_000)]
    if large:  # every count of rows, tiles of 2^7 and 2^8 points, twiddles beyond 2^16
        shapes += [(n * 512 << 12, n * 256 << 12) for n in (9, 10, 11, 12, 13, 14, 15, 16)]
        shapes += [
            (63, 20),
            (9000, 4500),
            (20_000, 7),
            (12_345_678, 3),
            (10_000_000, 9_999_999),
            (3_333_333, 1_700_001),
            (1 << 27, 1 << 26),
            (1 << 29, 300),
        ]
    for n_bits, length_bits in shapes:
        words = rng.integers(0, 2**64, -(-n_bits // 64), np.uint64)
        seed = rng.bytes(amplification.seed_bytes(n_bits, length_bits))
        points = amplification._points(n_bits, length_bits)
        there = amplification_cuda.amplify(words, n_bits, seed, length_bits, points)
        here = amplification.amplify(words, n_bits, seed, length_bits)
        assert np.array_equal(there, here), (n_bits, length_bits)
        print("amplification", n_bits, length_bits, flush=True)


def small_code(circulant, rows, columns, rng):
    """A code with edges at random, some rows of more than 32."""
    from noclone.distill.ldpc_codes import Code

    edges = []
    for row in range(rows):
        for i, column in enumerate(rng.permutation(columns)[: 3 + row * (columns - 3) // max(1, rows - 1)]):
            edges.append((row, i % 2, int(column), int(rng.integers(circulant))))
    row, half, column, shift = np.array(sorted(edges), np.int64).T
    return Code(rows, circulant, 0.1, row, column, shift, half, tuple(rng.integers(40, 257, 9).tolist()), iterations=7)


def compare_frames(code, splits, known, syndromes, frames):
    from noclone.distill import ldpc_cuda, ldpc_decoder
    from noclone.distill.ldpc_codes import BEFORE, BEHIND, compile_program

    program = compile_program(code, splits)
    level = np.where(known, ldpc_decoder.KNOWN, code.prior).astype(np.int8).reshape(-1, code.circulant)
    prior = np.concatenate((level[:, -BEFORE:], level, level[:, :BEHIND]), 1).reshape(1, -1)
    here, counts = np.zeros((len(syndromes), len(known) // 64), np.uint64), np.zeros(len(syndromes), np.int64)
    ldpc_decoder.decode(
        ldpc_decoder.TOKEN, program.steps, program.places, program.mirrors, program.bits, code.circulant,
        np.array(code.pace), code.iterations, prior, syndromes, frames, here, counts,
    )  # fmt: skip
    there, there_counts = ldpc_cuda.find_errors(code, splits, known, syndromes, frames)
    assert np.array_equal(counts, there_counts), (counts, there_counts)
    assert np.array_equal(here, there)
    return int(np.sum(counts > 0))


def check_ldpc(large):
    from noclone.distill.ldpc_codes import codes

    rng = np.random.default_rng(4)
    found = 0
    for circulant, rows, columns, splits in ((128, 2, 40, 2), (256, 2, 4, 3))[: 2 if large else 1]:
        code = small_code(circulant, rows, columns, rng)
        known = rng.random(columns * circulant) < 0.1
        width = code.whole_words + splits
        syndromes = rng.integers(0, 2**64, (3, width), np.uint64)  # fit nothing
        syndromes[1] = 0  # no error
        syndromes[2] = 1  # one check
        found += compare_frames(code, splits, known, syndromes, np.arange(3))
        print("ldpc", circulant, rows, columns, splits, flush=True)
    assert found, "no frame decoded, so nothing was compared"
    for code in codes() if large else ():
        splits = code.whole_words // 3
        known = rng.random(1 << 16) < 0.02
        words = code.whole_words + splits
        syndromes = np.zeros((12, words), np.uint64)
        for frame in range(12):
            error = (rng.random(1 << 16) < 0.9 * code.threshold) & ~known
            syndromes[frame] = syndrome(code, splits, error)
        decoded = compare_frames(code, splits, known, syndromes, np.arange(12))
        print("ldpc", code.rows, "rows, frames decoded:", decoded, flush=True)


def syndrome(code, splits, error):
    """Each stretch's whole parities, then those of the first halves of what is split; from the definition."""
    columns = error.reshape(-1, code.circulant)
    whole, first = np.zeros((2, code.rows, code.circulant), bool)
    for row, half, column, shift in zip(code.row, code.half, code.column, code.shift, strict=True):
        part = np.roll(columns[column], -shift)
        whole[row] ^= part
        if half == 0:
            first[row] ^= part
    packed, halves = (np.packbits(bits.reshape(-1), bitorder="little").view(np.uint64) for bits in (whole, first))
    return np.concatenate((packed, halves[code.split_order()[:splits]]))


def check_light(large):
    from noclone.link.aes import aes256_keys, ars_keys
    from noclone.link.clicktable import click_table
    from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
    from noclone.link.light import Pulses
    from noclone.link.pulses_cuda import SET_BITS, CardPulses
    from noclone.link.tap import NO_TAP, PASS, Outcome, Tap
    from noclone.records import Basis, DecoyBB84

    rng = np.random.default_rng(5)
    keys = np.stack([aes256_keys(rng.bytes(32)) for _ in range(3)] + [ars_keys(rng.bytes(16))])
    tap = Tap((PASS, Outcome("resend", 2.0, Basis.TEST, 1)), ((0.5, 0.5),) * 16)
    length, together, segments = (1 << 18, 8, 11) if large else (60, 2, 3)
    cases = [("passive", 0.5, 400, NO_TAP), ("active", 9.0, 50, tap)]
    if large:
        cases += [("passive", 9.0, 0, tap), ("active", 0.5, 50, NO_TAP)]
    for scheme, mean, jitter_ps, whose in cases:
        count = 2 if scheme == "active" else 4
        protocol = DecoyBB84((mean, 0.1, 0.002), (0.7, 0.2, 0.1), 0.8, 0.7)
        receiver = Receiver(
            scheme, efficiency=(0.9, 1.0, 0.8, 0.95)[:count], dark_count_hz=(2e7,) * count, jitter_ps=jitter_ps
        )
        devices = LinkDevices(Source(1e9, protocol), Fibre(0.0, 0.2, 3.0), receiver)
        n_slots = segments * length - length // 3
        pulses = Pulses(devices, click_table(devices, whose), keys, length)
        here = [pulses.clicks(i, min(length, n_slots - i * length)) + (i * length << SET_BITS) for i in range(segments)]
        card = CardPulses(pulses.law, together=together)
        assert card.fits

        def otherwise(segment, n_slots):
            raise AssertionError("the card gave up")

        there, first = [], 0
        for clicks, slots in card.in_order(n_slots, otherwise):
            assert len(clicks) > 0
            assert np.all(clicks[1:] >= clicks[:-1])
            there.append(clicks + (first << SET_BITS))
            first += slots
        assert first == n_slots
        assert len(there) == -(-segments // together)
        assert np.array_equal(np.sort(np.concatenate(here)), np.sort(np.concatenate(there)))
        print("light", scheme, mean, jitter_ps, sum(map(len, here)), flush=True)


def check_switch(large):
    """NOCLONE_DEVICE=gpu sends work to the card, and changes nothing."""
    from noclone import gpu
    from noclone.distill import amplification, amplification_cuda, ldpc_cuda, ldpc_search
    from noclone.distill.ldpc_codes import codes
    from noclone.link import pulses_cuda
    from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
    from noclone.link.light import transmit_chunks
    from noclone.records import DecoyBB84

    asked = []

    def listening(module, name):
        answer = getattr(module, name)
        setattr(module, name, lambda *args: (asked.append(name), answer(*args))[1])

    amplification.LEAST_BITS_ON_CARD = 0
    listening(amplification_cuda, "amplify")
    listening(pulses_cuda.CardPulses, "clicks")
    if not large:
        pulses_cuda.TOGETHER = 2
        ldpc_cuda.find_errors = lambda *args: asked.append("find_errors") or "found"  # a whole frame takes minutes
    else:
        listening(ldpc_cuda, "find_errors")
    rng = np.random.default_rng(6)
    words, seed = rng.integers(0, 2**64, 20, np.uint64), rng.bytes(amplification.seed_bytes(1280, 700))
    receiver = Receiver(
        "passive", efficiency=(0.9,) * 4, dark_count_hz=(1e6,) * 4, dead_time_ns=30.0, afterpulse_probability=0.02
    )
    devices = LinkDevices(
        Source(1e9, DecoyBB84((0.5, 0.1, 0.002), (0.7, 0.2, 0.1), 0.8, 0.7)), Fibre(0.0, 0.2, 1), receiver
    )
    code, n_slots = codes()[5], 10**6 if large else 150

    def everything():
        light = transmit_chunks(
            devices, alice_seed=bytes(32), physics_seed=bytes(32), n_slots=n_slots, link="a-b", block=0, threads=1,
            segment_slots=None if large else 64,
        )  # fmt: skip
        syndromes = np.zeros((2, code.whole_words), np.uint64)
        errors = ldpc_search.find_errors(code, 0, np.zeros(1 << 16, np.bool_), syndromes, np.arange(2), 1)
        return amplification.amplify(words, 1280, seed, 700), np.concatenate(list(light)), errors

    with gpu.using("cpu"):
        here = everything()
    assert asked == []
    with gpu.using("gpu"):
        there = everything()
    assert set(asked) == {"amplify", "clicks", "find_errors"}, asked
    assert np.array_equal(here[0], there[0])
    assert len(here[1]) > 10
    assert np.array_equal(here[1], there[1])
    if large:
        assert all(np.array_equal(one, other) for one, other in zip(here[2], there[2], strict=True))
    print("switch", len(here[1]), flush=True)


if __name__ == "__main__":
    globals()[f"check_{sys.argv[1]}"]("--large" in sys.argv)
