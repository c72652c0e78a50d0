"""Cascade's tiles of blocks, 64 frames abreast, against sums over plain bits."""

import numpy as np
import pytest

from noclone.bits import unpack
from noclone.distill import bit_kernels
from noclone.distill import cascade_tiles as kernels
from noclone.distill.cascade_plan import Group

SIZES = [(64, 6), (100, 7), (1000, 10), (4097, 13), (8192, 13)]
ALL = np.uint64(2**64 - 1)


def random_words(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, shape, np.uint64)


def tiles_of(source, order, k):
    low, mid = (np.empty((n, 64), np.uint64) for n in (1 << (k - 6), max(1 << k >> 12, 1)))
    kernels.build_tiles(source, order, k, low, mid)
    return low, mid


def block(words, k, height, i):
    """Return the parities of block i of a height, for 64 frames."""
    m = len(words)
    return np.bitwise_xor.reduce(words[(i << height) * m >> k : ((i + 1) << height) * m >> k], initial=np.uint64(0))


def places(k, height):
    """Yield the blocks of a height: number, tile, node."""
    top = 6 if height <= 6 else 12
    for i in range(1 << (k - height)):
        yield i, i << height >> top, (1 << (top - height)) + (i & ((1 << (top - height)) - 1))


@pytest.mark.parametrize(("m", "k"), SIZES)
@pytest.mark.parametrize("p", [0, 1])
def test_tiles_hold_the_parities_of_left_halves(m, k, p):
    source = random_words(m)
    order = np.random.default_rng(1).permutation(m).astype(np.uint16)
    low, mid = tiles_of(source, order if p else order[:0], k)
    words = source[order] if p else source
    for height in range(1, min(k, 12) + 1):
        tiles = low if height <= 6 else mid
        for i, tile, node in places(k, height):
            assert tiles[tile, node] == block(words, k, height - 1, 2 * i)
    for w in range(len(low)):
        assert low[w, 0] == block(words, k, 6, w)


@pytest.mark.parametrize(("m", "k"), SIZES)
def test_singles_are_blocks_of_one_position(m, k):
    singles = np.zeros(1 << (k - 6), np.uint64)
    kernels.find_singles(m, k, singles)
    for i, tile, node in places(k, 1):
        size = ((2 * i + 2) * m >> k) - (2 * i * m >> k)
        assert size in (1, 2)
        assert int(singles[tile]) >> node & 1 == (size == 1)


def first(height):
    return 1 << ((6 if height <= 6 else 12) - height)


@pytest.mark.parametrize(("k", "height"), [(6, 5), (7, 6), (10, 3), (10, 8), (13, 12), (13, 7)])
@pytest.mark.parametrize("lanes", [1, 5, 64])
def test_top_parities_are_told_and_opened(k, height, lanes):
    """One party's top parities; and tiles filled from the differences of two parties' that add up to zero."""
    mask = np.uint64((1 << lanes) - 1)
    source = random_words((2, 1 << k)) & mask
    source[:, -1] ^= np.bitwise_xor.reduce(source, axis=1)
    low, mid = (
        np.stack(x) for x in zip(*(tiles_of(words, np.zeros(0, np.uint16), k) for words in source), strict=True)
    )
    tiles, n = (low if height <= 6 else mid), 1 << (k - height)
    out = np.zeros(2 * n * lanes // 64 + 2, np.uint64)
    kernels.top_parities(tiles, first(height), n - 1, lanes, out)
    bits = unpack(out, 2 * (n - 1) * lanes).reshape(2, n - 1, lanes)
    for b in range(2):
        for i in range(n - 1):
            assert np.array_equal(bits[b, i], unpack(block(source[b], k, height, i).reshape(1), lanes))
    opened = np.zeros_like(tiles)
    kernels.open_rows(out, first(height), n, lanes, opened)
    if k >= 12 or height <= 6:
        assert np.array_equal(opened[:, :, : first(height)], tiles[:, :, : first(height)])
    else:  # the tile reaches beyond the frame, whose root is a node below: only what lies in the frame matters
        root = 1 << (12 - k)
        inside = [
            node for node in range(root, first(height)) if node >> (node.bit_length() - root.bit_length()) == root
        ]
        assert np.array_equal(opened[:, :, inside], tiles[:, :, inside])


@pytest.mark.parametrize("lanes", [1, 5, 64])
@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True), (False, False)])
def test_records_hold_each_frame_by_itself(lanes, given):
    none = np.zeros((0, 64), np.uint64)
    tiles = [random_words((4, 64), seed) if here else none for seed, here in enumerate((*given, True))]
    above, singles = np.uint64(0b110), random_words(4, 9) if given[0] else np.zeros(0, np.uint64)
    known = np.full((lanes, 2, 5, 4), 5, np.uint64)
    kernels.fill_rows(*tiles[:2], tiles[2], above, singles, known[:, 1, :4])
    assert (known[:, 0] == 5).all()
    assert (known[:, :, 4] == 5).all()
    for lane in range(lanes):
        for w in range(4):
            columns = [t[w] >> np.uint64(lane) & np.uint64(1) if len(t) else np.zeros(64, np.uint64) for t in tiles]
            expected = [sum(int(bit) << i for i, bit in enumerate(column)) for column in columns]
            expected[1] |= 0b110 | (int(singles[w]) if len(singles) else 0)
            assert known[lane, 1, w].tolist() == [*expected, 0]


@pytest.mark.parametrize("variant", bit_kernels.variants_here())
@pytest.mark.parametrize(("m", "k", "height"), [(64, 6, 4), (100, 7, 5), (1000, 10, 9), (1024, 10, 6), (5000, 13, 10)])
def test_pass_0_finds_one_error_in_each_odd_block(variant, m, k, height):
    token = bit_kernels.token(variant)
    rng = np.random.default_rng(m)
    alice = random_words(m)
    errors = np.bitwise_and.reduce(rng.integers(0, 2**64, (5, m), np.uint64), axis=0)
    a, b = (tiles_of(x, np.zeros(0, np.uint16), k) for x in (alice, alice ^ errors))
    wanted = [np.zeros_like(x)[None] for x in a]
    found, singles = np.zeros(1 << k, np.uint64), np.zeros(1 << (k - 6), np.uint64)
    kernels.find_singles(m, k, singles)
    tops = [block(errors, k, height, i) for i in range(1 << (k - height))]
    n = kernels.want_tops(np.array([*tops, 0], np.uint64), first(height), len(tops), 64, wanted[height > 6])
    assert n == sum(int(x).bit_count() for x in tops)
    for h in range(height, 0, -1):
        if h == 1:
            n -= kernels.settle_singles(singles, wanted[0].reshape(-1, 64), found)
        told = [np.zeros(n // 64 + 2, np.uint64) for _ in range(2)]
        here = wanted[h > 6].reshape(-1, 64)
        for tiles, out in zip((a, b), told, strict=True):
            kernels.ask_level(token, tiles[h > 6], here, first(h), out)
        expected = [
            int(a[h > 6][tile, node]) >> lane & 1
            for _, tile, node in places(k, h)
            for lane in range(64)
            if int(here[tile, node]) >> lane & 1
        ]
        assert unpack(told[0], n).tolist() == expected
        low = wanted[0].reshape(-1)
        target = (64, 1, 0, here, found) if h <= 6 else (min(64, 1 << (k - 6)), 64, 1, here, low)
        kernels.enter_level(token, told[0] ^ told[1], first(h), *target)
    for i, top in enumerate(tops):
        leaves = range(i << height, (i + 1) << height)
        assert np.bitwise_xor.reduce(found[leaves.start : leaves.stop]) == top
        assert not any(int(x) & int(y) for x in found[leaves.start : leaves.stop] for y in [ALL ^ top])
    left = alice[None] ^ errors
    kernels.correct_found(found, k, left)
    assert not (~errors & (left[0] ^ alice)).any()  # what was flipped was wrong
    assert sum(int(x).bit_count() for x in found) == sum(int(x).bit_count() for x in tops)


def test_groups_know_their_tiles():
    group = Group(0, 9000 * 3, 9000, 3, 1, (4, 2, 2))
    assert (group.levels, group.words, group.mid_words, group.heights) == (14, 256, 4, (10, 12))
