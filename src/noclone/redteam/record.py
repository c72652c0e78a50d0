"""Eve's own record of a block, and what it is worth against the real key.

In: for each detection what she would say the bit is, and on which ground.  Out: bits that she predicts better than
chance: measured, never claimed. Where her guesses on one ground are right with frequency p, each is worth 1 - h(p)
(the capacity of a binary symmetric channel); a frequency of n guesses overstates that by 1 / (2 n ln 2) on average
(Miller 1955, Madow 1948), which is taken off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noclone.link.overheard import Overheard
from noclone.link.tap import Learned
from noclone.proofs.entropy import binary_entropy
from noclone.records import U8

NOTHING = 0  # the ground on which she has nothing to say


@dataclass(frozen=True, slots=True)
class EveRecord:
    """What Eve wrote down about each detection of a block.

    Args:
        guess: What she would say the bit is.
        ground: On which ground: 0 none; guesses on the same ground are as good as one another.
    """

    guess: U8 = field(repr=False)
    ground: U8 = field(repr=False)

    @classmethod
    def empty(cls, count: int) -> EveRecord:
        """Return the record of who did nothing."""
        return cls(np.zeros(count, np.uint8), np.zeros(count, np.uint8))


def information(record: EveRecord, view: Overheard, where: NDArray[np.bool_] | None = None) -> Learned:
    """Return what a record is worth.

    Args:
        where: Which detections count; those that become key bits where not given.
    """
    counted = view.sifted_key if where is None else where
    right = record.guess == view.alice_values
    total = 0.0
    for ground in np.unique(record.ground[counted]):
        if ground != NOTHING:
            those = counted & (record.ground == ground)
            total += worth(int(those.sum()), int((right & those).sum()))
    return Learned(int(counted.sum()), int((counted & (record.ground != NOTHING)).sum()), total)


def worth(guesses: int, right: int) -> float:
    """Return the information in so many guesses on one ground, in bits."""
    if not guesses:
        return 0.0
    if right in (0, guesses):
        return float(guesses)
    return max(0.0, guesses * (1 - binary_entropy(right / guesses)) - 1 / (2 * math.log(2)))


def with_error(view: Overheard, where: NDArray[np.bool_], error: float) -> EveRecord:
    """Return the record of a memory whose measurement, once the bases are known, gives Alice's bit but for an error.

    What she kept was prepared by Alice; nature answers, so it is drawn here from Alice's bit and Eve's own chance.
    """
    wrong = view.random.random(len(view.codes)) < error
    guess = view.alice_values ^ wrong.astype(np.uint8)
    return EveRecord(guess, where.astype(np.uint8))
