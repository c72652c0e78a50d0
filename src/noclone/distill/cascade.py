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
earlier queries ("the left half differs": yes or no), so both ends run the same search (`cascade_group`) and no
message says which block it is about. Bob's message holds one bit for each query of the round before; Alice's holds one
parity for each query of this round. Nobody can ask for a parity that Cascade would not ask for, and both count the same
leak. A peer that lies about outcomes can only end the search: by a contradiction, or at the agreed limit.

A round serves all frames at once. The passes after the first two are opened together, beside their last searches.
Why only Alice's parities count as leak, and what that assumes: docs/decisions/011-cascade-leakage.md.
"""

from __future__ import annotations

import struct

import numpy as np

from noclone.bits import Words, word_count
from noclone.distill.cascade_group import Half, Search
from noclone.distill.cascade_plan import SEED_BYTES, CascadeParameters, Group, plan
from noclone.errors import Aborted, ChannelError

__all__ = ["SEED_BYTES", "Answerer", "CascadeParameters", "Group", "Questioner", "plan"]

_HEADER = struct.Struct("<4sHHIQ")  # magic, group, reserved, round, number of bits
_QUESTION, _ANSWER = b"CQ3?", b"CA3!"
_NOTHING = np.zeros(1, np.uint64)


class _Party:
    """What both ends keep: the groups in turn, the leak, and the limits."""

    _corrects = False

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
        self._search = Search(group, self.params)
        words = self._key[group.first_word : group.first_word + word_count(group.n_bits)]
        self._half = Half(words, self._search, corrects=self._corrects)

    @property
    def brisk(self) -> bool:
        """Whether the next step is one of the many small ones, a millisecond of work at most."""
        last = self._group == len(self.params.groups) - 1
        return last and self._search.brisk

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
        return _HEADER.pack(magic, self._group, 0, self.rounds, n_bits) + bits.tobytes()[: (n_bits + 7) // 8]

    def _read(self, magic: bytes, message: bytes, group: int, n_bits: int) -> Words:
        """Return the bits of a message, which must be exactly the one that is due."""
        n_bytes = (n_bits + 7) // 8
        if len(message) != _HEADER.size + n_bytes:
            raise ChannelError(
                f"a Cascade message of {len(message)} bytes came where {_HEADER.size + n_bytes} were due"
            )
        if not message.startswith(_HEADER.pack(magic, group, 0, self.rounds, n_bits)):
            raise ChannelError("a Cascade message came out of turn")
        if n_bits % 8 and message[-1] >> (n_bits % 8):
            raise ChannelError("a Cascade message has bits set behind its end")
        words = np.zeros(n_bits // 64 + 2, np.uint64)
        words.view(np.uint8)[:n_bytes] = np.frombuffer(message, np.uint8, n_bytes, _HEADER.size)
        return words


class Questioner(_Party):
    """Bob: he asks for parities and corrects his key.

    `words` holds the key, corrected when `next` has returned None; the array that was given is not changed.
    """

    _corrects = True

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
            self._search.advance(outcomes)
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
