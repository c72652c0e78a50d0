"""The late passes of Cascade's search, each loop against a slow twin."""

import math

import numpy as np
import pytest

from noclone.bits import unpack, word_count
from noclone.distill import cascade_desk as on
from noclone.distill import cascade_late as kernels

PASSES, BLOCKS = 2, 4


def random_sliced(batches, m, lanes, seed=0):
    sliced = np.random.default_rng(seed).integers(0, 2**64, (batches, m), np.uint64)
    return sliced & np.uint64((1 << lanes) - 1)


def frame_bits(sliced, b, lane):
    return (sliced[b] >> np.uint64(lane)).astype(np.uint8) & 1


def affine(m):
    """Return steps, offsets and inverse steps of two late passes, and the orders that they mean."""
    steps = [x for x in (m // 3, m // 2 + 1, 7, 11, 13) if math.gcd(x, m) == 1][:2]
    rows = np.array([(a, 5 * a % m, pow(a, -1, m)) for a in steps], np.int64)
    return rows, [(a * np.arange(m) + c) % m for a, c, _ in rows]


def read_words(out, lanes, n):
    """Return n numbers of `lanes` bits each."""
    bits = unpack(out, n * lanes).reshape(n, lanes)
    return [sum(int(bit) << i for i, bit in enumerate(row)) for row in bits]


@pytest.mark.parametrize("m", [64, 1000, 4096, 77])
def test_late_parities(m):
    lanes, depth = 5, 2
    sliced, (rows, orders) = random_sliced(2, m, lanes), affine(m)
    chunks = np.zeros((2, 2, word_count(m)), np.uint64)
    out = np.zeros(3, np.uint64)
    kernels.late_parities(sliced, rows, depth, lanes, chunks, 0, out)
    expected = []
    for b in range(2):
        for p in range(2):
            permuted = sliced[b][orders[p]]
            assert chunks[b, p].tolist() == [np.bitwise_xor.reduce(permuted[i : i + 64]) for i in range(0, m, 64)]
            expected += [np.bitwise_xor.reduce(permuted[i * m >> depth : (i + 1) * m >> depth]) for i in range(3)]
    assert read_words(out, lanes, 12) == expected


def sums_of(sliced, rows):
    chunks = np.zeros((len(sliced), PASSES, word_count(sliced.shape[1])), np.uint64)
    kernels.late_parities(sliced, rows, 2, 3, chunks, 0, np.zeros(3, np.uint64))
    return chunks


@pytest.mark.parametrize(("m", "k"), [(1000, 10), (1024, 10), (65, 7)])
def test_late_searches_parities(m, k):
    lanes = 3
    sliced, (rows, orders) = random_sliced(2, m, lanes), affine(m)
    chunks = sums_of(sliced, rows)
    rng = np.random.default_rng(4)
    modes, active = np.array([2, 0, 2, 1, 2, 2], np.uint8), np.arange(6, dtype=np.int32)
    searches, expected = np.zeros(6, np.int64), []
    for f in np.flatnonzero(modes == 2).tolist():
        p, v = int(rng.integers(2)), int(rng.integers(2, k))
        s = int(rng.integers(1 << v)) << (k - v)
        searches[f] = (p + 2) << 32 | v << 26 | s
        size = 1 << max(k - v - 2, 0)
        for i in range(3 if v < k - 1 else 1):
            low, high = (s + i * size) * m >> k, (s + (i + 1) * size) * m >> k
            expected.append(frame_bits(sliced, f // lanes, f % lanes)[orders[p]][low:high].sum() % 2)
    desk = on.lay(
        frame_bits=m, levels=k, lanes=lanes, late_passes=PASSES, active=active, n_active=6, modes=modes,
        searches=searches, orders=rows, sliced=sliced, chunks=chunks,
    )  # fmt: skip
    out = np.full(20, 7, np.uint8)
    kernels.searched_parities(desk, out.ctypes.data)
    assert out.tolist() == expected + [7] * (20 - len(expected))


@pytest.mark.parametrize("corrects", [False, True])
@pytest.mark.parametrize("m", [300, 256])
def test_errors_reach_every_late_pass(m, corrects):
    """Top blocks change at both ends; sums of the key only where it is corrected."""
    lanes = 3
    sliced, (rows, orders) = random_sliced(2, m, lanes), affine(m)
    chunks, late = sums_of(sliced, rows), np.zeros((2, PASSES, BLOCKS), np.uint64)
    desk = on.lay(
        frame_bits=m, late_passes=PASSES, late_blocks=BLOCKS, orders=rows, late=late, chunks=chunks, corrects=corrects
    )
    after, flips = sliced.copy(), np.zeros((2, m), np.uint64)
    for b, o, lane in [(0, 0, 0), (1, m - 1, 2), (1, 17, 0), (1, 17, 1), (0, 18, 0)]:
        kernels.flip_late(desk, b, o, 1 << lane)
        after[b, o] ^= np.uint64(1 << lane)
        flips[b, o] ^= np.uint64(1 << lane)
    assert np.array_equal(chunks, sums_of(after if corrects else sliced, rows))
    for b in range(2):
        for p in range(PASSES):
            places = flips[b][orders[p]]
            expected = [np.bitwise_xor.reduce(places[i * m // 4 : (i + 1) * m // 4]) for i in range(BLOCKS)]
            assert late[b, p].tolist() == expected


def test_a_frame_searches_its_first_odd_block():
    late = np.zeros((2, PASSES, BLOCKS), np.uint64)
    desk = on.lay(lanes=3, levels=10, late_passes=PASSES, late_blocks=BLOCKS, late=late)
    assert kernels.first_odd(desk, 4) == 0
    late[1, 1, 3] = 0b010
    late[1, 0, 2] = 0b101
    assert kernels.first_odd(desk, 4) == 3 << 32 | 2 << 26 | 3 << 8
    assert kernels.first_odd(desk, 5) == 2 << 32 | 2 << 26 | 2 << 8
    assert kernels.first_odd(desk, 1) == 0
