"""Monitors: what the devices really reported, against what they should report.

In: the counts of each block, from the events; the counts that the link's model expects.  Out: `Alarm`s, as events.
Each test states its false-alarm probability. A tail is bounded by Chernoff's inequality in the form of Hoeffding (1963,
Theorem 1): P[X >= m] <= exp(-n D(m/n || p)) for n independent trials of probability p, and alike for the other tail. So
an alarm is never raised more often than stated; detectors with dead time fluctuate less than independent trials, which
makes it rarer still. What a model cannot promise (its gains are good to a per cent) is allowed for first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from noclone.events import Event, EventLog
from noclone.proofs.agreement import Expected
from noclone.records import Counts

DEFAULT_ALPHA = 1e-6  # per block and monitor: one false alarm in a year of blocks of half a minute
GAIN_ACCURACY = 0.01  # relative; of `link.theory`, whose dead times and afterpulses are first order, and of real losses


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that chance does not explain.

    Args:
        monitor: Which test.
        statistic: What was seen.
        expected: What the model says.
        p_value: Bound on the probability of seeing this, or worse, by chance.
        alpha: The bound below which the monitor speaks: its false-alarm probability per block.
        message: The same for people.
    """

    monitor: str
    statistic: float
    expected: float
    p_value: float
    alpha: float
    message: str


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


def watch_error_rate(counts: Counts, expected: Expected, alpha: float = DEFAULT_ALPHA) -> Alarm | None:
    """Return an alarm if the test basis holds more errors than its model explains."""
    total = sum(expected.n_test)
    if not total or not counts.test_total:
        return None
    rate = sum(expected.m_test) / total
    errors = sum(counts.m_test)
    p_value = tail_bound(errors, counts.test_total, rate)
    if counts.qber_test <= rate or p_value >= alpha:
        return None
    message = (
        f"error rate {counts.qber_test:.2%} where {rate:.2%} is expected ({errors} of {counts.test_total} test bits)"
    )
    return Alarm("error-rate", counts.qber_test, rate, p_value, alpha, message)


def watch_gains(counts: Counts, expected: Expected, alpha: float = DEFAULT_ALPHA) -> list[Alarm]:
    """Return an alarm for each intensity that is detected more or less often than its model says.

    Who splits off photons, or stops pulses, changes the ratio of the intensities' gains (Lo, Ma, Chen 2005).
    """
    alarms = []
    tests = 2 * len(counts.n_key)  # both tails of each intensity share alpha
    for index, (key, test) in enumerate(zip(counts.n_key, counts.n_test, strict=True)):
        seen = key + test
        mean = expected.n_key[index] + expected.n_test[index]
        scaled = mean * counts.n_slots / expected.n_slots
        nearest = min(max(seen, scaled * (1 - GAIN_ACCURACY)), scaled * (1 + GAIN_ACCURACY))
        p_value = tail_bound(seen, counts.n_slots, nearest / counts.n_slots)
        if p_value < alpha / tests:
            message = f"intensity {index} was detected {seen} times, {scaled:.0f} are expected"
            alarms.append(Alarm(f"gain-{index}", seen, scaled, p_value, alpha, message))
    return alarms


class LinkMonitor:
    """Watch the blocks of a network's links, and add an event for each alarm.

    Args:
        expected: For each link, what its model expects of a block.
    """

    def __init__(self, log: EventLog, expected: Mapping[str, Expected], alpha: float = DEFAULT_ALPHA) -> None:
        self._log = log
        self._expected = dict(expected)
        self._alpha = alpha
        self._seen: dict[str, int] = {}
        self.stop: Callable[[], None] = log.listen(self._hear)

    def _hear(self, event: Event) -> None:
        if event.kind not in ("block.distilled", "block.aborted"):
            return
        kind, _, link = event.subject.partition(":")
        counts, block = counts_of(event.data), event.data["block"]
        if kind != "link" or link not in self._expected or counts is None or block <= self._seen.get(link, -1):
            return
        self._seen[link] = block  # the other end reports the same block
        alarms = watch_gains(counts, self._expected[link], self._alpha)
        error = watch_error_rate(counts, self._expected[link], self._alpha)
        for alarm in [error, *alarms] if error else alarms:
            self._log.add("alarm.raised", event.subject, block=event.data.get("block"), **asdict(alarm))


def counts_of(data: Mapping[str, Any]) -> Counts | None:
    """Return the counts that a block's event carries, if it got that far."""
    found = data.get("counts")
    if not isinstance(found, Mapping):
        return None

    def row(name: str) -> tuple[int, ...]:
        return tuple(int(n) for n in found[name])

    m_key = row("m_key") if found.get("m_key") is not None else None
    return Counts(int(found["n_slots"]), row("n_key"), row("n_test"), row("m_test"), m_key)
