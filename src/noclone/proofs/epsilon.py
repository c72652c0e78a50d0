"""The two failure probabilities that a key length is stated for.

A key is secret except with probability `secrecy`, and the same at both ends except with probability `correctness`.
Their sum is what composes: a block's total adds the failure probability of its authentication, and blocks add up
(Müller-Quade and Renner, New J. Phys. 11, 085006 (2009)).
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST = 1e-30  # that may be asked for: a tag of 128 bits keeps no block's correctness below it
MOST = 1e-3  # that a key may be said to be secret for


@dataclass(frozen=True, slots=True)
class Epsilons:
    """Failure probabilities of one block, agreed before it.

    Args:
        secrecy: Distance of the key from one that Eve knows nothing about.
        correctness: Probability that the two keys differ and nobody notices.
    """

    secrecy: float
    correctness: float

    def __post_init__(self) -> None:
        for name, value in (("secrecy", self.secrecy), ("correctness", self.correctness)):
            if not 0 < value < 1:
                raise ValueError(f"{name} is a failure probability: it must lie between 0 and 1, both excluded")

    @property
    def total(self) -> float:
        """Secrecy and correctness together."""
        return self.secrecy + self.correctness
