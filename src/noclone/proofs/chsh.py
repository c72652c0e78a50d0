"""The CHSH value of an entangled link: four correlations, and what they are worth.

In: coincidences and agreements for each of Alice's two bases and Bob's two further ones.  Out: S, its standard error, a
label. Clauser, Horne, Shimony, Holt, Phys. Rev. Lett. 23, 880 (1969); Ekert, Phys. Rev. Lett. 67, 661 (1991).

A violation here is that of the pairs that were detected: with real losses it rests on fair sampling, and no key length
is drawn from it. The proof of the key trusts both ends' detectors instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

CLASSICAL = 2.0
SETTINGS = 4  # Alice's key and test basis, each with Bob's first further basis and his second
LABEL = "of the detected pairs only (fair sampling): it shows entanglement, and no device independence"


@dataclass(frozen=True, slots=True)
class Chsh:
    """What was counted.

    Args:
        counts: Coincidences, by Alice's basis times two plus Bob's.
        same: Of these, how many gave both ends the same value.
    """

    counts: tuple[int, ...]
    same: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.counts) == len(self.same) == SETTINGS:
            raise ValueError("CHSH has four settings")
        if any(not 0 <= m <= n for n, m in zip(self.counts, self.same, strict=True)):
            raise ValueError("there cannot be more agreements than coincidences")

    @property
    def value(self) -> float | None:
        """S = E(a, b) + E(a, b') + E(a', b) - E(a', b'); None where a setting was never met."""
        if not all(self.counts):
            return None
        e = [2 * m / n - 1 for n, m in zip(self.counts, self.same, strict=True)]
        return e[0] + e[1] + e[2] - e[3]

    @property
    def error(self) -> float | None:
        """Its standard error, by counting."""
        if not all(self.counts):
            return None
        e = [2 * m / n - 1 for n, m in zip(self.counts, self.same, strict=True)]
        return math.sqrt(sum((1 - x * x) / n for x, n in zip(e, self.counts, strict=True)))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "value": self.value,
            "standard_error": self.error,
            "counts": list(self.counts),
            "same": list(self.same),
            "means": LABEL,
        }
