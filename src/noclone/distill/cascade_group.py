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
from noclone.distill.cascade_plan import LATE_DEPTH, CascadeParameters, Group
from noclone.errors import Aborted

NO_ORDER = np.zeros(0, np.uint16)
_NO_FLIPS = np.zeros(0, np.int64)


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
        draws = [int(x) % m for x in np.frombuffer(stream.read(1024), "<u8")]
        step = next((x for x in draws[1:] if math.gcd(x, m) == 1), 1)  # a fifth are coprime at least
        orders[p] = step, draws[0], pow(step, -1, m)
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
        from noclone.distill import cascade_parities, cascade_search, cascade_tiles  # numba: only where it is needed
        from noclone.distill.cascade_words import BITS

        self.kernels = cascade_search
        self.tiles = cascade_tiles
        self.bits = BITS
        self.group = group
        self.late_passes = params.passes - 2
        self.stage = Stage.TOPS_0
        m, k, frames = group.frame_bits, group.levels, group.frames
        starts, self.orders = _orders(params.seed, self.late_passes, m)
        self.perm = np.empty((2, m), np.uint16)
        cascade_parities.draw_permutations(starts, self.perm)
        self.dealt = self.perm[0].copy()  # the key's order; from here on positions are numbered by pass 0
        self.perm[0] = np.arange(m)
        self.leaf = np.empty_like(self.perm)
        cascade_parities.place_leaves(self.perm[1], k, self.leaf)
        self.singles = np.zeros(0 if m == 1 << k else group.words, np.uint64)
        self.tiles.find_singles(m, k, self.singles)
        self.levels: Levels | None = Levels(group)
        self.known = np.zeros((frames, 2, group.words + group.mid_words, 3), np.uint64)
        self.late = np.zeros((group.batches, self.late_passes, 1 << LATE_DEPTH), np.uint64)
        self.late_search = np.zeros(frames, np.int64)
        self.counts = np.zeros(frames, np.int32)
        self.modes = np.ones(frames, np.uint8)
        room = (1 << group.depths[1]) + max(64, 1 << (k - 6))  # the tail may find two errors where it asked ahead
        self._candidates = np.empty((frames, 2, room), np.int32)
        self._n_candidates = np.zeros((frames, 2), np.int64)
        self._found = np.empty(room + 1, np.int32)
        self.lanes_levels = group.lanes, k
        self._shape = (group.lanes, k, LATE_DEPTH, False, group.heights[0] > 6, group.heights[1] > 6)
        self.told = np.zeros(frames * room // 64 + 2, np.uint64)
        self._spaces = [np.empty(frames * room + 1, np.int32) for _ in range(2)]
        self._flips = np.empty(frames * room, np.int64)
        self._result = np.zeros(5, np.int64)
        self._active = np.empty(frames + 1, np.int32)
        self.asked = self._spaces[0][:0]
        self.n_queries = frames << group.depths[0]
        self.opening = False
        self.corrected = 0

    @property
    def done(self) -> bool:
        return self.stage is Stage.DONE

    @property
    def active(self) -> NDArray[np.int32]:
        """The frames that ask in the round at hand, in the order of their queries."""
        return self._active[: self._result[3]]

    def advance(self, outcomes: Words) -> NDArray[np.int64]:
        """Enter the outcomes of the round at hand, prepare the next one, and return the errors that were found.

        Those that pass 0 finds are all in `levels.found`, once the stage is TOPS_1.
        """
        if self.stage in (Stage.WAVES, Stage.LATE_WAVES):
            return self._advance(outcomes)
        if self.stage is Stage.TOPS_0:
            self._want_tops(outcomes)
        elif self.stage is Stage.LEVELS_0:
            self._next_level(outcomes)
        elif self.stage is Stage.TOPS_1:
            self._open_pass_1(outcomes)
        else:
            return self._open_late(outcomes)
        return _NO_FLIPS

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

    def _mark_known(self, p: int) -> None:
        """Enter what stands above the top blocks, and blocks of one position, as asked: nobody will ask there."""
        height, words = self.group.heights[p], self.group.words
        above = np.uint64((1 << first_node(height)) - 2)
        if height <= 6:
            self.known[:, p, :words, 1] |= above
        else:
            self.known[:, p, words:, 1] |= above
        if len(self.singles):
            self.known[:, p, :words, 1] |= self.singles

    def _open_pass_1(self, outcomes: Words) -> None:
        """Keep of pass 0 what was asked: nothing that is known there is odd any more. Begin the first wave."""
        from noclone.distill import cascade_known

        levels, group = self.levels, self.group
        assert levels is not None
        words, lanes = group.words, group.lanes
        tiles = np.zeros((group.batches, words if group.heights[1] <= 6 else group.mid_words, 64), np.uint64)
        self.tiles.open_rows(outcomes, first_node(group.heights[1]), 1 << group.depths[1], lanes, tiles)
        for b in range(group.batches):
            rows = self.known[b * lanes : (b + 1) * lanes]
            self.tiles.pack_rows(levels.low[b], lanes, rows[:, 0, :words, 1])
            self.tiles.pack_rows(levels.mid[b], lanes, rows[:, 0, words:, 1])
            opened = slice(0, words) if group.heights[1] <= 6 else slice(words, None)
            self.tiles.pack_rows(tiles[b], lanes, rows[:, 1, opened, 0])
        self.levels = None
        self._mark_known(0)
        self._mark_known(1)
        n, self._result[3] = cascade_known.open_passes(
            outcomes, 1 << group.depths[1], group.heights[1], group.levels, lanes, self.known[:, 1], self._spaces[0],
            self._active, self.counts,
        )  # fmt: skip
        self.asked = self._spaces[0][:n]
        self.opening = True
        self.n_queries = n
        self.stage = Stage.WAVES
        self._tail()

    def _tail(self) -> None:
        """Once few queries are left, ask for the late passes' top blocks beside them."""
        if self.stage is Stage.WAVES and self.n_queries <= self.group.frames:
            self.stage = Stage.TOPS_LATE
            self.n_queries += self.group.frames * self.late_passes * ((1 << LATE_DEPTH) - 1)
        elif self.n_queries == 0:
            self.stage = Stage.DONE

    def _open_late(self, outcomes: Words) -> NDArray[np.int64]:
        from noclone.distill import cascade_tail

        self.stage = Stage.LATE_WAVES
        self._shape = (*self._shape[:3], True, *self._shape[4:])
        cascade_tail.open_late(
            outcomes, len(self.asked), self._shape, self.known, self.late, self._active, self.counts, self._result
        )
        return self._advance(outcomes)

    def _advance(self, outcomes: Words) -> NDArray[np.int64]:
        self.opening = False
        following = self._spaces[1]
        status = self.kernels.advance(
            self.asked, outcomes, self._shape, self._active, self.counts, self.modes, self.perm, self.leaf,
            self.singles, self.orders, self.known, self.late, self.late_search, self._candidates, self._n_candidates,
            self._found, following, self.told, self._flips, self._result,
        )  # fmt: skip
        if status != self.kernels.OK:
            self._refuse(status)
        n, self.n_queries, errors, _, _ = self._result.tolist()
        self.asked = following[:n]
        self._spaces.reverse()
        self.corrected += errors
        self._tail()
        return self._flips[:errors]

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

    def __init__(self, words: Words, search: Search) -> None:
        from noclone.distill import cascade_parities as kernels  # numba: only where it is needed

        group = search.group
        self.search = search
        self.kernels = kernels
        self.sliced = np.empty((group.batches, group.frame_bits), np.uint64)
        self.kernels.slice_key(words, group.lanes, search.dealt, self.sliced)
        self.chunks = np.zeros((group.batches, search.late_passes, word_count(group.frame_bits)), np.uint64)
        self.low, self.mid = self._tiles(NO_ORDER)

    def _tiles(self, order: NDArray[np.uint16]) -> tuple[Words, Words]:
        group = self.search.group
        low = np.empty((group.batches, group.words, 64), np.uint64)
        mid = np.empty((group.batches, group.mid_words, 64), np.uint64)
        for b in range(group.batches):
            self.search.tiles.build_tiles(self.sliced[b], order, group.levels, low[b], mid[b])
        return low, mid

    def parities(self) -> Words:
        """Return this party's parity for each query of the round at hand, packed in words."""
        search = self.search
        if search.stage in (Stage.WAVES, Stage.LATE_WAVES):
            return self._wave_parities()[: search.n_queries // 64 + 2]
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
            self._keep_rows(0)
            self.low, self.mid = self._tiles(search.perm[1])
            self._tops(1, out)
            self._keep_rows(1)
        else:
            n = len(search.asked)
            out[: word_count(n)] = self._wave_parities()[: word_count(n)]
            self.kernels.late_parities(self.sliced, search.orders, LATE_DEPTH, search.group.lanes, self.chunks, n, out)
        return out

    def _wave_parities(self) -> Words:
        """Those in trees are in `told` already, save the very first ones; add those of late searches."""
        search, out = self.search, self.search.told
        if search.opening:
            self.kernels.first_parities(search.asked, search.active, search.counts, search.known, out)
        elif search.stage is Stage.LATE_WAVES and len(search.asked) < search.n_queries:
            self.kernels.searched_parities(
                len(search.asked), search.active, search.modes, *search.lanes_levels, self.sliced, search.orders,
                self.chunks, search.late_search, out,
            )  # fmt: skip
        return out

    def _tops(self, p: int, out: Words) -> None:
        group = self.search.group
        n_tops, height = 1 << group.depths[p], group.heights[p]
        tiles = self.low if height <= 6 else self.mid
        self.search.tiles.top_parities(tiles, first_node(height), n_tops - p, group.lanes, out)

    def _keep_rows(self, p: int) -> None:
        """Keep the pass's parities frame by frame, and give the tiles' memory back."""
        group, words = self.search.group, self.search.group.words
        for b in range(group.batches):
            rows = self.search.known[b * group.lanes : (b + 1) * group.lanes, p]
            self.search.tiles.pack_rows(self.low[b], group.lanes, rows[:, :words, 2])
            self.search.tiles.pack_rows(self.mid[b], group.lanes, rows[:, words:, 2])
        self.low = self.mid = np.empty((0, 0, 64), np.uint64)

    def correct(self, flips: NDArray[np.int64]) -> None:
        """Flip the positions that were found to be wrong in the round that was just entered."""
        search = self.search
        if search.stage is Stage.TOPS_1:
            assert search.levels is not None
            search.tiles.correct_found(search.levels.found, search.group.levels, self.sliced)
        elif len(flips):
            self.kernels.correct(flips, search.orders, search.stage is Stage.LATE_WAVES, self.sliced, self.chunks)

    def write_to(self, words: Words) -> None:
        """Write the key, as it is now, over `words`."""
        words[:] = 0
        self.kernels.join_key(self.sliced, self.search.group.lanes, self.search.dealt, words)
