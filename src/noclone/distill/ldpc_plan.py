"""How an LDPC code is chosen for a key: frames, syndrome bits, and what more is told of frames that do not decode.

In: the key's length, an estimate of its error rate, a public seed.  Out: `LdpcParameters`, alike at both ends; or None
where this method has nothing to offer, and the whole key goes through Cascade.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noclone.distill.cascade_plan import MAX_LANES, SEED_BYTES
from noclone.distill.ldpc_codes import FRAME_BITS, Code, codes
from noclone.proofs.entropy import binary_entropy

# Syndrome bits told of a frame at first, over Shannon's limit: what two frames of three decode with. Below 1 % of
# errors their number in a frame, m q, varies more, and the codes are worse (docs/decisions/137-ldpc-pace.md).
FIRST, SPARSE, DEVIATION = 1.15, 1.02, 3.3
STAGES = (1.0, 1.02, 1.04, 1.07, 1.12, 1.22)  # how much of that in all, after each message
NEARLY = 1.01  # so much more is told at first for the next code with no check split: splitting costs as much
FRAME_BITS_MIN = FRAME_BITS // 2  # shorter frames waste too much of the code
SPENT_FIRST = 0.93  # of the most that may be told
GROWTH = 1.6  # the largest code is used up to syndromes so many times its own
STRETCH = 1.15  # the smallest code is used down to error rates where it tells so many times what it should


@dataclass(frozen=True, slots=True)
class LdpcParameters:
    """What both ends must hold alike before they begin; all of it public.

    Args:
        n_bits: Length of the key.
        qber: The error rate that the code was chosen for.
        seed: 32 bytes of public randomness, drawn after the quantum phase: it orders the positions.
        leak_bits_max: Both ends stop before more than this is told.
        code: The code's number.
        batches: How many batches of `lanes` frames there are.
        frame_bits: Positions of the code that hold bits of the key, in each frame.
        words: Syndrome words told of a frame after each stage.
    """

    n_bits: int
    qber: float
    seed: bytes
    leak_bits_max: int
    code: int
    batches: int
    lanes: int
    frame_bits: int
    words: tuple[int, ...]

    @property
    def frames(self) -> int:
        return self.batches * self.lanes


def plan(n_bits: int, qber: float, seed: bytes, *, leak_bits_max: int | None = None) -> LdpcParameters | None:
    """Choose frames and code; both ends derive the same from the same arguments.

    Args:
        qber: Estimated error rate; an estimate that is off costs efficiency, not correctness.
        seed: 32 bytes of public randomness, drawn after the quantum phase.
        leak_bits_max: Most bits that may be told; the whole key's length by default.
    """
    if len(seed) != SEED_BYTES or not 0 <= qber <= 0.5:
        raise ValueError(f"a plan needs {SEED_BYTES} bytes of seed and an error rate of 0 to 0.5")
    batches = -(-n_bits // (MAX_LANES * FRAME_BITS))
    lanes = -(-n_bits // (max(batches, 1) * FRAME_BITS))
    frame_bits = -(-n_bits // max(batches * lanes, 1))
    if frame_bits < FRAME_BITS_MIN:
        return None
    most = n_bits if leak_bits_max is None else leak_bits_max
    # An estimate that is far too high must not spend at once what may be told in all.
    first = min(first_bits(frame_bits, qber), SPENT_FIRST * most / (batches * lanes))
    chosen = choose(first)
    if chosen is None:
        return None
    number, code = chosen
    begun = max(first / 64, code.whole_words)
    words = tuple(min(math.ceil(stage * begun), 2 * code.whole_words) for stage in STAGES)
    return LdpcParameters(n_bits, qber, seed, most, number, batches, lanes, frame_bits, words)


def first_bits(frame_bits: int, qber: float) -> float:
    """Return how long a syndrome to begin with."""
    if qber == 0:
        return 0.0
    return max(FIRST, SPARSE + DEVIATION / math.sqrt(frame_bits * qber)) * frame_bits * binary_entropy(qber)


def choose(syndrome_bits: float) -> tuple[int, Code] | None:
    """Return number and code that split the fewest checks to tell about so many bits of a frame; None if none can."""
    fitting = [(i, code) for i, code in enumerate(codes()) if 64 * code.whole_words <= NEARLY * syndrome_bits]
    if not fitting:
        first = codes()[0]
        return (0, first) if 64 * first.whole_words <= STRETCH * syndrome_bits else None
    number, code = fitting[-1]
    most = syndrome_bits * STAGES[-1]
    return (number, code) if most <= 64 * GROWTH * code.whole_words else None
