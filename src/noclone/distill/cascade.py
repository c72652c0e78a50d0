"""Reconciliation by Cascade: Bob's key becomes Alice's, for little more than Shannon's price in parities told.

In: two keys of one length that differ in a share `qber` of their bits.  Out: Bob's key corrected, and what it cost.
Brassard and Salvail (Eurocrypt 1993) with the improvements of Martinez-Mateo et al. (arXiv:1407.3257): parities of
sub-blocks are kept and used again, and the last block of each later pass is inferred.

Two parties that may live in two processes; only messages cross:

    bob = Questioner(words, n_bits, params)          alice = Answerer(words, n_bits, params)
    message = bob.next(None)
    while message is not None:
        message = bob.next(alice.answer(message))

The protocol is symmetric: which parities come next follows from the public parameters and from the outcomes of the
earlier queries ("the left half differs": yes or no), so both ends run the same search (`cascade_search`) and no
message says which block it is about. Bob's message holds one bit for each query of the round before; Alice's holds one
parity for each query of this round. Nobody can ask for a parity that Cascade would not ask for, and both count the same
leak. A peer that lies about outcomes can only end the search: by a contradiction, or at the agreed limit.

A round serves all frames at once. All passes after the first two are opened together, which saves rounds.
Why only Alice's parities count as leak, and what that assumes: docs/decisions/011-cascade-leakage.md.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words, word_count
from noclone.distill.cascade_plan import LATE_DEPTH, SEED_BYTES, CascadeParameters, Group, plan
from noclone.errors import Aborted, ChannelError

__all__ = ["SEED_BYTES", "Answerer", "CascadeParameters", "Group", "Questioner", "plan"]

_HEADER = struct.Struct("<4sHHIQ")  # magic, group, reserved, round, number of bits
_QUESTION, _ANSWER = b"CQ1?", b"CA1!"
_Bits = NDArray[np.uint8]


def _pass_seeds(seed: bytes, passes: int) -> NDArray[np.uint64]:
    """Return one 64-bit start for each pass's permutation."""
    digest = hashlib.shake_256(b"noclone cascade 1\0" + seed).digest(8 * passes)
    return np.frombuffer(digest, "<u8").astype(np.uint64)


class _Search:
    """The public half of one group: which parities are asked next, and which positions turned out to be errors.

    Both ends hold one, feed it the same outcomes, and so agree.
    """

    def __init__(self, group: Group, params: CascadeParameters) -> None:
        from noclone.distill import cascade_parities  # numba: only where it is needed
        from noclone.distill import cascade_search as kernels

        self.kernels = kernels
        self.group = group
        self.passes = params.passes
        self.opened = 0  # passes whose top blocks are known
        self.opening = True  # the round at hand asks for top blocks
        m, frames = group.frame_bits, group.frames
        self.perm = np.empty((params.passes, m), np.uint16)
        self.inverse = np.empty_like(self.perm)
        cascade_parities.draw_permutations(_pass_seeds(params.seed, params.passes), self.perm, self.inverse)
        # The leaf that holds a position: the largest s with s m >> levels <= position.
        self.leaf = ((((self.inverse[:2].astype(np.int64) + 1) << group.levels) - 1) // m).astype(np.uint16)
        self.depths = np.array(group.depths, np.int64)
        self.tree = np.zeros((2, frames, max(1, (2 << group.levels) // 64), 2), np.uint64)
        self.queue = np.empty((2, frames * m // 4 + 1024), np.uint64)
        self.length = np.zeros(2, np.int64)
        self.late = np.zeros((group.batches, params.passes - 2, 1 << LATE_DEPTH), np.uint64)
        self.late_search = np.zeros(frames, np.uint64)
        self.marks = np.zeros(frames, np.int64)
        self.space = np.empty(self.queue.size + frames, np.uint64)
        self.asked = self.space[:0]
        self.turn = 0
        self.flips = np.empty(self.queue.size + frames, np.uint64)
        self.corrected = 0

    @property
    def done(self) -> bool:
        return self.opened == self.passes and not len(self.asked)

    @property
    def n_queries(self) -> int:
        """How many parities the round at hand asks for."""
        if not self.opening:
            return len(self.asked)
        frames, (depth0, depth1, late) = self.group.frames, self.group.depths
        if self.opened == 0:
            return frames << depth0
        if self.opened == 1:
            return frames * ((1 << depth1) - 1)
        return frames * (self.passes - 2) * ((1 << late) - 1)

    def advance(self, outcomes: _Bits) -> NDArray[np.uint64]:
        """Enter the outcomes of the round at hand, prepare the next one, and return the errors that were found."""
        assert len(outcomes) == self.n_queries
        flips = self.flips[:0]
        if self.opening:
            self._open(outcomes)
        else:
            flips = self._apply(outcomes)
        self._collect()
        return flips

    def _open(self, outcomes: _Bits) -> None:
        if self.opened < 2:
            status = self.kernels.open_tree(
                self.opened,
                outcomes,
                self.group.depths[self.opened],
                self.group.levels,
                self.tree,
                self.queue,
                self.length,
            )
            self._check(status)
            self.opened += 1
        else:
            self.kernels.open_late(outcomes, self.group.lanes, self.late)
            self.opened = self.passes
        self.opening = False

    def _apply(self, outcomes: _Bits) -> NDArray[np.uint64]:
        group = self.group
        status, count = self.kernels.apply(
            self.asked, outcomes, self.opened, self.depths, group.levels, group.lanes, self.perm, self.leaf,
            self.inverse, self.tree, self.queue, self.length, self.late, self.late_search, self.flips,
        )  # fmt: skip
        self._check(status)
        self.corrected += count
        return self.flips[:count]

    def _collect(self) -> None:
        self.turn += 1
        count = self.kernels.collect(
            self.turn, self.depths, self.group.levels, self.group.lanes, self.tree, self.queue, self.length,
            self.late, self.late_search, self.marks, self.space,
        )  # fmt: skip
        self.asked = self.space[:count]
        self.opening = count == 0 and self.opened < self.passes

    def _check(self, status: int) -> None:
        if status == self.kernels.FLIPPED_TWICE:
            raise Aborted(
                "peer-misbehaved",
                "the peer's parities contradict each other: one position would be wrong twice",
                hint="both ends must use the same parameters; otherwise the channel was tampered with",
            )
        if status == self.kernels.QUEUE_FULL:
            raise Aborted(
                "reconciliation-failed",
                "far more errors than the estimated error rate promised",
                hint="check the estimate of the error rate",
            )


class _Half:
    """The secret half of one group: one party's key, and its parities."""

    def __init__(self, words: Words, search: _Search) -> None:
        from noclone.distill import cascade_parities as kernels  # numba: only where it is needed

        group = search.group
        self.search = search
        self.kernels = kernels
        self.sliced = np.empty((group.batches, group.frame_bits), np.uint64)
        self.kernels.slice_key(words, group.lanes, self.sliced.reshape(-1))
        # Rows are padded by a cache line: rows of 2^k bytes would all fall into the same cache sets.
        self.rows = np.zeros((2, group.frames, word_count(group.frame_bits) + 8), np.uint64)
        self.chunks = np.zeros((group.batches, search.passes - 2, word_count(group.frame_bits)), np.uint64)

    def parities(self) -> _Bits:
        """Return this party's parity for each query of the round at hand."""
        search, group = self.search, self.search.group
        out = np.empty(search.n_queries, np.uint8)
        if not search.opening:
            self.kernels.asked_parities(
                search.asked, group.lanes, group.levels, self.sliced, search.perm, self.rows, self.chunks, out
            )
        elif search.opened < 2:
            p, depth = search.opened, group.depths[search.opened]
            self.kernels.pack_pass(self.sliced, search.perm[p], self.rows[p])
            self.kernels.top_parities(self.rows[p], group.frame_bits, depth, (1 << depth) - (p > 0), out)
        else:
            self.kernels.late_parities(self.sliced, search.perm, 2, LATE_DEPTH, group.lanes, self.chunks, out)
        return out

    def correct(self, flips: NDArray[np.uint64]) -> None:
        """Flip the positions that were found to be wrong."""
        search = self.search
        self.kernels.correct(
            flips, search.group.lanes, search.inverse, search.opened, self.sliced, self.rows, self.chunks
        )

    def write_to(self, words: Words) -> None:
        """Write the key, as it is now, over `words`."""
        words[:] = 0
        self.kernels.join_key(self.sliced.reshape(-1), self.search.group.lanes, words)


class _Party:
    """What both ends keep: the groups in turn, the leak, and the limits."""

    def __init__(self, words: Words, n_bits: int, params: CascadeParameters) -> None:
        if n_bits != params.n_bits or len(words) != word_count(n_bits):
            raise ValueError(f"the parameters are for {params.n_bits} bits, the key has {n_bits}")
        if n_bits % 64 and int(words[-1]) >> (n_bits % 64):
            raise ValueError("unused bits of the key must be zero")
        self.params = params
        self.leak_bits = 0
        self.rounds = 0
        self._group = 0
        self._key = words
        self._begin()

    def _begin(self) -> None:
        group = self.params.groups[self._group]
        self._search = _Search(group, self.params)
        self._half = _Half(self._key[group.first_word : group.first_word + word_count(group.n_bits)], self._search)

    def _count(self, n_queries: int) -> None:
        if self.leak_bits + n_queries > self.params.leak_bits_max:
            raise Aborted(
                "leak-above-agreed",
                f"reconciliation would tell more than the agreed {self.params.leak_bits_max} bits",
                hint="the error rate is higher than the agreed leak allows for",
            )
        self.leak_bits += n_queries
        self.rounds += 1

    def _write(self, magic: bytes, bits: _Bits) -> bytes:
        packed = np.packbits(bits, bitorder="little").tobytes()
        return _HEADER.pack(magic, self._group, 0, self.rounds, len(bits)) + packed

    def _read(self, magic: bytes, message: bytes, group: int, n_bits: int) -> _Bits:
        """Return the bits of a message, which must be exactly the one that is due."""
        if len(message) != _HEADER.size + (n_bits + 7) // 8:
            raise ChannelError(
                f"a Cascade message of {len(message)} bytes came where {_HEADER.size + (n_bits + 7) // 8} were due"
            )
        if message[: _HEADER.size] != _HEADER.pack(magic, group, 0, self.rounds, n_bits):
            raise ChannelError("a Cascade message came out of turn")
        body = np.frombuffer(message, np.uint8, offset=_HEADER.size)
        if n_bits % 8 and body[-1] >> (n_bits % 8):
            raise ChannelError("a Cascade message has bits set behind its end")
        return np.unpackbits(body, count=n_bits, bitorder="little")


class Questioner(_Party):
    """Bob: he asks for parities and corrects his key.

    `words` holds the key, corrected when `next` has returned None; the array that was given is not changed.
    """

    def __init__(self, words: Words, n_bits: int, params: CascadeParameters) -> None:
        super().__init__(words, n_bits, params)
        self.words: Words = words.copy()
        self.corrected = 0
        self._mine: _Bits = np.zeros(0, np.uint8)
        self._finished = False

    def next(self, answers: bytes | None) -> bytes | None:
        """Take Alice's answers (None at the very beginning) and return the next message, or None at the end."""
        if self._finished or (answers is None) != (self.rounds == 0):
            raise ChannelError("Cascade answers came out of turn")
        outcomes = self._mine
        if answers is not None:
            outcomes = self._read(_ANSWER, answers, self._group, self._search.n_queries) ^ self._mine
            self._half.correct(self._search.advance(outcomes))
            if self._search.done:
                if self._keep_group():
                    return None
                outcomes = outcomes[:0]
        self._count(self._search.n_queries)
        self._mine = self._half.parities()
        return self._write(_QUESTION, outcomes)

    def _keep_group(self) -> bool:
        """Write the group's corrected bits into the key, begin the next group, and say whether there was none."""
        group = self._search.group
        self._half.write_to(self.words[group.first_word : group.first_word + word_count(group.n_bits)])
        if group.n_bits % 64 and group.first_word + word_count(group.n_bits) == len(self.words):
            # Positions behind the end are zeros at both ends; a peer that says otherwise is confused or lies.
            self.words[-1] &= np.uint64((1 << group.n_bits % 64) - 1)
        self.corrected += self._search.corrected
        self._group += 1
        self._finished = self._group == len(self.params.groups)
        if not self._finished:
            self._begin()
        return self._finished


class Answerer(_Party):
    """Alice: she tells parities of her key, which never changes, up to the agreed limit."""

    def answer(self, queries: bytes) -> bytes:
        """Take Bob's message and return the parities that are due."""
        if self.rounds and self._next_group(queries):
            self._group += 1
            self._begin()
            self._read_start(queries)
        elif self.rounds:
            outcomes = self._read_outcomes(queries)
            self._search.advance(outcomes)
            if self._search.done:
                raise ChannelError("a Cascade message came after the end")
        else:
            self._read_start(queries)
        self._count(self._search.n_queries)
        return self._write(_ANSWER, self._half.parities())

    def _next_group(self, queries: bytes) -> bool:
        """Whether Bob has finished this group: his first message about the next one carries no outcomes."""
        due = _HEADER.pack(_QUESTION, self._group + 1, 0, self.rounds + 1, 0)
        return self._group + 1 < len(self.params.groups) and queries == due

    def _read_start(self, queries: bytes) -> None:
        if queries != _HEADER.pack(_QUESTION, self._group, 0, self.rounds + 1, 0):
            raise ChannelError("Cascade did not begin as agreed")

    def _read_outcomes(self, queries: bytes) -> _Bits:
        self.rounds += 1  # Bob counts a round when he asks, Alice when she answers
        try:
            return self._read(_QUESTION, queries, self._group, self._search.n_queries)
        finally:
            self.rounds -= 1
