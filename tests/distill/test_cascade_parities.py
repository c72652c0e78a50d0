"""Each loop of Cascade's secret half against a slow twin."""

import math

import numpy as np
import pytest

from noclone.bits import pack, unpack, word_count
from noclone.distill import cascade_parities as kernels


def random_sliced(batches, m, lanes, seed=0):
    sliced = np.random.default_rng(seed).integers(0, 2**64, (batches, m), np.uint64)
    return sliced & np.uint64((1 << lanes) - 1)


def frame_bits(sliced, b, lane):
    return (sliced[b] >> np.uint64(lane)).astype(np.uint8) & 1


def permutations(m, passes=2):
    perm = np.empty((passes, m), np.uint16)
    kernels.draw_permutations(np.arange(7, 7 + passes, dtype=np.uint64), perm)
    return perm


def affine(m):
    """Return steps, offsets and inverse steps of two late passes, and the orders that they mean."""
    steps = [x for x in (m // 3, m // 2 + 1, 7, 11, 13) if math.gcd(x, m) == 1][:2]
    rows = np.array([(a, 5 * a % m, pow(a, -1, m)) for a in steps], np.int64)
    return rows, [(a * np.arange(m) + c) % m for a, c, _ in rows]


def slow_permutation(state, m):
    mask, row = (1 << 64) - 1, list(range(m))
    for i in range(m - 1, 0, -1):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        j = (z >> 32) * (i + 1) >> 32
        row[i], row[j] = row[j], row[i]
    return row


def test_permutations_follow_the_definition():
    perm = permutations(300, 4)
    for p in range(4):
        assert perm[p].tolist() == slow_permutation(7 + p, 300)


@pytest.mark.parametrize(("m", "k"), [(64, 6), (100, 7), (1000, 10), (65_536, 16)])
def test_each_position_has_the_leaf_that_holds_its_place(m, k):
    order, leaf = permutations(m)[1], np.empty((2, m), np.uint16)
    kernels.place_leaves(order, k, leaf)
    for row, place in ((leaf[0], np.arange(m)), (leaf[1], np.argsort(order))):
        s = row.astype(np.int64)
        assert np.array_equal(s * m >> k, place)
        assert np.array_equal((s + 1) * m >> k, place + 1)


def test_permutations_are_uniform():
    # 6000 permutations of four things: each of 24 comes 250 times, with a deviation of 15.5.
    counts = {}
    perm = np.empty((6000, 4), np.uint16)
    kernels.draw_permutations(np.random.default_rng(1).integers(0, 2**64, 6000, np.uint64), perm)
    for row in perm:
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    assert len(counts) == 24
    assert max(abs(n - 250) for n in counts.values()) < 6 * 15.5


@pytest.mark.parametrize("lanes", [1, 2, 7, 33, 63, 64])
def test_slicing_deals_bits_to_the_frames_in_turn(lanes):
    m, batches = 50, 2
    n_bits = batches * m * lanes - 3
    bits = np.random.default_rng(lanes).integers(0, 2, n_bits, np.uint8)
    order, sliced = permutations(m)[0], np.empty((batches, m), np.uint64)
    kernels.slice_key(pack(bits), lanes, order, sliced)
    padded = np.concatenate([bits, np.zeros(3, np.uint8)]).reshape(batches, m, lanes)
    for b in range(batches):
        for lane in range(lanes):
            assert np.array_equal(frame_bits(sliced, b, lane), padded[b, order, lane])
    back = np.zeros(word_count(n_bits), np.uint64)
    kernels.join_key(sliced, lanes, order, back)
    assert np.array_equal(back, pack(bits))


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


def test_the_first_waves_parities():
    rng = np.random.default_rng(3)
    known = rng.integers(0, 2**64, (5, 2, 17, 3), np.uint64)
    counts = np.array([3, 0, 70, 1, 40], np.int32)
    active = np.array([0, 2, 3, 4], np.int32)
    asked = rng.integers(0, 17 * 64, counts.sum()).astype(np.int32)
    out = rng.integers(0, 2**64, 3, np.uint64)
    kernels.first_parities(asked, active, counts, known, out)
    frames = np.repeat(np.arange(5), counts)
    expected = [int(known[f, 1, q >> 6, 2]) >> (q & 63) & 1 for f, q in zip(frames, asked.tolist(), strict=True)]
    assert unpack(out, len(expected)).tolist() == expected


@pytest.mark.parametrize(("m", "k"), [(1000, 10), (1024, 10), (65, 7)])
def test_late_searches_parities(m, k):
    lanes, at = 3, 61
    sliced, (rows, orders) = random_sliced(2, m, lanes), affine(m)
    chunks = np.zeros((2, 2, word_count(m)), np.uint64)
    kernels.late_parities(sliced, rows, 2, lanes, chunks, 0, np.zeros(3, np.uint64))
    rng = np.random.default_rng(4)
    modes, active = np.array([2, 0, 2, 1, 2, 2], np.uint8), np.arange(6, dtype=np.int32)
    search, expected = np.zeros(6, np.int64), []
    for f in np.flatnonzero(modes == 2).tolist():
        p, v = int(rng.integers(2)), int(rng.integers(2, k))
        s = int(rng.integers(1 << v)) << (k - v)
        search[f] = (p + 2) << 32 | v << 26 | s
        size = 1 << max(k - v - 2, 0)
        for i in range(3 if v < k - 1 else 1):
            low, high = (s + i * size) * m >> k, (s + (i + 1) * size) * m >> k
            expected.append(frame_bits(sliced, f // lanes, f % lanes)[orders[p]][low:high].sum() % 2)
    out = np.zeros(4, np.uint64)
    kernels.searched_parities(at, active, modes, lanes, k, sliced, rows, chunks, search, out)
    assert unpack(out, at + len(expected)).tolist()[at:] == expected


def test_corrections_reach_every_copy():
    m, lanes = 300, 3
    sliced, (rows, _) = random_sliced(2, m, lanes), affine(m)

    def sums(source):
        chunks = np.zeros((2, 2, word_count(m)), np.uint64)
        kernels.late_parities(source, rows, 2, lanes, chunks, 0, np.zeros(3, np.uint64))
        return chunks

    chunks = sums(sliced)
    errors = [(0, 0, 0), (1, 299, 2), (1, 17, 0), (1, 17, 1), (0, 18, 0)]
    flips = np.array([b << 22 | o << 6 | lane for b, o, lane in errors], np.int64)
    expected = sliced.copy()
    for b, o, lane in errors:
        expected[b, o] ^= np.uint64(1 << lane)
    kernels.correct(flips, rows, True, sliced, chunks)
    assert np.array_equal(sliced, expected)
    assert np.array_equal(chunks, sums(sliced))
