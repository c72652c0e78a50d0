"""The whole of Cascade against a slow twin: the same bits cross in the same rounds, and the same key comes out.

The twin plays by the rules of `noclone.distill.cascade` one bit at a time, with dictionaries and lists. It sees both
keys and returns what Alice tells, round by round, bit by bit. Blocks are (pass, height, number): a pass deals a frame's
positions to 2^k leaves, some of them empty, and block i of height h holds leaves i 2^h and following.
"""

import struct
from collections import defaultdict

import numpy as np
import pytest

from noclone.bits import pack, unpack
from noclone.distill.cascade import Answerer, Questioner, plan

LATE_BLOCKS = 4
HEADER = struct.Struct("<4sHHIQ")


class Frame:
    """One frame: both keys' bits by position, what was asked, and what the frame is at."""

    def __init__(self, alice, bob, leaves, heights, orders):
        self.alice, self.bob, self.leaves, self.heights, self.orders = alice, bob, leaves, heights, orders
        self.split = set()
        self.candidates = [[], []]
        self.mode, self.queries = 1, []  # queries in trees: (block, ahead)
        self.search = None  # late: (pass, first leaf, leaves)
        self.flipped = 0

    def positions(self, block):
        p, h, i = block
        return [x for x in self.leaves[p][i << h : (i + 1) << h] if x >= 0]

    def told(self, block):
        return int(self.alice[self.positions(block)].sum() % 2)

    def odd(self, block):
        places = self.positions(block)
        return int((self.alice[places] ^ self.bob[places]).sum() % 2)

    def flip(self, o):
        self.bob[o] ^= 1
        self.flipped += 1

    def known(self, block):
        p, h, i = block
        return h == self.heights[p] or (p, h + 1, i >> 1) in self.split

    def smallest_known(self, p, o):
        leaf = self.leaves[p].index(o)
        h = self.heights[p]
        while (p, h, leaf >> h) in self.split:
            h -= 1
        assert h > 0
        assert len(self.positions((p, h, leaf >> h))) > 1
        return p, h, leaf >> h

    def ask(self, block, tail):
        """Ask about a block, in the tail about its halves too, as long as these lie in the same tile of six levels."""
        p, h, i = block
        asked = [block]
        if tail and (h - 1) % 6:
            asked += [(p, h - 1, 2 * i), (p, h - 1, 2 * i + 1)]
        for n, one in enumerate(asked):
            if len(self.positions(one)) > 1 and one not in self.split:
                self.split.add(one)
                self.queries.append((one, n > 0))

    def descend(self, block, tail, errors):
        """From an odd block go down to where nobody asked yet, or to an error."""
        while len(self.positions(block)) > 1:
            if block not in self.split:
                self.ask(block, tail)
                return
            p, h, i = block
            block = (p, h - 1, 2 * i if self.odd((p, h - 1, 2 * i)) else 2 * i + 1)
        errors.extend(self.positions(block))

    def advance(self, tail, late):
        """Use this round's outcomes, which the twin simply looks up; prepare the next queries."""
        asked, self.queries, errors = self.queries, [], []
        if self.mode == 2 and self.search:
            self.advance_late(errors)
        for (p, h, i), ahead in asked:
            halves = (p, h - 1, 2 * i), (p, h - 1, 2 * i + 1)
            odd = [self.odd(half) for half in halves]
            if not ahead or sum(odd) == 2:
                for half, is_odd in zip(halves, odd, strict=True):
                    if is_odd:
                        self.descend(half, tail, errors)
        for o in errors:
            self.flip(o)
        for q in range(2):
            if q != self.mode:
                self.candidates[q] += [self.smallest_known(q, o) for o in errors]
        if not self.queries and not self.search:
            self.next_wave(tail, late)

    def next_wave(self, tail, late):
        for q in (1, 0) if self.mode == 0 else (0, 1):
            candidates, self.candidates[q] = self.candidates[q], []
            for block in candidates:
                if self.odd(block) and block not in self.split:
                    self.ask(block, tail)
            if self.queries:
                self.mode = q
                return
        if late:
            self.mode = 2
            self.search = self.first_odd()

    def quarter(self, p, i):
        m = len(self.alice)
        return self.orders[p][i * m // LATE_BLOCKS : (i + 1) * m // LATE_BLOCKS]

    def first_odd(self):
        k = len(self.leaves[0]).bit_length() - 1
        for p in range(len(self.orders)):
            for i in range(LATE_BLOCKS):
                places = self.quarter(p, i)
                if (self.alice[places] ^ self.bob[places]).sum() % 2:
                    return p, i << (k - 2), 1 << (k - 2)
        return None

    def parts(self):
        """Return the positions in each part that a late search asks for, and the parts' leaves."""
        p, first, size = self.search
        k, m = len(self.leaves[0]).bit_length() - 1, len(self.alice)
        n = 4 if size > 2 else 2
        starts = [first + j * size // n for j in range(n)]
        return [self.orders[p][s * m >> k : (s + size // n) * m >> k] for s in starts], starts, size // n

    def advance_late(self, errors):
        parts, starts, size = self.parts()
        odd = [int((self.alice[x] ^ self.bob[x]).sum() % 2) for x in parts]
        part = odd[:-1].index(1) if 1 in odd[:-1] else len(parts) - 1
        self.search = (self.search[0], starts[part], size)
        if len(parts[part]) == 1:
            errors.extend(parts[part])
            self.search = None


def leaf_orders(perm, k):
    """Return, for each pass, the position that lies in each leaf, or -1."""
    m = len(perm[0])
    out = []
    for order in perm:
        row = [-1] * (1 << k)
        for s in range(1 << k):
            if s * m >> k != (s + 1) * m >> k:
                row[s] = int(order[s * m >> k])
        out.append(row)
    return out


class Twin:
    """One group. `rounds` holds what Alice tells; `bob` the corrected keys, frame by frame."""

    def __init__(self, alice, bob, group, perm, dealt, orders):
        m, lanes = group.frame_bits, group.lanes
        shape = (group.batches, m, lanes)
        room = group.batches * m * lanes
        cut = [np.concatenate([unpack(x, group.n_bits), np.zeros(room - group.n_bits, np.uint8)]).reshape(shape)
               for x in (alice, bob)]  # fmt: skip
        leaves = leaf_orders(perm, group.levels)
        late = [(step * np.arange(m) + offset) % m for step, offset, _ in orders.tolist()]
        self.group, self.rounds = group, []
        self.frames = [
            Frame(*(x[b][dealt, lane].copy() for x in cut), leaves, group.heights, late)
            for b in range(group.batches)
            for lane in range(lanes)
        ]
        self.pass_0()
        self.waves()

    def by_batch(self):
        lanes = self.group.lanes
        return [self.frames[i : i + lanes] for i in range(0, len(self.frames), lanes)]

    def tops(self, p):
        h, n = self.group.heights[p], 1 << self.group.depths[p]
        return [f.told((p, h, i)) for batch in self.by_batch() for i in range(n - p) for f in batch]

    def late_tops(self):
        blocks = [(p, i) for p in range(len(self.frames[0].orders)) for i in range(LATE_BLOCKS - 1)]
        return [int(f.alice[f.quarter(*x)].sum() % 2) for batch in self.by_batch() for x in blocks for f in batch]

    def pass_0(self):
        h = self.group.heights[0]
        self.rounds.append(self.tops(0))
        wanted = {f: [i for i in range(1 << self.group.depths[0]) if f.odd((0, h, i))] for f in self.frames}
        found = defaultdict(list)
        for height in range(h, 0, -1):
            told, following = [], {f: [] for f in self.frames}
            for batch in self.by_batch():
                here = [(i, lane) for lane, frame in enumerate(batch) for i in wanted[frame]]
                for i, lane in sorted(here):
                    f = batch[lane]
                    block, left = (0, height, i), (0, height - 1, 2 * i)
                    if len(f.positions(block)) == 1:
                        found[f] += f.positions(block)
                        continue
                    told.append(f.told(left))
                    f.split.add(block)
                    following[f].append(2 * i if f.odd(left) else 2 * i + 1)
            wanted = following
            if told:
                self.rounds.append(told)
        for f in self.frames:
            for o in found[f] + [o for i in wanted[f] for o in f.positions((0, 0, i))]:
                f.flip(o)
            f.flipped = 0

    def waves(self):
        self.rounds.append(self.tops(1))
        h = self.group.heights[1]
        for f in self.frames:
            for i in range(1 << self.group.depths[1]):
                if f.odd((1, h, i)):
                    f.ask((1, h, i), False)
        active, tail = [f for f in self.frames if f.queries], False
        while True:
            told = [f.told((p, h - 1, 2 * i)) for f in active for (p, h, i), _ in f.queries]
            told += [int(f.alice[x].sum() % 2) for f in active if f.search for x in f.parts()[0][:-1]]
            opening = not tail and len(told) <= len(self.frames)
            if opening:
                told += self.late_tops()
                active = active + [f for f in self.frames if not f.queries]
                tail = True
            if not told:
                return
            self.rounds.append(told)
            for f in active:
                f.advance(tail, tail)
            active = [f for f in active if f.queries or f.search]


def play(n_bits, qber, estimate, seed, frame_bits):
    """Return what Alice tells, round by round, Bob's key, and the twin."""
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 2, n_bits, np.uint8)
    other = key ^ (rng.random(n_bits) < qber).astype(np.uint8)
    params = plan(n_bits, estimate, rng.bytes(32), frame_bits=frame_bits)
    (group,) = params.groups
    alice, bob = Answerer(pack(key), n_bits, params), Questioner(pack(other), n_bits, params)
    search = alice.search
    twin = Twin(pack(key), pack(other), group, search.perm.tolist(), search.dealt, search.orders)
    rounds, message = [], bob.next(None)
    while message is not None:
        answer = alice.answer(message)
        count = HEADER.unpack_from(answer)[4]
        body = np.frombuffer(answer[HEADER.size :], np.uint8)
        rounds.append(np.unpackbits(body, count=count, bitorder="little").tolist())
        message = bob.next(answer)
    assert alice.leak_bits == bob.leak_bits == sum(map(len, rounds))
    return rounds, bob, twin


@pytest.mark.parametrize(
    ("n_bits", "qber", "estimate", "frame_bits"),
    [
        (64, 0.05, 0.05, 64),
        (1000, 0.03, 0.03, 1000),
        (1024, 0.05, 0.02, 128),
        (5003, 0.04, 0.04, 200),
        (9000, 0.02, 0.02, 130),  # two batches
        (16_384, 0.03, 0.03, 256),  # one batch of 64 lanes
        (20_000, 0.02, 0.02, 4096),
        (8192, 0.01, 0.004, 8192),  # top blocks higher than a tile, two mid tiles
        (9001, 0.01, 0.01, 9001),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_the_same_bits_cross(n_bits, qber, estimate, frame_bits, seed):
    rounds, bob, twin = play(n_bits, qber, estimate, seed, frame_bits)
    assert len(rounds) == len(twin.rounds)
    for ours, theirs in zip(rounds, twin.rounds, strict=True):
        assert ours == theirs
    group = twin.group
    bits = np.zeros((group.batches, group.frame_bits, group.lanes), np.uint8)
    for i, frame in enumerate(twin.frames):
        bits[i // group.lanes, bob.search.dealt, i % group.lanes] = frame.bob
    assert np.array_equal(unpack(bob.words, n_bits), bits.reshape(-1)[:n_bits])


def test_late_blocks_behind_a_full_word_of_queries():
    """The late passes' parities begin where those of the last waves end: here behind exactly 64 of them."""
    rounds, _, twin = play(96 * 256, 0.04, 0.04, 17, 256)
    tops = len(twin.frames) * 8 * 3
    assert any(len(told) == tops + 64 for told in rounds)  # if not, another seed must be found
    assert rounds == twin.rounds
