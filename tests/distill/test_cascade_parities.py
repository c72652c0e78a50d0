"""Each loop of Cascade's secret half against a slow twin."""

import numpy as np
import pytest

from noclone.bits import pack, unpack, word_count
from noclone.distill import cascade_parities as kernels


def random_sliced(batches, m, lanes, seed=0):
    sliced = np.random.default_rng(seed).integers(0, 2**64, (batches, m), np.uint64)
    return sliced & np.uint64((1 << lanes) - 1)


def frame_bits(sliced, b, lane):
    return (sliced[b] >> np.uint64(lane)).astype(np.uint8) & 1


def orders(m, passes=4):
    perm, inverse = np.empty((passes, m), np.uint16), np.empty((passes, m), np.uint16)
    kernels.draw_permutations(np.arange(7, 7 + passes, dtype=np.uint64), perm, inverse)
    return perm, inverse


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
    perm, inverse = orders(300)
    for p in range(4):
        assert perm[p].tolist() == slow_permutation(7 + p, 300)
        assert np.array_equal(inverse[p][perm[p]], np.arange(300))


def test_permutations_are_uniform():
    # 6000 permutations of four things: each of 24 comes 250 times, with a deviation of 15.5.
    counts = {}
    perm, inverse = np.empty((6000, 4), np.uint16), np.empty((6000, 4), np.uint16)
    kernels.draw_permutations(np.random.default_rng(1).integers(0, 2**64, 6000, np.uint64), perm, inverse)
    for row in perm:
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    assert len(counts) == 24
    assert max(abs(n - 250) for n in counts.values()) < 6 * 15.5


@pytest.mark.parametrize("lanes", [1, 2, 7, 33, 63, 64])
def test_slicing_deals_bits_to_the_frames_in_turn(lanes):
    m, batches = 50, 2
    n_bits = batches * m * lanes - 3
    bits = np.random.default_rng(lanes).integers(0, 2, n_bits, np.uint8)
    sliced = np.empty((batches, m), np.uint64)
    kernels.slice_key(pack(bits), lanes, sliced.reshape(-1))
    padded = np.concatenate([bits, np.zeros(3, np.uint8)]).reshape(batches, m, lanes)
    for b in range(batches):
        for lane in range(lanes):
            assert np.array_equal(frame_bits(sliced, b, lane), padded[b, :, lane])
    back = np.zeros(word_count(n_bits), np.uint64)
    kernels.join_key(sliced.reshape(-1), lanes, back)
    assert np.array_equal(back, pack(bits))


@pytest.mark.parametrize(("m", "lanes"), [(64, 64), (100, 5), (1000, 64), (129, 1)])
def test_rows_hold_the_permuted_bits(m, lanes):
    sliced, (perm, _) = random_sliced(2, m, lanes), orders(m)
    rows = np.zeros((2 * lanes, word_count(m) + 8), np.uint64)
    kernels.pack_pass(sliced, perm[1], rows)
    for f in range(2 * lanes):
        assert np.array_equal(unpack(rows[f], m), frame_bits(sliced, f // lanes, f % lanes)[perm[1]])


@pytest.mark.parametrize("depth", [0, 1, 3, 5])
def test_top_parities(depth):
    m = 1000
    rows = np.random.default_rng(depth).integers(0, 2**64, (3, 16), np.uint64)
    asked = max(1, 2**depth - 1)
    out = np.empty(3 * asked, np.uint8)
    kernels.top_parities(rows, m, depth, asked, out)
    for f in range(3):
        bits = unpack(rows[f], m)
        expected = [bits[i * m >> depth : (i + 1) * m >> depth].sum() % 2 for i in range(asked)]
        assert out[f * asked : (f + 1) * asked].tolist() == expected


@pytest.mark.parametrize("m", [64, 1000, 4096])
def test_late_parities(m):
    lanes, depth = 5, 2
    sliced, (perm, _) = random_sliced(2, m, lanes), orders(m)
    chunks = np.zeros((2, 2, word_count(m)), np.uint64)
    out = np.empty(2 * 2 * 3 * lanes, np.uint8)
    kernels.late_parities(sliced, perm, 2, depth, lanes, chunks, out)
    expected = []
    for b in range(2):
        for p in (2, 3):
            permuted = sliced[b][perm[p]]
            expected_chunks = [np.bitwise_xor.reduce(permuted[i : i + 64]) for i in range(0, m, 64)]
            assert chunks[b, p - 2].tolist() == expected_chunks
            for i in range(3):
                block = np.bitwise_xor.reduce(permuted[i * m >> depth : (i + 1) * m >> depth])
                expected += [int(block) >> lane & 1 for lane in range(lanes)]
    assert out.tolist() == expected


def test_asked_parities():
    m, lanes, k = 1000, 3, 10
    sliced, (perm, _) = random_sliced(2, m, lanes), orders(m)
    rows = np.zeros((2, 6, word_count(m) + 8), np.uint64)
    for p in range(2):
        kernels.pack_pass(sliced, perm[p], rows[p])
    chunks = np.zeros((2, 2, word_count(m)), np.uint64)
    kernels.late_parities(sliced, perm, 2, 2, lanes, chunks, np.empty(36, np.uint8))
    rng = np.random.default_rng(4)
    asked, expected = [], []
    for _ in range(500):
        f, p, v = int(rng.integers(6)), int(rng.integers(4)), int(rng.integers(k - 1))
        s = int(rng.integers(1 << v)) << (k - v)
        low, high = s * m >> k, (s + (1 << (k - v - 1))) * m >> k
        asked.append(f << 36 | p << 32 | v << 26 | s)
        expected.append(frame_bits(sliced, f // lanes, f % lanes)[perm[p]][low:high].sum() % 2)
    out = np.empty(500, np.uint8)
    kernels.asked_parities(np.array(asked, np.uint64), lanes, k, sliced, perm, rows, chunks, out)
    assert out.tolist() == expected


def test_corrections_reach_every_copy():
    m, lanes = 300, 3
    sliced, (perm, inverse) = random_sliced(2, m, lanes), orders(m)

    def copies(source):
        rows = np.zeros((2, 6, word_count(m) + 8), np.uint64)
        for p in range(2):
            kernels.pack_pass(source, perm[p], rows[p])
        chunks = np.zeros((2, 2, word_count(m)), np.uint64)
        kernels.late_parities(source, perm, 2, 2, lanes, chunks, np.empty(36, np.uint8))
        return rows, chunks

    rows, chunks = copies(sliced)
    flips = np.array([f << 32 | o for f, o in [(0, 0), (5, 299), (3, 17), (3, 18)]], np.uint64)
    kernels.correct(flips, lanes, inverse, 4, sliced, rows, chunks)
    assert np.array_equal(sliced ^ random_sliced(2, m, lanes), _flipped(m, flips, lanes))
    fresh_rows, fresh_chunks = copies(sliced)
    assert np.array_equal(rows, fresh_rows)
    assert np.array_equal(chunks, fresh_chunks)


def _flipped(m, flips, lanes):
    out = np.zeros((2, m), np.uint64)
    for flip in flips.tolist():
        f, o = flip >> 32, flip & 0xFFFFFFFF
        out[f // lanes, o] ^= np.uint64(1 << f % lanes)
    return out
