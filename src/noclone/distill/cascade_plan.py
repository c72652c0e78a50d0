"""How Cascade cuts a key: frames, passes and block sizes, derived alike at both ends from public numbers.

In: the key's length, an estimate of its error rate, a public seed.  Out: `CascadeParameters`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noclone.bits import word_count

DEFAULT_FRAME_BITS = 1 << 16
MAX_LANES = 64
GROUP_BITS = 1 << 27  # worked on together; bounds the memory, about 16 bytes for each 8 bits of key and party
MIN_BITS = 64
PASSES = 10
LATE_DEPTH = 2  # late passes split a frame into quarters
# Blocks of pass 1, log2 of their size up to an error rate; those of pass 0 hold 0.55 to 1.1 errors. Measured for frames
# of 2^16, the rule being the least time at an f that is as good as the best but for a few thousandths:
#     QBER (%)       0.2    0.5      1      2      3      5      8     11     15
#     blocks    512/1024 128/512 64/512 32/256 32/128 16/128  8/128   8/64   4/64
#     f            1.061  1.051  1.042  1.043  1.040  1.044  1.055  1.063  1.080
SECOND_BLOCKS = ((0.003, 10), (0.014, 9), (0.025, 8), (0.09, 7), (1.0, 6))
MIN_QBER, MAX_QBER = 2e-4, 0.25
SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class Group:
    """A stretch of the key that is reconciled as one: `batches` times `lanes` frames of `frame_bits` positions.

    Args:
        first_word: Where it begins in the key.
        n_bits: How many bits of the key it covers; positions behind them are zeros at both ends.
        depths: Levels of the top blocks of pass 0, pass 1 and the late passes: 2^depth blocks in each frame.
    """

    first_word: int
    n_bits: int
    frame_bits: int
    lanes: int
    batches: int
    depths: tuple[int, int, int]

    @property
    def frames(self) -> int:
        return self.lanes * self.batches

    @property
    def levels(self) -> int:
        """Depth of the tree of blocks: a frame has at most 2^levels positions."""
        return (self.frame_bits - 1).bit_length()

    @property
    def heights(self) -> tuple[int, int]:
        """Levels below the top blocks of passes 0 and 1."""
        return self.levels - self.depths[0], self.levels - self.depths[1]

    @property
    def words(self) -> int:
        """How many words of 64 leaves a frame has, and so how many low tiles a pass of it."""
        return 1 << (self.levels - 6)

    @property
    def mid_words(self) -> int:
        """How many mid tiles a pass of a frame has."""
        return max(self.words >> 6, 1)


@dataclass(frozen=True, slots=True)
class CascadeParameters:
    """What both ends must hold alike before they begin; all of it public.

    Args:
        n_bits: Length of the key.
        qber: The error rate that the block sizes were chosen for.
        seed: 32 bytes of public randomness, drawn after the quantum phase: it orders every pass, the first included.
        leak_bits_max: Both ends stop before more parities than this are told.
        groups: How the key is cut.
    """

    n_bits: int
    qber: float
    seed: bytes
    leak_bits_max: int
    groups: tuple[Group, ...]
    passes: int = PASSES


def plan(
    n_bits: int,
    qber: float,
    seed: bytes,
    *,
    leak_bits_max: int | None = None,
    frame_bits: int = DEFAULT_FRAME_BITS,
) -> CascadeParameters:
    """Choose block sizes and frames; both ends derive the same from the same arguments.

    Args:
        n_bits: Length of the key, at least 64.
        qber: Estimated error rate; an estimate that is off costs efficiency, not correctness.
        seed: 32 bytes of public randomness, drawn after the quantum phase.
        leak_bits_max: Most parity bits that may be told; the whole key's length by default.
        frame_bits: Aim for frames of about this length.
    """
    if n_bits < MIN_BITS:
        raise ValueError(f"Cascade needs at least {MIN_BITS} bits, not {n_bits}")
    if not 0 <= qber <= 0.5:
        raise ValueError("the error rate must lie between 0 and 0.5")
    if len(seed) != SEED_BYTES:
        raise ValueError(f"the seed has {SEED_BYTES} bytes, not {len(seed)}")
    if not MIN_BITS <= frame_bits <= DEFAULT_FRAME_BITS:
        raise ValueError(f"frames have {MIN_BITS} to {DEFAULT_FRAME_BITS} bits")
    words = word_count(n_bits)
    count = -(-n_bits // max(GROUP_BITS, frame_bits))
    words_each = -(-words // count)
    groups = []
    for first in range(0, words, words_each):
        here = min(n_bits - 64 * first, 64 * words_each)
        groups.append(_group(first, here, min(max(qber, MIN_QBER), MAX_QBER), frame_bits))
    return CascadeParameters(n_bits, qber, seed, n_bits if leak_bits_max is None else leak_bits_max, tuple(groups))


def _group(first_word: int, n_bits: int, qber: float, frame_bits: int) -> Group:
    batches = -(-n_bits // (MAX_LANES * frame_bits))
    lanes = -(-n_bits // (batches * frame_bits))
    m = max(MIN_BITS, -(-n_bits // (batches * lanes)))
    # The number of blocks is a power of two, and not their size, so that m may be any number.
    levels = (m - 1).bit_length()
    least = max(1, levels - 12)  # a top block has two levels of tiles at most
    log2_k0 = math.ceil(math.log2(1 / qber) - 0.87)
    log2_k1 = max(next(log2 for limit, log2 in SECOND_BLOCKS if qber <= limit), log2_k0 + 1)
    depth0 = min(max(round(math.log2(m)) - log2_k0, least), levels - 1)
    depth1 = min(max(round(math.log2(m)) - log2_k1, least), levels - 1)
    return Group(first_word, n_bits, m, lanes, batches, (depth0, depth1, LATE_DEPTH))
