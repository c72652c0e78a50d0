"""Cascade's public search against what it claims to know."""

import numpy as np
import pytest

from noclone.bits import pack
from noclone.distill.cascade import Answerer, Questioner, plan

SEED = bytes(range(32))


def frame_bits(sliced, b, lane):
    return (sliced[b] >> np.uint64(lane)).astype(np.uint8) & 1


def nodes(group):
    """Yield every node of a tree of blocks: level, first leaf, its own number and its parent's."""
    k = group.levels
    for p in range(2):
        for v in range(group.depths[p], k + 1):
            below = v - group.depths[p]
            for s in range(0, 1 << k, 1 << (k - v)):
                top, inner = s >> (k - group.depths[p]), s >> (k - v) & ((1 << below) - 1)
                heap = 1 << below | inner
                yield (
                    p,
                    v,
                    s,
                    p << (k + 1) | top << (k - group.depths[p] + 1) | heap,
                    p << k | top << (k - group.depths[p]) | heap >> 1,
                    below,
                )


@pytest.mark.parametrize(("n_bits", "qber"), [(1000, 0.05), (512, 0.04), (1025, 0.02)])
def test_the_search_always_knows_the_truth(n_bits, qber):
    """After each round: a block marked known differs exactly if it holds an odd number of errors not yet found."""
    rng = np.random.default_rng(n_bits)
    key = rng.integers(0, 2, n_bits, np.uint8)
    errors = (rng.random(n_bits) < qber).astype(np.uint8)
    params = plan(n_bits, qber, SEED)
    alice, bob = Answerer(pack(key), n_bits, params), Questioner(pack(key ^ errors), n_bits, params)
    group = params.groups[0]
    assert group.lanes == group.batches == 1
    m, k = group.frame_bits, group.levels
    known_blocks = 0
    message = bob.next(None)
    while message is not None:
        answer = alice.answer(message)
        assert np.array_equal(alice._search.odd, bob._search.odd)
        assert np.array_equal(alice._search.split, bob._search.split)
        assert np.array_equal(alice._search.asked, bob._search.asked)
        search, left = bob._search, frame_bits(bob._half.sliced, 0, 0) ^ frame_bits(alice._half.sliced, 0, 0)
        pending = {int(code) for code in search.asked[:, 0]}
        for p, v, s, node, parent, below in nodes(group):
            heap_parent = (
                node - (node & ((2 << (k - group.depths[p])) - 1)) + ((node & ((2 << (k - group.depths[p])) - 1)) >> 1)
            )
            if search.opened <= p or (below and (not search.split[parent] or heap_parent in pending)):
                continue
            low, high = s * m >> k, (s + (1 << (k - v))) * m >> k
            assert search.odd[node] == left[search.perm[p]][low:high].sum() % 2
            known_blocks += 1
        if search.opened == params.passes:
            for p in range(2, params.passes):
                step, offset, inverse = search.orders[p - 2].tolist()
                assert step * inverse % m == 1
                order = (step * np.arange(m) + offset) % m
                quarters = [left[order][i * m >> 2 : (i + 1) * m >> 2].sum() % 2 for i in range(4)]
                assert search.late[0, p - 2].tolist() == quarters
        message = bob.next(answer)
    assert known_blocks > 500
    assert np.array_equal(bob.words, pack(key))
