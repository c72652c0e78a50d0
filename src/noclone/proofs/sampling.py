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


def mean_at_most(count: float, epsilon: float) -> float:
    """Return a mean m >= count with P(X <= count) <= epsilon, for X a sum of independent coins of mean m or more.

    Chernoff's bound in its exact form (Mitzenmacher and Upfal, Theorem 4.5's first step): P(X <= x) <= e^(x - m)
    (m / x)^x. It is sharp for rare events, where Hoeffding's is of no use.
    """
    target = -math.log(epsilon)
    if count <= 0.0:
        return target
    low, high = count, count + 2.0 * target + 2.0 * math.sqrt(2.0 * count * target)
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _poisson_exponent(count, middle) < target else (low, middle)
    return high


def mean_at_least(count: float, epsilon: float) -> float:
    """Return a mean m <= count with P(X >= count) <= epsilon, for X a sum of independent coins of mean m or less."""
    target = -math.log(epsilon)
    low, high = 0.0, max(count, 0.0)
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (low, middle) if _poisson_exponent(count, middle) < target else (middle, high)
    return low


def coins_at_most(mean: float, epsilon: float) -> float:
    """Return a count x >= mean with P(X >= x) <= epsilon, for X a sum of coins of mean `mean` or less.

    Chernoff's bound again; it holds for coins that are independent or negatively associated (Dubhashi and Ranjan,
    Random Struct. Algorithms 13, 99 (1998), Prop. 5), as draws without replacement are (Joag-Dev and Proschan, Ann.
    Stat. 11, 286 (1983)).
    """
    target = -math.log(epsilon)
    if mean <= 0.0:
        return 0.0
    low, high = mean, mean + target + math.sqrt(target * target + 2.0 * mean * target)
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _poisson_exponent(middle, mean) < target else (low, middle)
    return high


def coins_at_least(mean: float, epsilon: float) -> float:
    """Return a count x <= mean with P(X <= x) <= epsilon, for X a sum of such coins of mean `mean` or more.

    0 where even a count of none is not so rare: then nothing is said.
    """
    target = -math.log(epsilon)
    if mean <= target:
        return 0.0
    low, high = 0.0, mean
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (low, middle) if _poisson_exponent(middle, mean) < target else (middle, high)
    return low


def _poisson_exponent(count: float, mean: float) -> float:
    """Return m - x + x ln(x / m): the rate at which a count of x becomes rarer than its mean m."""
    if mean <= 0.0:
        return math.inf if count > 0.0 else 0.0
    return mean - count + (count * math.log(count / mean) if count > 0.0 else 0.0)


# Tilts of the martingale bounds, fixed before any data: one of them is near the best whatever is counted.
TILTS: tuple[float, ...] = tuple(math.pow(2.0, -k / 2.0) for k in range(-4, 57))


def chances_at_most(count: float, epsilon: float) -> float:
    """Return an upper bound on the sum of the chances that a count had, whoever chose them as it went on.

    Let X be how many of N events happen, and P the sum of their probabilities, each given all that was before. For any
    fixed t, exp(t X - (e^t - 1) P) is a supermartingale, for 1 + p (e^t - 1) <= exp(p (e^t - 1)); so by Markov's
    inequality t X - (e^t - 1) P <= ln(1/epsilon) but with probability epsilon. With t < 0 it bounds P from above, with
    t > 0 from below; the best of some tilts that were fixed beforehand costs their number in epsilon. It needs no
    independence: what Azuma's inequality is used for, sharp for rare events.
    """
    price = math.log(len(TILTS)) - math.log(epsilon)
    return min((t * count + price) / -math.expm1(-t) for t in TILTS)


def chances_at_least(count: float, epsilon: float) -> float:
    """Return a lower bound on the same sum."""
    price = math.log(len(TILTS)) - math.log(epsilon)
    return max(0.0, max((t * count - price) / math.expm1(t) for t in TILTS))


def count_at_most(chances: float, epsilon: float) -> float:
    """Return how many of such events happen at most, where the sum of their chances is at most `chances`."""
    price = math.log(len(TILTS)) - math.log(epsilon)
    return min((math.expm1(t) * chances + price) / t for t in TILTS)


def _relative_entropy(a: float, b: float) -> float:
    """Return D(a || b) of two coins, in nats, for 0 <= a <= b < 1."""
    first = a * math.log(a / b) if a > 0.0 else 0.0
    return first + (1.0 - a) * (math.log1p(-a) - math.log1p(-b))
