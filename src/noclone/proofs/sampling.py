"""Finite statistics: how far a count may lie from what it estimates, at a stated failure probability.

In: counts and an epsilon.  Out: a deviation to add or subtract. `n` detections are called counts, never rates.
"""

from __future__ import annotations

import math


def hoeffding(n: float, epsilon: float) -> float:
    """Return delta with P(count - mean > delta) <= epsilon, for a count among `n` independent events.

    Hoeffding, J. Am. Stat. Assoc. 58, 13 (1963), as Lim et al. 2014 use it: sqrt((n/2) ln(1/epsilon)).
    """
    return math.sqrt(n / 2.0 * -math.log(epsilon))


def hoeffding_two_sided(n: float, epsilon: float) -> float:
    """Return delta with P(|count - mean| > delta) <= epsilon**2.

    Tupkary et al., Quantum 9, 1937 (2025), in the authors' `decoyHoeffdingCorrection`: sqrt((n/2) ln(2/epsilon^2)).
    """
    return math.sqrt(n / 2.0 * (math.log(2.0) - 2.0 * math.log(epsilon)))


def serfling(n_key: float, n_test: float, epsilon: float) -> float:
    """Return how far the error rate of `n_key` untested events may exceed that of `n_test` tested ones.

    P(rate_key - rate_test > gamma) <= epsilon**2 (the square root is taken when the entropy is smoothed).
    Serfling, Ann. Stat. 2, 39 (1974); Tomamichel et al., Nat. Commun. 3, 634 (2012); Tupkary et al. 2025,
    authors' `gammaSerf`: sqrt( ((n_key + n_test) / (n_key n_test)) ((n_test + 1) / n_test) ln(1/epsilon) ).
    """
    spread = (n_key + n_test) / (n_key * n_test) * ((n_test + 1.0) / n_test)
    return math.sqrt(spread * -math.log(epsilon))


def fung_gamma(rate: float, n_test: float, n_key: float, epsilon: float) -> float:
    """Return the same excess by the formula of Fung, Ma, Chau, Phys. Rev. A 81, 012318 (2010).

    Written as Lim et al. 2014, Eq. (5): gamma(a, b, c, d) with a / terms = `epsilon`, b = `rate`, c = `n_test`, d =
    `n_key`. It rests on Stirling's approximation: against the exact hypergeometric tail it keeps about epsilon**1.4
    where 200 errors were seen, and below about 30 not even epsilon. Hence `sampling_excess`.
    """
    if not 0.0 < rate < 0.5:
        return 0.0 if rate <= 0.0 else 0.5
    spread = (n_test + n_key) / (n_test * n_key)
    inside = math.log2(spread / ((1.0 - rate) * rate)) - 2.0 * math.log2(epsilon)
    return math.sqrt(max(spread * (1.0 - rate) * rate / math.log(2.0) * inside, 0.0))


def chernoff_excess(rate: float, n_test: float, n_key: float, epsilon: float) -> float:
    """Return an excess with P <= epsilon from the relative entropy, for any number of errors, none included.

    Hoeffding 1963, Theorem 1 and Sec. 6 (sampling without replacement): if all bits together err at rate r, a sample of
    n shows `rate` < r or less with P <= exp(-n D(rate || r)). Solved for the r where that is epsilon.
    """
    target = -math.log(epsilon) / n_test
    low, high = rate, 0.5
    if rate >= 0.5 or _relative_entropy(rate, 0.5) <= target:
        return 0.5
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _relative_entropy(rate, middle) < target else (low, middle)
    return (n_test + n_key) / n_key * (high - rate)


def sampling_excess(rate: float, n_test: float, n_key: float, epsilon: float) -> float:
    """Return the published gamma, but never less than what keeps P <= epsilon for certain.

    From some fifty errors on the published gamma is the larger one and stands as printed.
    """
    return max(fung_gamma(rate, n_test, n_key, epsilon), chernoff_excess(rate, n_test, n_key, epsilon))


def _relative_entropy(a: float, b: float) -> float:
    """Return D(a || b) of two coins, in nats, for 0 <= a <= b < 1."""
    first = a * math.log(a / b) if a > 0.0 else 0.0
    return first + (1.0 - a) * (math.log1p(-a) - math.log1p(-b))
