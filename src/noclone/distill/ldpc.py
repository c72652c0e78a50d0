"""Reconciliation by LDPC codes: Alice tells syndromes once, for links on which Cascade's many rounds take too long.

In: two keys of one length that differ in a share `qber` of their bits.  Out: Bob's key corrected, and what it cost.
Syndrome decoding with a code for each rate (`ldpc_codes`); of frames that do not decode, Alice tells a little more, a
few times, after Martinez-Mateo, Elkouss and Martin 2012 ("Blind reconciliation"); Cascade takes what still fails.

Two parties that may live in two processes; only messages cross:

    alice = Teller(words, n_bits, params)            bob = Listener(words, n_bits, params)
    message = bob.next(alice.opening())
    while message is not None:
        message = bob.next(alice.answer(message))

Alice's opening holds a syndrome for each frame. Bob's message says which of the frames told of last did not decode, a
bit each. Alice's next one holds more of these frames' syndromes; or, after the last stage, Cascade begins on them: its
first message stands behind Bob's bits. Both ends count the same leak: each syndrome bit, each bit of Bob's reports,
each of Cascade's parities (docs/decisions/015-ldpc.md).
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words, word_count
from noclone.distill import cascade
from noclone.distill.ldpc_codes import codes
from noclone.distill.ldpc_plan import LdpcParameters, plan
from noclone.errors import Aborted, ChannelError

__all__ = ["LdpcParameters", "Listener", "Teller", "plan"]

_HEADER = struct.Struct("<4sHHIQ")  # magic, stage, reserved, frames, words of 64 bits
# The digit after "LS" is the version of the codes and stages: ends that differ must not read each other's syndromes.
_SYNDROMES, _FAILED = b"LS2!", b"LF1?"
_SEED_TAG = b"noclone ldpc 1\0"


class _Party:
    """What both ends keep: the dealt key, its syndromes, the frames that have not decoded, the leak and its limit."""

    brisk = False  # decoding takes its time

    def __init__(self, words: Words, n_bits: int, params: LdpcParameters) -> None:
        from noclone.distill import cascade_parities, ldpc_frames  # numba: only where it is needed

        if n_bits != params.n_bits or len(words) != word_count(n_bits):
            raise ValueError(f"the parameters are for {params.n_bits} bits, the key has {n_bits}")
        if n_bits % 64 and int(words[-1]) >> (n_bits % 64):
            raise ValueError("unused bits of the key must be zero")
        self.params = params
        self.code = codes()[params.code]
        self.rounds = 0
        self._kernels = ldpc_frames
        self._stage = 0
        self._told_bits = 0
        self._open: NDArray[np.int64] = np.arange(params.frames)  # frames that have not decoded
        digest = hashlib.shake_256(_SEED_TAG + params.seed).digest(8 + cascade.SEED_BYTES)
        self._cascade_seed = digest[8:]
        order = np.empty((1, 1 << 16), np.uint16)
        cascade_parities.draw_permutations(np.frombuffer(digest[:8], "<u8").astype(np.uint64), order)
        self._order = order[0]
        self._syndromes = self._compute(words)

    @property
    def _before(self) -> int:
        """Syndrome words of a frame that were told in earlier stages."""
        return self.params.words[self._stage - 1] if self._stage else 0

    def _compute(self, words: Words) -> Words:
        """Return each frame's syndrome, as far as it may ever be told."""
        params, code = self.params, self.code
        whole_words, most = code.whole_words, params.words[-1]
        split = code.split_order()[: most - whole_words]
        found = np.empty((params.frames, most), np.uint64)
        sliced = np.empty(len(self._order), np.uint64)
        whole, first_half = np.empty((2, 64 * whole_words), np.uint64)
        rows, halves = (np.empty((params.lanes, n), np.uint64) for n in (whole_words, len(split)))
        for batch in range(params.batches):
            self._kernels.deal(words, batch, params.lanes, params.frame_bits, self._order, sliced)
            self._kernels.syndromes(
                sliced, code.circulant, code.row, code.half, code.column, code.shift, whole, first_half
            )
            self._kernels.pack_rows(whole, params.lanes, rows)
            self._kernels.pack_rows(first_half.reshape(-1, 64)[split].reshape(-1), params.lanes, halves)
            here = found[batch * params.lanes : (batch + 1) * params.lanes]
            here[:, :whole_words], here[:, whole_words:] = rows, halves
        return found

    def _tell(self) -> int:
        """Count what this stage tells of the open frames, and Bob's report on them; return the words of each."""
        words = self.params.words[self._stage] - self._before
        self.charge(len(self._open) * (64 * words + 1))
        return words

    def charge(self, told_bits: int) -> None:
        """Count what is told, unless it is more than was agreed."""
        if self._told_bits + told_bits > self.params.leak_bits_max:
            raise Aborted(
                "leak-above-agreed",
                f"reconciliation would tell more than the agreed {self.params.leak_bits_max} bits",
                hint="the error rate is higher than the agreed leak allows for",
            )
        self._told_bits += told_bits

    @property
    def _last(self) -> bool:
        return self._stage + 1 == len(self.params.words)

    def _fallback(self, words: Words) -> tuple[Words, int, cascade.CascadeParameters]:
        """Return the frames that never decoded as a key for Cascade."""
        params = self.params
        n_bits = len(self._open) * params.frame_bits
        part = np.zeros(word_count(n_bits), np.uint64)
        self._kernels.move(words, params.n_bits, params.lanes, params.frame_bits, self._open, part, False)
        left = params.leak_bits_max - self._told_bits
        return part, n_bits, cascade.plan(n_bits, params.qber, self._cascade_seed, leak_bits_max=left)


class Teller(_Party):
    """Alice: she tells syndromes of her key, which never changes, up to the agreed limit."""

    def __init__(self, words: Words, n_bits: int, params: LdpcParameters) -> None:
        super().__init__(words, n_bits, params)
        self._key = words
        self._cascade: cascade.Answerer | None = None

    @property
    def leak_bits(self) -> int:
        """Bits told so far, Bob's reports included."""
        return self._told_bits + (self._cascade.leak_bits if self._cascade else 0)

    def opening(self) -> bytes:
        """Return the first message."""
        if self._told_bits:
            raise ValueError("the first message was told already")
        return self._more()

    def answer(self, report: bytes) -> bytes:
        """Take Bob's message and return what is due."""
        self.rounds += 1
        if self._cascade is not None:
            return self._cascade.answer(report)
        failed, rest = self._read(report)
        self._open = self._open[failed]
        if not self._last:
            self._stage += 1
            return self._more()
        return self._give_way(rest)

    def _give_way(self, rest: bytes) -> bytes:
        """Tell what is due once codes have failed the open frames."""
        self._cascade = cascade.Answerer(*self._fallback(self._key))
        return self._cascade.answer(rest)

    def _more(self) -> bytes:
        words = self._tell()
        part = self._syndromes[self._open, self._before : self._before + words]
        return _HEADER.pack(_SYNDROMES, self._stage, 0, len(self._open), words) + part.astype("<u8").tobytes()

    def _read(self, report: bytes) -> tuple[NDArray[np.int64], bytes]:
        """Return which of the open frames failed, and what stands behind that."""
        size = (len(self._open) + 7) // 8
        if len(report) < _HEADER.size + size or (len(report) > _HEADER.size + size and not self._last):
            raise ChannelError(f"a report on {len(self._open)} frames came in a message of {len(report)} bytes")
        if report[: _HEADER.size] != _HEADER.pack(_FAILED, self._stage, 0, len(self._open), 0):
            raise ChannelError("a report on frames came out of turn")
        bits = np.unpackbits(np.frombuffer(report, np.uint8, size, _HEADER.size), bitorder="little")
        if bits[len(self._open) :].any():
            raise ChannelError("a report on frames has bits set behind its end")
        failed = np.flatnonzero(bits)
        if not len(failed):
            raise ChannelError("a report names no frame that failed")
        return failed, report[_HEADER.size + size :]


class Listener(_Party):
    """Bob: he looks for the errors that fit Alice's syndromes.

    `words` holds the key, corrected when `next` has returned None; the array that was given is not changed.

    Args:
        threads: How many frames to decode at a time.
    """

    def __init__(self, words: Words, n_bits: int, params: LdpcParameters, *, threads: int = 2) -> None:
        super().__init__(words, n_bits, params)
        self.words: Words = words.copy()
        self.corrected = 0
        self.failed_frames = 0
        self.iterations: NDArray[np.int64] = np.zeros(params.frames, np.int64)
        self._threads = threads
        self._beliefs: NDArray[np.int8] | None = None
        self._cascade: cascade.Questioner | None = None
        self._finished = False

    @property
    def leak_bits(self) -> int:
        """Bits told so far, his own reports included."""
        return self._told_bits + (self._cascade.leak_bits if self._cascade else 0)

    def next(self, answer: bytes) -> bytes | None:
        """Take Alice's message and return the next one, or None at the end."""
        if self._finished:
            raise ChannelError("syndromes came out of turn")
        if self._cascade is not None:
            return self._go_on(self._cascade.next(answer))
        self._enter(answer)
        failed = self._decode()
        reported = self._open
        self._open = reported[failed]
        if not len(self._open):
            self._finished = True
            return None
        report = (
            _HEADER.pack(_FAILED, self._stage, 0, len(reported), 0) + np.packbits(failed, bitorder="little").tobytes()
        )
        self.rounds += 1
        if not self._last:
            self._stage += 1
            return report
        self.failed_frames = len(self._open)
        return report + self._give_way()

    def _give_way(self) -> bytes:
        """Return what stands behind the last report, once codes have failed the open frames."""
        self._cascade = cascade.Questioner(*self._fallback(self.words))
        return self._cascade.next(None) or b""

    def _enter(self, answer: bytes) -> None:
        """Add Alice's syndromes to ours: what is left is the syndrome of the errors."""
        words = self._tell()
        if answer[:2] == _SYNDROMES[:2] and answer[:4] != _SYNDROMES:
            raise ChannelError("the peer's LDPC codes are of another version: run the same noclone at both ends")
        due = _HEADER.pack(_SYNDROMES, self._stage, 0, len(self._open), words)
        if len(answer) != len(due) + 8 * len(self._open) * words:
            raise ChannelError(
                f"syndromes of {len(answer)} bytes came where {len(due) + 8 * len(self._open) * words} were due"
            )
        if answer[: len(due)] != due:
            raise ChannelError("syndromes came out of turn")
        told = np.frombuffer(answer, "<u8", offset=len(due)).reshape(len(self._open), words)
        self._syndromes[self._open, self._before : self._before + words] ^= told

    def _decode(self) -> NDArray[np.bool_]:
        """Correct the open frames as far as they decode, and return which did not."""
        from noclone.distill.ldpc_search import find_errors

        params = self.params
        splits = params.words[self._stage] - self.code.whole_words
        patterns, iterations = find_errors(
            self.code,
            splits,
            self._order >= params.frame_bits,
            self._syndromes,
            self._open,
            self._threads,
            self._beliefs,
        )
        self.iterations[self._open] += np.abs(iterations[self._open])
        found = iterations[self._open] > 0
        self.corrected += self._kernels.flip(
            self.words, params.n_bits, params.lanes, params.frame_bits, self._order, patterns, self._open[found]
        )
        return ~found

    def _go_on(self, query: bytes | None) -> bytes | None:
        """Return Cascade's next message; at its end write what it corrected back into the key."""
        assert self._cascade is not None
        if query is not None:
            self.rounds += 1
            return query
        params = self.params
        self._kernels.move(
            self.words, params.n_bits, params.lanes, params.frame_bits, self._open, self._cascade.words, True
        )
        self.corrected += self._cascade.corrected
        self._finished = True
        return None
