"""The monitors of one link: counts and readings of a block -> alarms.

In: what the devices really reported (`counts.Counts`, `link.telemetry`), and what their models expect.  Out:
`Alarm`s. Each monitor states its false-alarm probability per block, `alpha`. What a model cannot promise (its gains
are good to a per cent) is allowed for first. Two kinds of test: a tail, for what one block shows; a drift, for what
only many do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from noclone.counts import Counts
from noclone.link.devices import LinkDevices
from noclone.link.expected_telemetry import ExpectedTelemetry, expected_telemetry
from noclone.link.telemetry import METER_NOISE, Telemetry
from noclone.proofs.agreement import Expected, refusal_probability
from noclone.watch.alarms import DEFAULT_ALPHA, Alarm
from noclone.watch.statistics import (
    Drift,
    allowed,
    binomial_log_ratio,
    binomial_tail,
    normal_tail,
    poisson_log_ratio,
    poisson_tail,
)

GAIN_ACCURACY = 0.01  # relative; of `link.theory`, whose dead times and afterpulses are first order, and of real losses
MULTIPLE_ACCURACY = 0.1  # of double clicks: the square of what gains are good to, and more where detectors are dead
ARRIVAL_ACCURACY = 0.03
METER_ACCURACY = 0.01  # of a calibrated power meter
ERROR_CHANGE = 0.01  # the drift that is looked for: Eve on 4 % of the pulses
DARK_CHANGE = 2.0  # a detector that warms up, or a blind one: twice or half
REFUSED_CHANGE = 0.2  # one block in five gives no key


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of a link before it runs.

    Args:
        expected: Counts that the model expects of a block.
        later: Of the blocks after it, where they differ; when all have been, they begin anew.
        classes: What `expected` counts apart, by name; intensities where not given.
        telemetry: What the devices should report; None where they report nothing.
        refusal: How often an honest block is refused; 0 where nothing is agreed.
        alpha: False-alarm probability of each monitor, per block.
    """

    expected: Expected
    telemetry: ExpectedTelemetry | None = None
    refusal: float = refusal_probability(4.0)
    alpha: float = DEFAULT_ALPHA
    later: tuple[Expected, ...] = ()
    classes: tuple[str, ...] = ()

    def of(self, block: int) -> Expected:
        """Return what is expected of a block."""
        return (self.expected, *self.later)[block % (1 + len(self.later))]

    def fresh(self) -> Watch:
        """Return monitors that have seen nothing yet."""
        return Watch(self)


def watched(devices: LinkDevices, expected: Expected, length_bits: int, alpha: float = DEFAULT_ALPHA) -> Watched:
    """Return what is known of a link of these devices."""
    return Watched(expected, expected_telemetry(devices), refusal_probability(4.0) if length_bits else 0.0, alpha)


def watch_error_rate(counts: Counts, expected: Expected, alpha: float = DEFAULT_ALPHA) -> Alarm | None:
    """Return an alarm if the test basis holds more errors than its model explains."""
    total = sum(expected.n_test)
    if not total or not counts.test_total:
        return None
    rate = sum(expected.m_test) / total
    errors = sum(counts.m_test)
    if counts.qber_test <= rate or (p_value := binomial_tail(errors, counts.test_total, rate)) >= alpha:
        return None
    message = (
        f"error rate {counts.qber_test:.2%} where {rate:.2%} is expected ({errors} of {counts.test_total} test bits)"
    )
    return Alarm("error-rate", counts.qber_test, rate, p_value, alpha, message)


def watch_gains(
    counts: Counts, expected: Expected, alpha: float = DEFAULT_ALPHA, classes: tuple[str, ...] = ()
) -> list[Alarm]:
    """Return an alarm for each intensity that is detected more or less often than its model says.

    Who splits off photons, or stops pulses, changes the ratio of the intensities' gains (Lo, Ma, Chen 2005).
    """
    alarms = []
    tests = 2 * len(counts.n_key)  # both tails of each intensity share alpha
    for index, (key, test) in enumerate(zip(counts.n_key, counts.n_test, strict=True)):
        seen = key + test
        mean = expected.n_key[index] + expected.n_test[index]
        scaled = mean * counts.n_slots / expected.n_slots
        nearest = allowed(seen, scaled, GAIN_ACCURACY)
        p_value = 1.0 if nearest == seen else binomial_tail(seen, counts.n_slots, nearest / counts.n_slots)
        if p_value < alpha / tests:
            name = classes[index] if classes else f"intensity {index}"
            message = f"{name} was detected {seen} times, {scaled:.0f} are expected"
            alarms.append(Alarm(f"gain-{index}", seen, scaled, p_value, alpha, message))
    return alarms


@dataclass(slots=True)
class Watch:
    """The monitors of one link, with what they remember."""

    known: Watched
    _drifts: dict[str, Drift] = field(default_factory=dict)

    def look(
        self,
        counts: Counts | None,
        telemetry: Telemetry | None = None,
        refused: bool | None = None,
        block: int = 0,
    ) -> list[Alarm]:
        """Return the alarms of a block.

        Args:
            counts: Of both ends; None where the block did not get so far.
            telemetry: What the devices reported.
            refused: Whether the block gave no key; None where that is not decided yet.
            block: Its number.
        """
        found: list[Alarm] = []
        if counts is not None:
            expected = self.known.of(block)
            error = watch_error_rate(counts, expected, self.known.alpha)
            found += [error] if error else self._error_drift(counts, expected)
            found += watch_gains(counts, expected, self.known.alpha, self.known.classes)
        if telemetry is not None and self.known.telemetry is not None:
            found += self._detectors(telemetry, self.known.telemetry)
            found += self._meters(telemetry, self.known.telemetry)
        if refused is not None:
            found += self.key_rate(refused)
        return found

    def key_rate(self, refused: bool) -> list[Alarm]:
        """Return an alarm where more blocks give no key than was predicted."""
        before = self.known.refusal
        if not before:
            return []
        ratio = binomial_log_ratio(int(refused), 1, before, REFUSED_CHANGE)
        return self._drift(
            "key-rate", ratio, float(refused), before, "more blocks give no key than the link's model predicts"
        )

    def _error_drift(self, counts: Counts, expected: Expected) -> list[Alarm]:
        total = sum(expected.n_test)
        if not total:
            return []
        rate = sum(expected.m_test) / total
        ratio = binomial_log_ratio(sum(counts.m_test), counts.test_total, rate, min(rate + ERROR_CHANGE, 0.5))
        message = f"over some blocks there are more errors than {rate:.2%}; in this one {counts.qber_test:.2%}"
        return self._drift("error-drift", ratio, counts.qber_test, rate, message)

    def _detectors(self, seen: Telemetry, expected: ExpectedTelemetry) -> Iterator[Alarm]:
        """Yield alarms about what Bob's clicks look like."""
        total = sum(expected.clicks)
        tests = 2 * len(seen.clicks)
        for d, clicks in enumerate(seen.clicks if total else ()):
            share = expected.clicks[d] / total
            yield from self._share(
                f"detector-{d}",
                clicks,
                sum(seen.clicks),
                share,
                GAIN_ACCURACY,
                tests,
                f"of all clicks, at detector {d}",
            )
        yield from self._share(
            "double-clicks",
            seen.multiple,
            seen.n_slots,
            expected.multiple,
            MULTIPLE_ACCURACY,
            2,
            "in several detectors",
        )
        for i, n in enumerate(seen.arrivals or ()):
            yield from self._share(
                f"arrival-{i}",
                n,
                seen.events,
                expected.arrivals[i],
                ARRIVAL_ACCURACY,
                2 * len(expected.arrivals),
                f"in part {i} of the slot",
            )

    def _meters(self, seen: Telemetry, expected: ExpectedTelemetry) -> Iterator[Alarm]:
        """Yield alarms about what meters read."""
        readings = (
            ("photocurrent", seen.photocurrent_ua, expected.photocurrent_ua, "uA through Bob's detectors"),
            ("output-power", seen.output, expected.output, "of the planned brightness left Alice"),
            ("back-reflection", seen.input_photons, expected.input_photons, "photons a slot entered Alice's lab"),
        )
        for name, value, planned, what in readings:
            if value is not None:
                # A current is made of avalanches, whose number fluctuates as they are counted.
                clicks = sum(expected.clicks) * seen.n_slots if name == "photocurrent" else math.inf
                yield from self._reading(name, value, planned, what, 1 / clicks if clicks else 0.0)
        if seen.setting_deviation is not None and seen.setting_deviation > METER_ACCURACY:
            yield from self._reading(
                "setting-correlation",
                1 + seen.setting_deviation,
                1 + expected.setting_deviation,
                "is how far a pulse's brightness tells of the setting before it",
            )
        if seen.dark_counts is not None:
            yield from self._dark(seen.dark_counts, expected.dark_hz * seen.dark_s)

    def _dark(self, count: int, mean: float) -> Iterator[Alarm]:
        alpha = self.known.alpha
        p_value = poisson_tail(count, mean)
        message = f"{count} dark counts behind the closed shutter, {mean:.3g} are expected"
        if p_value < alpha / 2:
            yield Alarm("dark-counts", count, mean, p_value, alpha, message)
        for name, factor in (("dark-counts-up", DARK_CHANGE), ("dark-counts-down", 1 / DARK_CHANGE)):
            ratio = poisson_log_ratio(count, mean, mean * factor)
            yield from self._drift(name, ratio, count, mean, f"over some blocks, and now: {message}")

    def _share(
        self, name: str, seen: int, trials: int, share: float, accuracy: float, tests: int, what: str
    ) -> Iterator[Alarm]:
        """Yield an alarm where a count is not the share of trials that it should be."""
        if not trials:
            return
        nearest = allowed(seen / trials, share, accuracy)
        p_value = 1.0 if nearest == seen / trials else binomial_tail(seen, trials, nearest)
        if p_value < self.known.alpha / tests:
            message = f"{seen} of {trials} {what}, {share * trials:.1f} are expected"
            yield Alarm(name, seen / trials, share, p_value, self.known.alpha, message)

    def _reading(self, name: str, value: float, planned: float, what: str, variance: float = 0.0) -> Iterator[Alarm]:
        """Yield an alarm where a meter reads something else.

        Args:
            variance: Relative, of what is measured; the meter's own noise comes on top.
        """
        nearest = allowed(value, planned, METER_ACCURACY)
        p_value = normal_tail((value - nearest) / (math.sqrt(METER_NOISE**2 + variance) * planned))
        if p_value < self.known.alpha / 2:
            yield Alarm(name, value, planned, p_value, self.known.alpha, f"{value:.4g} {what}; {planned:.4g} planned")

    def _drift(self, name: str, log_ratio: float, seen: float, expected: float, message: str) -> list[Alarm]:
        drift = self._drifts.setdefault(name, Drift(1 / self.known.alpha))
        if not math.isfinite(log_ratio) or not drift.add(log_ratio):
            return []
        return [Alarm(name, seen, expected, drift.p_value, self.known.alpha, message)]
