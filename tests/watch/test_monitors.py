"""Monitors: they keep their false-alarm promise, and they see what they are there for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.counts import Counts
from noclone.events import EventLog
from noclone.protocols import DecoyMdi, Sender, SendOrNot, class_names
from noclone.watch.monitors import LinkMonitor, Watched, counts_of, tail_bound, watch_error_rate, watch_gains


@dataclass(frozen=True)
class Model:
    n_slots: int = 10_000_000
    n_key: tuple[float, ...] = (60_000.0, 10_000.0)
    n_test: tuple[float, ...] = (6_000.0, 1_000.0)
    m_test: tuple[float, ...] = (60.0, 12.0)


MODEL = Model()
HONEST = Counts(10_000_000, (60_100, 9_950), (6_010, 990), (63, 11))


def exact_tail(m: int, n: int, p: float) -> float:
    """P[X >= m] for m above the mean, P[X <= m] below it, term by term."""

    def log_term(k: int) -> float:
        return (
            math.lgamma(n + 1)
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(p)
            + (n - k) * math.log1p(-p)
        )

    terms = range(m, n + 1) if m >= n * p else range(m + 1)
    return math.fsum(math.exp(log_term(k)) for k in terms)


@given(st.integers(1, 300), st.floats(0.01, 0.99), st.data())
def test_the_bound_is_never_below_the_exact_binomial_tail(n: int, p: float, data: st.DataObject) -> None:
    m = data.draw(st.integers(0, n))
    assert tail_bound(m, n, p) >= exact_tail(m, n, p) * (1 - 1e-9)


def test_the_bound_is_not_lazy() -> None:
    assert tail_bound(130, 1000, 0.1) < 10 * exact_tail(130, 1000, 0.1) * math.sqrt(1000)


def test_honest_counts_raise_nothing() -> None:
    assert watch_error_rate(HONEST, MODEL) is None
    assert watch_gains(HONEST, MODEL) == []


def test_false_alarms_stay_below_alpha() -> None:
    """At alpha = 1 %, 4,000 honest blocks may raise 40 alarms a monitor on average; five sigma allow 72."""
    random = np.random.default_rng(5)
    errors = random.binomial(7_000, 72 / 7_000, 4_000)
    alarms = sum(
        watch_error_rate(Counts(MODEL.n_slots, (60_000, 10_000), (6_000, 1_000), (int(m), 0)), MODEL, 0.01) is not None
        for m in errors
    )
    assert alarms <= 72


@pytest.mark.parametrize("fraction", [0.1, 0.3, 1.0])
def test_intercept_resend_is_seen(fraction: float) -> None:
    """Eve adds a quarter of her share to the error rate."""
    rate = 0.01 + fraction / 4
    counts = Counts(MODEL.n_slots, (60_000, 10_000), (6_000, 1_000), (int(6_000 * rate), int(1_000 * rate)))
    alarm = watch_error_rate(counts, MODEL)
    assert alarm is not None
    assert alarm.p_value < alarm.alpha == 1e-6
    assert alarm.statistic == pytest.approx(rate, abs=1e-3)


def test_fewer_errors_than_expected_are_no_alarm() -> None:
    assert watch_error_rate(Counts(MODEL.n_slots, (60_000, 10_000), (6_000, 1_000), (0, 0)), MODEL) is None


def test_photon_number_splitting_is_seen_in_the_gains() -> None:
    """Who stops single photons thins out the faint pulses more than the bright ones."""
    counts = Counts(MODEL.n_slots, (60_000, 8_000), (6_000, 800), (60, 8))
    assert [alarm.monitor for alarm in watch_gains(counts, MODEL)] == ["gain-1"]


def test_a_gain_alarm_names_the_pair_of_intensities() -> None:
    both = Sender((0.5, 0.1, 0.0), (0.4, 0.3, 0.3), 0.5)
    nine, twelve = class_names(DecoyMdi(both, both)), class_names(SendOrNot(both, both, 0.5, 0.5))
    assert (len(nine), nine[5]) == (9, "Alice's intensity 1 with Bob's 2")
    assert (len(twelve), twelve[5]) == (12, nine[5])
    assert twelve[10] == "intensity 1 of both, in phases that do not fit,"
    expected = Model(10_000_000, (6_000.0,) * 9, (600.0,) * 9, (6.0,) * 9)
    counts = Counts(10_000_000, (*(6_000,) * 5, 3_000, *(6_000,) * 3), (600,) * 9, (6,) * 9)
    (alarm,) = Watched(expected, refusal=0.0, classes=nine).fresh().look(counts)
    assert alarm.monitor == "gain-5"
    assert alarm.message == "Alice's intensity 1 with Bob's 2 was detected 3600 times, 6600 are expected"


def test_what_the_model_cannot_promise_is_no_alarm() -> None:
    """A deviation of less than a per cent may be the model's own, however many counts show it."""
    big = Model(10**10, (6e7, 1e7), (6e6, 1e6), (6e4, 1.2e4))
    assert watch_gains(Counts(10**10, (60_500_000, 10_000_000), (6_000_000, 1_000_000), (60_000, 12_000)), big) == []
    alarms = watch_gains(Counts(10**10, (61_500_000, 10_000_000), (6_000_000, 1_000_000), (60_000, 12_000)), big)
    assert [alarm.monitor for alarm in alarms] == ["gain-0"]


def test_a_monitor_listens_to_the_log_once_per_block() -> None:
    log = EventLog()
    monitor = LinkMonitor(log, {"a-b": Watched(MODEL, refusal=0.0)})
    bad = asdict(Counts(MODEL.n_slots, (60_000, 10_000), (6_000, 1_000), (1_500, 250)))
    log.add("block.aborted", "link:a-b", block=3, end="alice", counts=bad)
    log.add("block.aborted", "link:a-b", block=3, end="bob", counts=bad)
    log.add("block.aborted", "link:elsewhere", block=3, counts=bad)
    log.add("block.aborted", "link:a-b", block=4, end="alice", counts=None)
    alarms = [event for event in log if event.kind == "alarm.raised"]
    assert len(alarms) == 1
    assert alarms[0].data["monitor"] == "error-rate"
    assert alarms[0].data["block"] == 3
    monitor.stop()
    log.add("block.aborted", "link:a-b", block=5, end="alice", counts=bad)
    assert len([event for event in log if event.kind == "alarm.raised"]) == 1


def test_counts_survive_an_event() -> None:
    assert counts_of({"counts": asdict(HONEST)}) == HONEST
    assert counts_of({"counts": None}) is None
