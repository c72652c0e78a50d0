"""Cascade's public search against what it claims to know."""

import numpy as np
import pytest

from noclone.bits import pack
from noclone.distill.cascade import Answerer, Questioner, plan

SEED = bytes(range(32))


def frame_bits(sliced, b, lane):
    return (sliced[b] >> np.uint64(lane)).astype(np.uint8) & 1


def nodes(group):
    """Yield every block of frame 0: pass, level, first leaf, its number, its parent's, and the parent's in `split`."""
    k = group.levels
    for p in range(2):
        d = k - group.depths[p]
        for v in range(group.depths[p], k + 1):
            for s in range(0, 1 << k, 1 << (k - v)):
                heap = 1 << (v - group.depths[p]) | s >> (k - v) & ((1 << (v - group.depths[p])) - 1)
                first, top = p << 6, s >> d
                start = first << (k + 1) | top << (d + 1)
                yield p, v, s, start | heap, start | heap >> 1, first << k | top << d | heap >> 1


def bit(words, at):
    return int(words[at >> 6]) >> (at & 63) & 1


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
        pending = set(search.asked.tolist())
        for p, v, s, node, parent, half in nodes(group):
            below_top = v > group.depths[p]
            if search.opened <= p or (below_top and (not bit(search.split, half) or parent in pending)):
                continue
            low, high = s * m >> k, (s + (1 << (k - v))) * m >> k
            assert bit(search.odd, node) == left[search.perm[p]][low:high].sum() % 2
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
