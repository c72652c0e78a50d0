"""Entropies in bits, clipped so that rounding or a hopeless bound can never add key."""

from __future__ import annotations

import math

QBER_MIN = 1e-4  # reconciliation does not plan for fewer errors: it would send hardly anything, and find none of them


def binary_entropy(probability: float) -> float:
    """Return h(p) = -p log2 p - (1-p) log2(1-p), the Shannon entropy of a biased coin.

    Raises:
        ValueError: `probability` does not lie in [0, 1].
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"{probability} is no probability")
    if probability in (0.0, 1.0):
        return 0.0
    # log1p keeps the second term exact for small p, where 1 - p loses digits.
    return -(probability * math.log2(probability)) - (1.0 - probability) * math.log1p(-probability) / math.log(2.0)


def error_entropy(error_rate: float) -> float:
    """Return h of an upper bound on an error rate: 1 from one half on, so that h never folds back down."""
    if error_rate >= 0.5:
        return 1.0
    return binary_entropy(max(error_rate, 0.0))
