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
from collections.abc import Callable

import numpy as np

from noclone.bits import Words, word_count
from noclone.distill.cascade_group import Half, Search
from noclone.distill.cascade_plan import SEED_BYTES, CascadeParameters, Group, plan
from noclone.errors import Aborted, ChannelError

__all__ = ["SEED_BYTES", "Answerer", "CascadeParameters", "Group", "Questioner", "cascade_bytes_max", "plan"]

HEADER = struct.Struct("<4sHHIQ")  # magic, group, reserved, round, number of bits
ROUND_AT, BITS_AT = struct.calcsize("<4sHH"), struct.calcsize("<4sHHI")
QUESTION, ANSWER = b"CQ3?", b"CA3!"
_NOTHING = memoryview(b"")


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
        self.search = Search(group, self.params)
        words = self._key[group.first_word : group.first_word + word_count(group.n_bits)]
        self._half = Half(words, self.search, corrects=self._corrects)

    @property
    def brisk(self) -> bool:
        """Whether the next step is one of the many small ones, a millisecond of work at most."""
        last = self._group == len(self.params.groups) - 1
        return last and self.search.brisk

    def head(self) -> bytes:
        """Return what a message of the group at hand begins with, round and number of bits being left out."""
        return HEADER.pack(QUESTION if self._corrects else ANSWER, self._group, 0, 0, 0)

    def went_on(self, rounds: int, leak_bits: int) -> None:
        """Take note of rounds that were played (`duet`), which told so much within what was agreed."""
        self.rounds += rounds
        self.leak_bits += leak_bits

    def _count(self, n_queries: int) -> None:
        if self.leak_bits + n_queries > self.params.leak_bits_max:
            raise Aborted(
                "leak-above-agreed",
                f"reconciliation would tell more than the agreed {self.params.leak_bits_max} bits",
                hint="the error rate is higher than the agreed leak allows for",
            )
        self.leak_bits += n_queries
        self.rounds += 1

    def _write(self, magic: bytes, bits: memoryview, n_bits: int) -> bytes:
        return HEADER.pack(magic, self._group, 0, self.rounds, n_bits) + bits[: (n_bits + 7) // 8]

    def _bits(self, magic: bytes, message: bytes, n_bits: int) -> memoryview:
        """Return the packed bits of a message, which must be exactly the one that is due."""
        if len(message) != HEADER.size + (n_bits + 7) // 8:
            raise ChannelError(
                f"a Cascade message of {len(message)} bytes came where {HEADER.size + (n_bits + 7) // 8} were due"
            )
        if not message.startswith(HEADER.pack(magic, self._group, 0, self.rounds, n_bits)):
            raise ChannelError("a Cascade message came out of turn")
        if n_bits % 8 and message[-1] >> (n_bits % 8):
            raise ChannelError("a Cascade message has bits set behind its end")
        return memoryview(message)[HEADER.size :]

    def _hear(self, magic: bytes, message: bytes) -> None:
        """Put a message's bits where the search looks for them in its waves."""
        bits = self._bits(magic, message, self.search.n_queries)
        self.search.said_bytes[: len(bits)] = bits

    def _words(self, magic: bytes, message: bytes) -> Words:
        """Return a message's bits as words, with zeros behind."""
        bits = self._bits(magic, message, self.search.n_queries)
        words = np.zeros(self.search.n_queries // 64 + 2, np.uint64)
        words.view(np.uint8)[: len(bits)] = bits
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
        self._mine: Words = np.zeros(0, np.uint64)  # parities that he asked for, while the search is not in waves
        self._finished = False
        self.play: Callable[[Questioner], int] | None = None  # where both parties are at hand: see `duet`

    def next(self, answers: bytes | None) -> bytes | None:
        """Take Alice's answers (None at the very beginning) and return the next message, or None at the end."""
        if self._finished or (answers is None) != (self.rounds == 0):
            raise ChannelError("Cascade answers came out of turn")
        search, outcomes, n_outcomes = self.search, _NOTHING, 0
        if answers is not None:
            outcomes, n_outcomes = self._enter(answers)
            if search.done:
                if self._keep_group():
                    return None
                search, n_outcomes = self.search, 0
        self._count(search.n_queries)
        if not search.in_waves:
            self._mine = self._half.parities()
        return self._write(QUESTION, outcomes, n_outcomes)

    def _enter(self, answers: bytes) -> tuple[memoryview, int]:
        """Let the search know where Alice's parities differ from his; return the outcomes, and how many they are."""
        search = self.search
        n_outcomes = search.n_queries
        if search.in_waves:
            self._hear(ANSWER, answers)
            if self.play is None:
                search.advance_waves(raw=True)
            else:
                n_outcomes = self.play(self)
            return search.said_bytes, n_outcomes
        outcomes = self._words(ANSWER, answers) ^ self._mine
        search.advance(outcomes)
        return outcomes.view(np.uint8).data, n_outcomes

    def _keep_group(self) -> bool:
        """Write the group's corrected bits into the key, begin the next group, and say whether there was none."""
        group = self.search.group
        self._half.write_to(self.words[group.first_word : group.first_word + word_count(group.n_bits)])
        if group.n_bits % 64 and group.first_word + word_count(group.n_bits) == len(self.words):
            # Positions behind the end are zeros at both ends; a peer that says otherwise is confused or lies.
            self.words[-1] &= np.uint64((1 << group.n_bits % 64) - 1)
        self.corrected += self.search.corrected
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
            self._enter(queries)
        else:
            self._read_start(queries)
        search = self.search
        self._count(search.n_queries)
        told = search.told_bytes if search.in_waves else self._half.parities().view(np.uint8).data
        return self._write(ANSWER, told, search.n_queries)

    def _next_group(self, queries: bytes) -> bool:
        """Whether Bob has finished this group: his first message about the next one carries no outcomes."""
        due = HEADER.pack(QUESTION, self._group + 1, 0, self.rounds + 1, 0)
        return self._group + 1 < len(self.params.groups) and queries == due

    def _read_start(self, queries: bytes) -> None:
        if queries != HEADER.pack(QUESTION, self._group, 0, self.rounds + 1, 0):
            raise ChannelError("Cascade did not begin as agreed")

    def _enter(self, queries: bytes) -> None:
        """Let the search know the outcomes that Bob tells."""
        search = self.search
        self.rounds += 1  # Bob counts a round when he asks, Alice when she answers
        try:
            if search.in_waves:
                self._hear(QUESTION, queries)
                search.advance_waves(raw=False)
            else:
                search.advance(self._words(QUESTION, queries))
        finally:
            self.rounds -= 1
        if search.done:
            raise ChannelError("a Cascade message came after the end")


def cascade_bytes_max(n_bits: int) -> int:
    """Return the largest message that either side of Cascade may send: a bounded multiple of the block."""
    return (1 << 20) + n_bits
