"""Each loop of Cascade's secret half against a slow twin."""

import numpy as np
import pytest

from noclone.bits import pack, word_count
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
