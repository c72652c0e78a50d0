"""Cascade's public search against what it claims to know."""

import numpy as np
import pytest

from noclone.bits import pack
from noclone.distill.cascade import Answerer, Questioner, plan
from noclone.distill.cascade_group import Stage

SEED = bytes(range(32))
AHEAD = 1 << 30


def frame_bits(sliced, b, lane):
    return (sliced[b] >> np.uint64(lane)).astype(np.uint8) & 1


def blocks(group, p):
    """Yield the blocks of a pass below its top blocks, and these: tile, node, first leaf, leaves, is it a top block."""
    height = group.heights[p]
    for tile in range(group.words + group.mid_words):
        low = tile < group.words
        for node in range(1, 64):
            above = node.bit_length() - 1
            h = (6 if low else 12) - above
            first = (tile if low else tile - group.words) << (6 if low else 12)
            first += (node - (1 << above)) << h
            if h <= height and first < 1 << group.levels:
                yield tile, node, first, 1 << h, h == height


def parent(group, tile, node):
    """Return the tile and node of the block that this one is a half of."""
    return (tile, node >> 1) if node > 1 else (group.words + (tile >> 6), 64 + (tile & 63) >> 1)


def parity(elements, node):
    """Return a node's parity as a tile's elements say: the root's, less what goes to the other side on the way."""
    if node == 1:
        return elements & 1
    left = elements >> (node >> 1) & 1
    return left if node % 2 == 0 else parity(elements, node >> 1) ^ left


def check_what_is_known(search, differ, p):
    """Compare each known block of frame 0 with the truth; return how many there are, and which are odd and unasked."""
    group, row = search.group, search.known[0, p]
    m, k = group.frame_bits, group.levels
    place = {} if search.stage is Stage.TOPS_LATE or search.modes[0] == p else None
    pending = {(int(q & ~AHEAD) >> 6, int(q) & 63) for q in search.asked} if place is not None else set()
    known = 0
    unasked = set()
    for tile, node, first, size, top in blocks(group, p):
        above = parent(group, tile, node)
        if not top and (above in pending or not int(row[above[0], 1]) >> above[1] & 1):
            continue
        truth = int(differ[first * m >> k : (first + size) * m >> k].sum() % 2)
        assert parity(int(row[tile, 0]), node) == truth
        known += 1
        if truth and not int(row[tile, 1]) >> node & 1:
            unasked.add((tile, node))
    return known, unasked


@pytest.mark.parametrize(
    ("n_bits", "qber", "estimate"),
    [(1000, 0.05, 0.05), (512, 0.04, 0.04), (1025, 0.02, 0.02), (2500, 0.01, 0.003)],
)
@pytest.mark.parametrize("seed", range(2))
def test_the_search_always_knows_the_truth(n_bits, qber, estimate, seed):
    """After each round: a block that is known differs exactly if it holds an odd number of errors not yet found."""
    rng = np.random.default_rng((n_bits, seed))
    key = rng.integers(0, 2, n_bits, np.uint8)
    errors = (rng.random(n_bits) < qber).astype(np.uint8)
    params = plan(n_bits, estimate, rng.bytes(32))
    alice, bob = Answerer(pack(key), n_bits, params), Questioner(pack(key ^ errors), n_bits, params)
    group = params.groups[0]
    assert group.lanes == group.batches == 1
    m = group.frame_bits
    known_blocks = 0
    message = bob.next(None)
    while message is not None:
        answer = alice.answer(message)
        search = bob.search
        assert np.array_equal(alice.search.asked, search.asked)
        if search.stage.value >= Stage.WAVES.value:
            assert np.array_equal(alice.search.known[..., :2], search.known[..., :2])
            differ = frame_bits(bob._half.sliced, 0, 0) ^ frame_bits(alice._half.sliced, 0, 0)
            for p in range(2):
                known, unasked = check_what_is_known(search, differ[search.perm[p]], p)
                known_blocks += known
                # Whatever is odd is searched, or waits while the other pass is.
                n = search._n_candidates[0, p]
                waiting = {(int(q) >> 6, int(q) & 63) for q in search._candidates[0, p, :n]}
                assert unasked <= waiting
        if search.stage is Stage.LATE_WAVES:
            for p in range(2, params.passes):
                step, offset, inverse = search.orders[p - 2].tolist()
                assert step * inverse % m == 1
                order = (step * np.arange(m) + offset) % m
                quarters = [differ[order][i * m >> 2 : (i + 1) * m >> 2].sum() % 2 for i in range(4)]
                assert search.late[0, p - 2].tolist() == quarters
        message = bob.next(answer)
    assert known_blocks > 500
    assert np.array_equal(bob.words, pack(key))
