"""One slice of Bob's values: he tells syndromes, Alice looks for the errors among her guesses, the likely places first.

In: Bob's bits, Alice's guesses and how sure she is of each.  Out: Alice's guesses corrected, and what it cost.
LDPC codes as in `ldpc`, with two differences. Alice's guesses are not alike: each has a belief of its own, so that what
is told need hardly exceed what the values leave open (log-likelihoods; soft decisions). And where codes fail a frame,
Bob tells the whole of it: Cascade would tell Eve where Alice's guesses are wrong, which is news about Bob's values to
somebody who holds part of the light (docs/decisions/119-cv-slices-one-way.md). All counts as leak: each syndrome bit,
each frame told whole, each bit of Alice's reports.
"""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words, word_count
from noclone.distill import ldpc
from noclone.distill.ldpc_codes import Code, codes
from noclone.errors import ChannelError

__all__ = ["BELIEF_MAX", "SliceListener", "SliceTeller", "belief_unit", "plan"]

BELIEF_MAX = 110  # below `ldpc_decoder.KNOWN`: no guess is certain
_WHOLE = struct.Struct("<4sIQ")  # magic, frames, bits
_MAGIC = b"LW1!"


def plan(n_bits: int, entropy: float, seed: bytes, number: int, *, leak_bits_max: int) -> ldpc.LdpcParameters | None:
    """Return the codes for a slice; None where it is too short, or no code fits.

    Args:
        entropy: Of each of its bits, for Alice.
        number: Of the slice: each has an order of its own.
    """
    from noclone.proofs.slices import LEAST, OVER, equivalent_error_rate

    order = hashlib.sha256(seed + bytes([number])).digest()
    rate = equivalent_error_rate(max(entropy, LEAST / OVER))
    return ldpc.plan(n_bits, rate, order, leak_bits_max=max(leak_bits_max, 0))


def belief_unit(params: ldpc.LdpcParameters) -> float:
    """Return how much belief a log-likelihood ratio of 1 (in nats) is: the code's own at its own error rate."""
    code: Code = codes()[params.code]
    return code.prior / math.log((1.0 - code.threshold) / code.threshold)


class SliceTeller(ldpc.Teller):
    """Bob, whose bits never change."""

    def _give_way(self, rest: bytes) -> bytes:
        """Tell the open frames whole."""
        if rest:
            raise ChannelError("a report on frames has something behind its end")
        n_bits = _count_whole(self)
        part = np.zeros(word_count(n_bits), np.uint64)
        self._kernels.move(
            self._key, self.params.n_bits, self.params.lanes, self.params.frame_bits, self._open, part, False
        )
        return _WHOLE.pack(_MAGIC, len(self._open), n_bits) + part.astype("<u8", copy=False).tobytes()


class SliceListener(ldpc.Listener):
    """Alice, who corrects her guesses.

    Args:
        confidence: int8, one for each bit: the log-likelihood of her guess over the other value, times `belief_unit`.
    """

    def __init__(
        self, words: Words, n_bits: int, params: ldpc.LdpcParameters, confidence: NDArray[np.int8], *, threads: int = 2
    ) -> None:
        super().__init__(words, n_bits, params, threads=threads)
        self._beliefs = self._deal(confidence)
        self._awaits_whole = False

    def next(self, answer: bytes) -> bytes | None:
        """Take Bob's message and return the next one, or None at the end."""
        if not self._awaits_whole:
            return super().next(answer)
        n_bits = _count_whole(self)
        head = _WHOLE.pack(_MAGIC, len(self._open), n_bits)
        part = np.zeros(word_count(n_bits), np.uint64)
        if len(answer) != len(head) + 8 * len(part) or not answer.startswith(head):
            raise ChannelError("frames that were to be told whole did not come")
        part[:] = np.frombuffer(answer, "<u8", offset=len(head))
        params = self.params
        self._kernels.move(self.words, params.n_bits, params.lanes, params.frame_bits, self._open, part, True)
        self._awaits_whole, self._finished = False, True
        return None

    def _give_way(self) -> bytes:
        self._awaits_whole = True
        return b""

    def _deal(self, confidence: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return each frame's beliefs in the order of the code's positions."""
        from noclone.distill.ldpc_decoder import KNOWN

        params = self.params
        place = self._order.astype(np.int64)
        beliefs = np.full((params.frames, len(place)), KNOWN, np.int8)
        for frame in range(params.frames):
            batch, lane = divmod(frame, params.lanes)
            at = (batch * params.frame_bits + place) * params.lanes + lane
            inside = (place < params.frame_bits) & (at < params.n_bits)
            beliefs[frame, inside] = confidence[at[inside]]
        return beliefs


def _count_whole(party: SliceTeller | SliceListener) -> int:
    """Count that the open frames are told whole, and return how many bits that is."""
    n_bits = len(party._open) * party.params.frame_bits
    party.charge(n_bits)
    return n_bits
