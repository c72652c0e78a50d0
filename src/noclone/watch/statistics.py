"""The tests that monitors stand on, each with the false-alarm probability that it states.

In: counts, readings, what a model expects.  Out: p-values, and a statistic that adds up what single blocks only hint
at. A p-value is exact where a binomial or Poisson law is, so alarms come as often as stated, or less often where
counts are small. Detectors with dead time fluctuate less than independent trials, which makes alarms rarer still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SPAN_SIGMAS = 12.0  # beyond the first term, where a tail has no more than 10^-15 of its weight


def divergence(q: float, p: float) -> float:
    """Return D(q || p) between two coins, in nats."""
    if not 0 < p < 1:
        return 0.0 if q == p else math.inf

    def part(a: float, b: float) -> float:
        return a * math.log(a / b) if a > 0 else 0.0

    return max(part(q, p) + part(1 - q, 1 - p), 0.0)


def tail_bound(successes: int, trials: int, probability: float) -> float:
    """Bound the probability of a count at least this far on its side of the mean (Hoeffding 1963, Theorem 1)."""
    if trials == 0:
        return 1.0
    return math.exp(-min(trials * divergence(successes / trials, probability), 700.0))


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """Return the probability of a count at least this far on its side of the mean: exact, term by term."""
    if trials == 0:
        return 1.0
    if not 0 < probability < 1:
        return 1.0 if successes == trials * probability else 0.0
    upper = successes >= trials * probability
    span = int(SPAN_SIGMAS * math.sqrt(trials * probability * (1 - probability)) + 60)
    steps = np.arange(min(span, trials - successes if upper else successes), dtype=float)
    n, p, m = float(trials), probability, float(successes)
    if upper:
        ratios = np.log((n - m - steps) / (m + steps + 1)) + math.log(p / (1 - p))
    else:
        ratios = np.log((m - steps) / (n - m + steps + 1)) + math.log((1 - p) / p)
    first = (
        math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m + 1) + m * math.log(p) + (n - m) * math.log1p(-p)
    )
    total = 1.0 + float(np.exp(np.cumsum(ratios)).sum())
    # Near the middle of a law of many trials the logarithms of factorials lose digits; nothing is decided there.
    return min(1.0, math.exp(max(first, -745.0)) * total)


def poisson_tail(count: int, mean: float) -> float:
    """Return the probability of a count at least this far on its side of a mean."""
    if mean <= 0:
        return 1.0 if count == 0 else 0.0
    trials = max(10**9, 1000 * count)  # Le Cam 1960: as good as a binomial law of so many trials, to mean / trials
    return binomial_tail(count, trials, min(mean / trials, 1 - 1e-12))


def normal_tail(deviations: float) -> float:
    """Return the probability of a standard normal number at least this far on its side of 0."""
    return math.erfc(abs(deviations) / math.sqrt(2)) / 2


def allowed(seen: float, expected: float, accuracy: float) -> float:
    """Return the value nearest to what was seen that the model, good to a relative accuracy, does not rule out."""
    return min(max(seen, expected * (1 - accuracy)), expected * (1 + accuracy))


@dataclass(slots=True)
class Drift:
    """A change that single blocks only hint at: the Shiryaev-Roberts statistic (Shiryaev 1963, Roberts 1966).

    R = (1 + R) L for each block, L the likelihood ratio of the change to no change. R minus the number of blocks is a
    martingale while nothing has changed, so the mean time to a false alarm at R >= threshold is the threshold or more
    (Pollak 1985, Ann. Stat. 13, 206). After an alarm it starts anew.
    """

    threshold: float
    log_value: float = -math.inf

    def add(self, log_ratio: float) -> bool:
        """Take in a block; return whether this is an alarm."""
        self.log_value = float(np.logaddexp(0.0, self.log_value)) + log_ratio
        if self.log_value < math.log(self.threshold):
            return False
        self.log_value = -math.inf
        return True

    @property
    def p_value(self) -> float:
        """Return what bounds the chance of an alarm in a block."""
        return 1 / self.threshold


def binomial_log_ratio(successes: int, trials: int, before: float, after: float) -> float:
    """Return ln of the likelihood of a count after a change over that before it."""
    if not (0 < before < 1 and 0 < after < 1):
        return 0.0
    return successes * math.log(after / before) + (trials - successes) * (math.log1p(-after) - math.log1p(-before))


def poisson_log_ratio(count: int, before: float, after: float) -> float:
    """Return ln of the likelihood of a count with one mean over that with another."""
    if before <= 0 or after <= 0:
        return 0.0
    return count * math.log(after / before) - (after - before)
