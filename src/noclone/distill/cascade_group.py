"""One group of Cascade's frames: the search that both ends run alike, and one party's key and parities.

`Search` is the public half: fed with the outcomes of a round, it says which parities are asked next and which positions
were wrong. `Half` is the secret half: it tells its party's parities and corrects its key. The stages in order:

    pass 0's top blocks; pass 0's levels, all frames in step (`cascade_tiles`); pass 1's top blocks; waves in both
    passes, each frame by itself (`cascade_search`); the late passes' top blocks, beside the last of these waves; more
    waves, and late searches in between.
"""

from __future__ import annotations

import hashlib
import io
import math
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words, word_count
from noclone.distill import cascade_desk
from noclone.distill.cascade_plan import LATE_DEPTH, CascadeParameters, Group
from noclone.errors import Aborted

BRISK_QUERIES = 1 << 14  # at some 10 ns each
BRISK_BATCHES = 2  # of 2^22 bits, for which the late passes are opened, or the key is put together again, in one step
NO_ORDER = np.zeros(0, np.uint16)
NO_TILES = np.zeros((0, 64), np.uint64)


class Stage(Enum):
    """What the round at hand is about."""

    TOPS_0 = 0
    LEVELS_0 = 1
    TOPS_1 = 2
    WAVES = 3
    TOPS_LATE = 4
    LATE_WAVES = 5
    DONE = 6


def _orders(seed: bytes, late: int, m: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the starts of the first two passes' permutations, and each late pass's step, offset and inverse step."""
    stream = io.BytesIO(hashlib.shake_256(b"noclone cascade 2\0" + seed).digest(16 + 1024 * late))
    starts = np.frombuffer(stream.read(16), "<u8").astype(np.uint64)
    orders = np.empty((late, 3), np.int64)
    for p in range(late):
        offset, *draws = np.frombuffer(stream.read(1024), "<u8")
        step = next((x for draw in draws if math.gcd(x := int(draw) % m, m) == 1), 1)  # a fifth are coprime at least
        orders[p] = step, int(offset) % m, pow(step, -1, m)
    return starts, orders


def first_node(height: int) -> int:
    """Return the first node of a height in its tile: the nodes of that height are first .. 2 first - 1."""
    return 1 << ((6 if height <= 6 else 12) - height)


class Levels:
    """Pass 0, while it is searched: what is wanted, 64 frames abreast, and what was found, leaf by leaf."""

    def __init__(self, group: Group) -> None:
        b = group.batches
        self.low = np.zeros((b, group.words, 64), np.uint64)
        self.mid = np.zeros((b, group.mid_words, 64), np.uint64)
        self.found = np.zeros(b << group.levels, np.uint64)
        self.height = group.heights[0]

    def at(self, low: Any, mid: Any) -> Any:
        """Return those of two sets of tiles that hold the level at hand."""
        return low if self.height <= 6 else mid


class Search:
    """The public half. Both ends hold one, feed it the same outcomes, and so agree."""

    def __init__(self, group: Group, params: CascadeParameters) -> None:
        # numba: only where it is needed
        from noclone.distill import cascade_known, cascade_parities, cascade_search, cascade_tiles
        from noclone.distill.bit_kernels import BITS

        self.kernels = cascade_search
        self.tiles = cascade_tiles
        self.bits = BITS
        self.group = group
        self.late_passes = params.passes - 2
        self.stage = Stage.TOPS_0
        self.in_waves = False  # whether the stage is one of waves, of which there are hundreds of rounds
        m, k, frames = group.frame_bits, group.levels, group.frames
        starts, self.orders = _orders(params.seed, self.late_passes, m)
        self.perm = np.empty((2, m), np.uint16)
        cascade_parities.draw_permutations(starts, self.perm)
        self.dealt = self.perm[0].copy()  # the key's order; from here on positions are numbered by pass 0
        self.perm[0] = np.arange(m, dtype=np.uint16)
        self.leaf = np.empty_like(self.perm)
        cascade_parities.place_leaves(self.perm[1], k, self.leaf)
        self.singles = np.zeros(0 if m == 1 << k else group.words, np.uint64)
        self.tiles.find_singles(m, k, self.singles)
        self.levels: Levels | None = Levels(group)
        self.own_tiles = NO_TILES, NO_TILES
        tiles = (group.words + group.mid_words) | 1  # odd, or all frames' records would fall into a few sets of a cache
        self.known = np.empty((frames, 2, tiles, cascade_known.RECORD_WORDS), np.uint64)
        self.known[:, :, -1] = 0
        self.late = np.zeros((group.batches, self.late_passes, 1 << LATE_DEPTH), np.uint64)
        self.counts = np.zeros(frames, np.int32)
        self.modes = np.ones(frames, np.uint8)
        # The tail may find two errors where it asked ahead, and ask for three parities in each frame.
        room = (1 << group.depths[1]) + max(64, 1 << (k - 6))
        self._candidates = np.empty((frames, 2, room), np.int32)
        self._n_candidates = np.zeros((frames, 2), np.int64)
        self._spaces = [np.empty(frames * room + 1 + cascade_desk.FETCHED, np.int32) for _ in range(2)]
        self._asked_at = 0
        self._active = np.empty(frames + 1, np.int32)
        self._told = np.empty(frames * room + 64, np.uint8)  # a byte for each query, of which 64 are read at a time
        self.said = np.zeros(frames * room // 64 + 2, np.uint64)
        self.told = np.zeros(len(self.said), np.uint64)
        self.said_bytes, self.told_bytes = self.said.view(np.uint8).data, self.told.view(np.uint8).data
        self._tables = cascade_known.TOGGLED, cascade_known.ABOVE, cascade_known.PARITY
        self._others = np.zeros(frames, np.int64), np.empty(room + 1, np.int32), np.empty(len(self._told), np.uint8)
        self.desk = cascade_desk.lay(
            known=self.known, perm=self.perm, leaf=self.leaf, singles=self.singles if len(self.singles) else 0,
            orders=self.orders, late=self.late, searches=self._others[0], active=self._active, counts=self.counts,
            modes=self.modes, candidates=self._candidates, n_candidates=self._n_candidates, found=self._others[1],
            asked=self._spaces[0], following=self._spaces[1], outcomes=self._others[2], told=self._told,
            said=self.said, tells=self.told, toggled=self._tables[0], above=self._tables[1], parity=self._tables[2],
            frames=frames, frame_bits=m, lanes=group.lanes, levels=k, late_passes=self.late_passes,
            late_blocks=1 << LATE_DEPTH, room=room, words=group.words, tiles=tiles, deep=group.heights[0] > 6,
            deep_1=group.heights[1] > 6,
        )  # fmt: skip
        self.n_queries = frames << group.depths[0]
        self.corrected = 0

    @property
    def done(self) -> bool:
        return self.stage is Stage.DONE

    @property
    def brisk(self) -> bool:
        """Whether it takes little to enter the outcomes of the round at hand and to do what may follow."""
        return self.in_waves and self.n_queries <= BRISK_QUERIES and self.group.batches <= BRISK_BATCHES

    @property
    def asked(self) -> NDArray[np.int32]:
        """The queries in trees of the round at hand."""
        return self._spaces[self._asked_at][: self.desk[cascade_desk.N_ASKED]]

    def advance(self, outcomes: Words) -> None:
        """Enter the outcomes of a round that is not one of waves, and prepare the next one."""
        if self.stage is Stage.TOPS_0:
            self._want_tops(outcomes)
        elif self.stage is Stage.LEVELS_0:
            self._next_level(outcomes)
        elif self.stage is Stage.TOPS_1:
            self._open_pass_1(outcomes)
        else:
            self._open_late(outcomes)

    def _want_tops(self, outcomes: Words) -> None:
        levels, group = self.levels, self.group
        assert levels is not None
        tiles = levels.at(levels.low, levels.mid)
        self.n_queries = self.tiles.want_tops(
            outcomes, first_node(levels.height), 1 << group.depths[0], group.lanes, tiles
        )
        self.stage = Stage.LEVELS_0
        self._skip_singles()

    def _next_level(self, outcomes: Words) -> None:
        levels, group = self.levels, self.group
        assert levels is not None
        low, mid = levels.low.reshape(-1, 64), levels.mid.reshape(-1, 64)
        first = first_node(levels.height)
        if levels.height <= 6:
            self.tiles.enter_level(self.bits, outcomes, first, 64, 1, 0, low, levels.found)
        else:
            per = group.words // group.mid_words
            self.tiles.enter_level(self.bits, outcomes, first, per, 64, 1, mid, low.reshape(-1))
        levels.height -= 1
        self._skip_singles()

    def _skip_singles(self) -> None:
        """Before the lowest level, leave out blocks of one position; go on to pass 1 when nothing is left to ask."""
        levels, group = self.levels, self.group
        assert levels is not None
        if levels.height == 1 and len(self.singles):
            self.n_queries -= self.tiles.settle_singles(self.singles, levels.low.reshape(-1, 64), levels.found)
        if levels.height == 0 or self.n_queries == 0:
            self.stage = Stage.TOPS_1
            self.corrected = int(np.bitwise_count(levels.found).sum())
            self.n_queries = group.frames * ((1 << group.depths[1]) - 1)

    def keep_pass_0(self, own_tiles: tuple[Words, Words]) -> None:
        """Keep of pass 0 what was asked, and one's own parities: nothing that is known there is odd any more."""
        levels, batches = self.levels, self.group.batches
        assert levels is not None
        for b in range(batches):
            self._fill(0, b, (NO_TILES, NO_TILES), (levels.low[b], levels.mid[b]), own_tiles)
        self.levels = None

    def _fill(self, p: int, b: int, odd: Any, asked: Any, own: Any) -> None:
        """Write one batch's records of one pass.

        What stands above the top blocks, and blocks of one position, count as asked: nobody will ask there.
        """
        words, lanes, height = self.group.words, self.group.lanes, self.group.heights[p]
        rows = self.known[b * lanes : (b + 1) * lanes, p]
        above, none = np.uint64((1 << first_node(height)) - 2), np.uint64(0)
        fill = self.tiles.fill_rows
        fill(odd[0], asked[0], own[0][b], above if height <= 6 else none, self.singles, rows[:, :words])
        fill(odd[1], asked[1], own[1][b], none if height <= 6 else above, self.singles[:0], rows[:, words:])

    def _open_pass_1(self, outcomes: Words) -> None:
        """Begin the first wave: in pass 1 only."""
        from noclone.distill import cascade_known, cascade_words

        group = self.group
        words, lanes, low = group.words, group.lanes, group.heights[1] <= 6
        tiles = np.zeros((group.batches, words if low else group.mid_words, 64), np.uint64)
        self.tiles.open_rows(outcomes, first_node(group.heights[1]), 1 << group.depths[1], lanes, tiles)
        for b in range(group.batches):
            odd = (tiles[b], NO_TILES) if low else (NO_TILES, tiles[b])
            self._fill(1, b, odd, (NO_TILES, NO_TILES), self.own_tiles)
        self.own_tiles = NO_TILES, NO_TILES
        n, n_active = cascade_known.open_passes(
            outcomes, 1 << group.depths[1], group.heights[1], group.levels, lanes, self.known, self._spaces[0],
            self._active, self.counts, self._told,
        )  # fmt: skip
        cascade_words.bits_of_bytes(self._told.ctypes.data, n, self.told.ctypes.data)
        on = cascade_desk
        self.desk[[on.N_ASKED, on.N_QUERIES, on.N_ACTIVE]] = n, n, n_active
        self.n_queries = n
        self.stage, self.in_waves = Stage.WAVES, True
        self._tail()

    def _tail(self) -> None:
        """Once few queries are left, ask for the late passes' top blocks beside them."""
        if self.stage is Stage.WAVES and self.n_queries <= self.group.frames:
            self.stage, self.in_waves = Stage.TOPS_LATE, False
            self.n_queries += self.group.frames * self.late_passes * ((1 << LATE_DEPTH) - 1)
        elif self.n_queries == 0:
            self.stage, self.in_waves = Stage.DONE, False

    def _open_late(self, outcomes: Words) -> None:
        from noclone.distill import cascade_late

        self.stage, self.in_waves = Stage.LATE_WAVES, True
        cascade_late.open_late(self.desk, outcomes, self.known, self.late, self._active, self.counts)
        n_asked = int(self.desk[cascade_desk.N_ASKED])
        self.said[: word_count(n_asked)] = outcomes[: word_count(n_asked)]
        self.advance_waves(raw=False)

    def advance_waves(self, *, raw: bool) -> None:
        """Enter what is in `said`, and prepare the next round, with this party's parities for it in `told`.

        This also corrects the party's key: a search is as fast as memory, and all of it is at hand.

        Args:
            raw: Whether these are the peer's parities; they become outcomes. Otherwise they are outcomes.
        """
        self.went_on(*self.kernels.advance(self.desk, raw))

    def went_on(self, status: int, n_queries: int, errors: int, rounds: int = 1) -> None:
        """Take note of what came of the latest rounds of waves."""
        if status:
            self._refuse(status)
        self.n_queries = n_queries
        self._asked_at ^= rounds & 1
        self.corrected += errors
        if n_queries <= self.group.frames:
            self._tail()

    @property
    def last_queries(self) -> int:
        """How few queries of a wave, or none, bring on the next stage."""
        return self.group.frames if self.stage is Stage.WAVES else 0

    def _refuse(self, status: int) -> None:
        if status == self.kernels.FLIPPED_TWICE:
            raise Aborted(
                "peer-misbehaved",
                "the peer's parities contradict each other: one position would be wrong twice",
                hint="both ends must use the same parameters; otherwise the channel was tampered with",
            )
        raise Aborted(
            "reconciliation-failed",
            "far more errors than the estimated error rate promised",
            hint="check the estimate of the error rate",
        )


class Half:
    """The secret half: one party's key, and its parities."""

    def __init__(self, words: Words, search: Search, *, corrects: bool) -> None:
        from noclone.distill import cascade_parities as kernels  # numba: only where it is needed

        group = search.group
        self.search = search
        self.kernels = kernels
        self.sliced = np.empty((group.batches, group.frame_bits), np.uint64)
        self.kernels.slice_key(words, group.lanes, search.dealt, self.sliced)
        self.chunks = np.zeros((group.batches, search.late_passes, word_count(group.frame_bits)), np.uint64)
        on, self.corrects = cascade_desk, corrects
        search.desk[[on.SLICED, on.CHUNKS]] = self.sliced.ctypes.data, self.chunks.ctypes.data
        search.desk[on.CORRECTS] = corrects
        self.low, self.mid = self._tiles(NO_ORDER)

    def _tiles(self, order: NDArray[np.uint16]) -> tuple[Words, Words]:
        group = self.search.group
        low = np.empty((group.batches, group.words, 64), np.uint64)
        mid = np.empty((group.batches, group.mid_words, 64), np.uint64)
        for b in range(group.batches):
            self.search.tiles.build_tiles(self.sliced[b], order, group.levels, low[b], mid[b])
        return low, mid

    def parities(self) -> Words:
        """Return this party's parity for each query of a round that is not one of waves, packed in words."""
        search = self.search
        out = np.zeros(search.n_queries // 64 + 2, np.uint64)
        if search.stage is Stage.TOPS_0:
            self._tops(0, out)
        elif search.stage is Stage.LEVELS_0:
            levels = search.levels
            assert levels is not None
            tiles = levels.at(self.low, self.mid).reshape(-1, 64)
            wanted = levels.at(levels.low, levels.mid).reshape(-1, 64)
            search.tiles.ask_level(search.bits, tiles, wanted, first_node(levels.height), out)
        elif search.stage is Stage.TOPS_1:
            self._open_pass_1(out)
        else:
            n = int(search.desk[cascade_desk.N_ASKED])
            out[: word_count(n)] = search.told[: word_count(n)]
            if n % 64:
                out[n // 64] &= np.uint64((1 << n % 64) - 1)
            self._tops_late(n, out)
        return out

    def _open_pass_1(self, out: Words) -> None:
        """Correct what pass 0 found, and go over to the tiles of pass 1."""
        search = self.search
        assert search.levels is not None
        if self.corrects:
            search.tiles.correct_found(search.levels.found, search.group.levels, self.sliced)
        search.keep_pass_0((self.low, self.mid))
        self.low, self.mid = self._tiles(search.perm[1])
        self._tops(1, out)
        search.own_tiles = self.low, self.mid
        self.low = self.mid = NO_TILES

    def _tops_late(self, at: int, out: Words) -> None:
        from noclone.distill import cascade_late

        search = self.search
        cascade_late.late_parities(self.sliced, search.orders, LATE_DEPTH, search.group.lanes, self.chunks, at, out)

    def _tops(self, p: int, out: Words) -> None:
        group = self.search.group
        n_tops, height = 1 << group.depths[p], group.heights[p]
        tiles = self.low if height <= 6 else self.mid
        self.search.tiles.top_parities(tiles, first_node(height), n_tops - p, group.lanes, out)

    def write_to(self, words: Words) -> None:
        """Write the key, as it is now, over `words`."""
        words[:] = 0
        self.kernels.join_key(self.sliced, self.search.group.lanes, self.search.dealt, words)
