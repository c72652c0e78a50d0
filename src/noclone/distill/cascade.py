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
import io
import math
import struct

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words, word_count
from noclone.distill.cascade_plan import LATE_DEPTH, SEED_BYTES, CascadeParameters, Group, plan
from noclone.errors import Aborted, ChannelError

__all__ = ["SEED_BYTES", "Answerer", "CascadeParameters", "Group", "Questioner", "plan"]

_HEADER = struct.Struct("<4sHHIQ")  # magic, group, reserved, round, number of bits
_QUESTION, _ANSWER = b"CQ2?", b"CA2!"
_NOTHING = np.zeros(1, np.uint64)
_NO_ORDER = np.zeros(0, np.uint16)


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
        m, k, batches = group.frame_bits, group.levels, group.batches
        starts, self.orders = _orders(params.seed, params.passes - 2, m)
        self.perm = np.empty((2, m), np.uint16)
        cascade_parities.draw_permutations(starts, self.perm)
        self.dealt = self.perm[0].copy()  # the key's order; from here on positions are numbered by pass 0
        self.perm[0] = np.arange(m)
        self.leaf = np.empty_like(self.perm)
        cascade_parities.place_leaves(self.perm[1], k, self.leaf)
        self.depths = np.array(group.depths, np.int64)
        self.odd = np.zeros(2 * batches << (k + 1), np.uint64)  # 64 frames of 2 << k bits, for each batch and pass
        self.split = np.zeros(2 * batches << k, np.uint64)
        self.late = np.zeros((batches, params.passes - 2, 1 << LATE_DEPTH), np.uint64)
        self.late_search = np.zeros(group.frames, np.uint64)
        self.late_asked = np.zeros(batches, np.uint64)
        # More odd blocks at a time than these stop the search: twice as many as all top blocks of both passes.
        room = (2 * group.lanes << group.depths[0]) + (2 * group.lanes << group.depths[1]) + 64
        self._spaces = [np.empty(batches * room + 1, np.int64) for _ in range(2)]
        self._flips = np.empty(batches * (room + 64), np.int64)
        self._fresh = np.empty(3 * room + 128, np.int64)
        self._found = np.empty((room + 64, 3), np.int64)
        self._result = np.zeros(3, np.int64)
        self.asked = self._spaces[0][:0]
        self._asking = 0
        self.corrected = 0

    @property
    def done(self) -> bool:
        return self.opened == self.passes and not self._asking

    @property
    def n_queries(self) -> int:
        """How many parities the round at hand asks for."""
        if not self.opening:
            return self._asking
        frames, (depth0, depth1, late) = self.group.frames, self.group.depths
        if self.opened == 0:
            return frames << depth0
        if self.opened == 1:
            return frames * ((1 << depth1) - 1)
        return frames * (self.passes - 2) * ((1 << late) - 1)

    def advance(self, outcomes: Words) -> NDArray[np.int64]:
        """Enter the outcomes of the round at hand, prepare the next one, and return the errors that were found."""
        if not self.opening:
            return self._advance(outcomes)
        lanes, p = self.group.lanes, self.opened
        self.opening = False
        if p < 2:
            self.opened += 1
            asked = self._spaces[0]
            n = self.kernels.open_tree(
                p, outcomes, lanes, self.group.depths[p], self.group.levels, self.odd, self.split, asked
            )
            self.asked = asked[:n]
            self._asking = n
            self.opening = n == 0
            return self._flips[:0]
        self.opened = self.passes
        self.kernels.open_late(outcomes, lanes, self.late)
        return self._advance(_NOTHING)

    def _advance(self, outcomes: Words) -> NDArray[np.int64]:
        following = self._spaces[1]
        status = self.kernels.advance(
            self.asked, outcomes, self.opened, self.group.lanes, self.depths, self.group.levels, self.perm, self.leaf,
            self.orders, self.odd, self.split, self.late, self.late_asked, self.late_search, self._fresh, self._found,
            following, self._flips, self._result,
        )  # fmt: skip
        self._check(status)
        n, self._asking, errors = self._result.tolist()
        self.asked = following[:n]
        self._spaces.reverse()
        self.corrected += errors
        self.opening = self._asking == 0 and self.opened < self.passes
        return self._flips[:errors]

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
        self.kernels.slice_key(words, group.lanes, search.dealt, self.sliced)
        self.left = np.empty((group.batches, 2, 64, 1 << (group.levels - 6)), np.uint64)
        self.chunks = np.zeros((group.batches, search.passes - 2, word_count(group.frame_bits)), np.uint64)

    def parities(self) -> Words:
        """Return this party's parity for each query of the round at hand, packed in words."""
        search, group = self.search, self.search.group
        out = np.zeros(search.n_queries // 64 + 2, np.uint64)
        if not search.opening:
            self.kernels.asked_parities(
                search.asked, search.depths, group.lanes, group.levels, self.left.reshape(-1), self.sliced,
                search.orders, self.chunks, search.late_asked, search.late_search, out,
            )  # fmt: skip
        elif search.opened < 2:
            p, depth = search.opened, group.depths[search.opened]
            trees = np.empty((group.batches, 1 << group.levels), np.uint64)
            order = search.perm[1] if p else _NO_ORDER
            for batch, tree in enumerate(trees):
                self.kernels.build_tree(self.sliced[batch], order, depth, group.levels, tree)
                self.kernels.pack_rows(tree, group.lanes, self.left[batch, p])
            self.kernels.top_parities(trees, group.lanes, depth, (1 << depth) - (p > 0), out)
        else:
            self.kernels.late_parities(self.sliced, search.orders, LATE_DEPTH, group.lanes, self.chunks, out)
        return out

    def correct(self, flips: NDArray[np.int64]) -> None:
        """Flip the positions that were found to be wrong."""
        search = self.search
        self.kernels.correct(flips, search.orders, search.opened > 2, self.sliced, self.chunks)

    def write_to(self, words: Words) -> None:
        """Write the key, as it is now, over `words`."""
        words[:] = 0
        self.kernels.join_key(self.sliced, self.search.group.lanes, self.search.dealt, words)


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

    def _write(self, magic: bytes, bits: Words, n_bits: int) -> bytes:
        packed = bits.view(np.uint8)[: (n_bits + 7) // 8].tobytes()
        return _HEADER.pack(magic, self._group, 0, self.rounds, n_bits) + packed

    def _read(self, magic: bytes, message: bytes, group: int, n_bits: int) -> Words:
        """Return the bits of a message, which must be exactly the one that is due."""
        n_bytes = (n_bits + 7) // 8
        if len(message) != _HEADER.size + n_bytes:
            raise ChannelError(
                f"a Cascade message of {len(message)} bytes came where {_HEADER.size + n_bytes} were due"
            )
        if message[: _HEADER.size] != _HEADER.pack(magic, group, 0, self.rounds, n_bits):
            raise ChannelError("a Cascade message came out of turn")
        if n_bits % 8 and message[-1] >> (n_bits % 8):
            raise ChannelError("a Cascade message has bits set behind its end")
        words = np.zeros(n_bits // 64 + 2, np.uint64)
        words.view(np.uint8)[:n_bytes] = np.frombuffer(message, np.uint8, offset=_HEADER.size)
        return words


class Questioner(_Party):
    """Bob: he asks for parities and corrects his key.

    `words` holds the key, corrected when `next` has returned None; the array that was given is not changed.
    """

    def __init__(self, words: Words, n_bits: int, params: CascadeParameters) -> None:
        super().__init__(words, n_bits, params)
        self.words: Words = words.copy()
        self.corrected = 0
        self._mine: Words = _NOTHING
        self._finished = False

    def next(self, answers: bytes | None) -> bytes | None:
        """Take Alice's answers (None at the very beginning) and return the next message, or None at the end."""
        if self._finished or (answers is None) != (self.rounds == 0):
            raise ChannelError("Cascade answers came out of turn")
        outcomes, n_outcomes = self._mine, 0
        if answers is not None:
            n_outcomes = self._search.n_queries
            outcomes = self._read(_ANSWER, answers, self._group, n_outcomes) ^ self._mine
            self._half.correct(self._search.advance(outcomes))
            if self._search.done:
                if self._keep_group():
                    return None
                n_outcomes = 0
        self._count(self._search.n_queries)
        self._mine = self._half.parities()
        return self._write(_QUESTION, outcomes, n_outcomes)

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
        return self._write(_ANSWER, self._half.parities(), self._search.n_queries)

    def _next_group(self, queries: bytes) -> bool:
        """Whether Bob has finished this group: his first message about the next one carries no outcomes."""
        due = _HEADER.pack(_QUESTION, self._group + 1, 0, self.rounds + 1, 0)
        return self._group + 1 < len(self.params.groups) and queries == due

    def _read_start(self, queries: bytes) -> None:
        if queries != _HEADER.pack(_QUESTION, self._group, 0, self.rounds + 1, 0):
            raise ChannelError("Cascade did not begin as agreed")

    def _read_outcomes(self, queries: bytes) -> Words:
        self.rounds += 1  # Bob counts a round when he asks, Alice when she answers
        try:
            return self._read(_QUESTION, queries, self._group, self._search.n_queries)
        finally:
            self.rounds -= 1
