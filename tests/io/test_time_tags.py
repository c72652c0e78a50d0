"""Time tags to slots: exact for any rational clock, however long the recording; double clicks at random."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.io.time_tags import Receiver, SlotClock, assemble
from noclone.records import Detections

ACTIVE = Receiver(values=(0, 1), bases=(0, 0))
PASSIVE = Receiver(values=(0, 1, 0, 1), bases=(0, 0, 1, 1))
CLOCKS = [
    Fraction(10**9),
    Fraction(2_500_000_000),
    Fraction(3 * 10**9),
    Fraction(80_000_000),
    Fraction(999_999_937),  # a prime: nothing cancels
    Fraction(1_249_999_999_999, 1000),
    Fraction(10**12),
]


def nearest(delay_ps: int, clock_hz: Fraction) -> int:
    """Twin of `SlotClock.nearest`, in unbounded integers."""
    return math.floor(delay_ps * clock_hz / 10**12 + Fraction(1, 2))


@settings(max_examples=400, deadline=None)
@given(
    delays=st.lists(st.integers(-1000, (1 << 62) - 1), min_size=1, max_size=20),
    clock=st.sampled_from(CLOCKS) | st.fractions(1, 10**11, max_denominator=1000),
)
def test_nearest_slot_is_exact(delays, clock):
    found, offset = SlotClock.of(clock).nearest(np.array(delays, np.int64))
    exact = [nearest(delay, clock) for delay in delays]
    assert found.tolist() == exact
    for delay, slot, got in zip(delays, exact, offset, strict=True):
        assert float(got) == pytest.approx(float(delay * clock / 10**12 - slot), abs=1e-9)
        assert -0.5 <= got < 0.5


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_long_run_does_not_drift(clock):
    """A peer's receiver slipped 1 ps a frame; here every slot's centre finds its slot, up to a month of them."""
    slots = np.unique(np.geomspace(1, float(clock) * 86400 * 30, 2000).astype(np.int64))
    centres = np.array([round(int(k) * 10**12 / clock) for k in slots], np.int64)
    centres = centres[centres < 1 << 62]
    found, _ = SlotClock.of(clock).nearest(centres)
    # A centre rounded to a picosecond stays in its slot unless slots are that short.
    if clock < 5 * 10**11:
        assert found.tolist() == slots[: len(centres)].tolist()


def gather(tags, receiver, *, chunk=3, clock=Fraction(10**9), n_slots=100, start_ps=0, seed=1):
    times, channels = (np.array([tag[k] for tag in tags], kind) for k, kind in ((0, np.uint64), (1, np.uint8)))
    pieces = [(times[i : i + chunk], channels[i : i + chunk]) for i in range(0, len(tags), chunk)]
    random = np.random.default_rng(seed)
    return assemble(pieces, receiver, clock_hz=clock, start_ps=start_ps, n_slots=n_slots, random=random)


@settings(deadline=None)
@given(
    tags=st.lists(st.tuples(st.integers(0, 99_400), st.integers(0, 3)), max_size=60).map(sorted),
    chunk=st.integers(1, 10),
)
def test_slots_and_detectors_agree_with_a_slow_twin(tags, chunk):
    events = gather(tags, PASSIVE, chunk=chunk)
    expected: dict[int, set[int]] = {}
    for time, channel in tags:
        expected.setdefault(nearest(time, Fraction(10**9)), set()).add(channel)
    assert (events >> np.uint64(16)).tolist() == sorted(expected)
    for event in events.tolist():
        clicked = expected[event >> 16]
        assert event >> 4 & 15 == sum(1 << channel for channel in clicked)
        assert bool(event & Detections.MULTIPLE) == (len(clicked) > 1)
        assert event & 1 in {PASSIVE.values[channel] for channel in clicked}
        assert event >> 1 & 1 in {PASSIVE.bases[channel] for channel in clicked}


def test_double_clicks_get_a_random_value():
    n = 4000
    tags = [(1000 * slot, channel) for slot in range(n) for channel in (0, 1)]
    ones = int((gather(tags, ACTIVE, chunk=999, n_slots=n) & np.uint64(1)).sum())
    assert abs(ones - n / 2) < 5 * math.sqrt(n / 4)  # 5 sigma of a fair coin: false alarm 6e-7
    again = gather(tags, ACTIVE, chunk=999, n_slots=n)
    other = gather(tags, ACTIVE, chunk=999, n_slots=n, seed=2)
    assert int((again & np.uint64(1)).sum()) == ones
    assert (again != other).any()


def test_the_gate_and_the_arrival():
    gated = Receiver(values=(0, 1), bases=(0, 0), gate_ps=200)
    events = gather([(1000, 0), (2100, 0), (3101, 0), (3899, 1), (4900, 1)], gated)
    assert (events >> np.uint64(16)).tolist() == [1, 2, 5]
    arrival = (events >> np.uint64(8)).astype(np.uint8).view(np.int8)
    assert arrival.tolist() == [0, round(0.1 * 256), round(-0.1 * 256)]


def test_the_start_shifts_everything():
    assert (gather([(5000, 0), (7400, 1)], ACTIVE, start_ps=5000) >> np.uint64(16)).tolist() == [0, 2]
    assert (gather([(4600, 0)], ACTIVE, start_ps=5000) >> np.uint64(16)).tolist() == [0]
    assert len(gather([], ACTIVE)) == 0


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([(2000, 0), (1000, 0)], "not sorted"),
        ([(1000, 0)] * 3 + [(500, 0)], "not sorted"),
        ([(1000, 2)], "channel 2"),
        ([(99_500, 0)], "outside"),
        ([(1 << 62, 0)], "out of range"),
    ],
)
def test_tags_that_cannot_be(tags, message):
    with pytest.raises(ValueError, match=message):
        gather(tags, ACTIVE)


def test_tags_before_the_block():
    with pytest.raises(ValueError, match="outside"):
        gather([(1000, 0)], ACTIVE, start_ps=5000)


@pytest.mark.parametrize("clock", [Fraction(2 * 10**12), Fraction(10**9) + Fraction(1, 10**9)])
def test_clocks_too_fast_or_too_fine(clock):
    with pytest.raises(ValueError, match="clock"):
        SlotClock.of(clock)


@pytest.mark.parametrize("fields", [{"values": (0, 2)}, {"bases": (0,)}, {"gate_ps": -1}, {"values": (), "bases": ()}])
def test_receivers_that_cannot_be(fields):
    with pytest.raises(ValueError, match=r"receiver|gate"):
        Receiver(**{"values": (0, 1), "bases": (0, 0), **fields})
