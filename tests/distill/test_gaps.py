"""The coding of gaps: both kernels against a slow twin of the documented layout, and words that lie."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noclone.distill.gaps import GROUP, WIDTH_MAX, read_slots, write_events

ONES = (1 << 64) - 1
widths_of_gaps = st.lists(
    st.integers(0, 40).flatmap(lambda width: st.integers(0, (1 << width) - 1)), min_size=1, max_size=200
)


def twin(slots, previous):
    """Return widths and planes as the layout says."""
    widths, planes = [], []
    gaps = [int(b) - int(a) - 1 for a, b in pairwise([previous, *slots])]
    for first in range(0, len(gaps), GROUP):
        group = gaps[first : first + GROUP]
        widths.append(max(group).bit_length())
        planes += [sum((gap >> k & 1) << i for i, gap in enumerate(group)) for k in range(widths[-1])]
    return widths, planes


def written(slots, previous=-1, flags=None):
    flags = np.zeros(len(slots), np.uint64) if flags is None else flags
    groups = -(-len(slots) // GROUP)
    widths, planes = np.empty(groups, np.uint8), np.empty((WIDTH_MAX + 8) * groups, np.uint64)
    bases, values = np.empty(groups, np.uint64), np.empty(groups, np.uint64)
    events = np.array(slots, np.uint64) << np.uint64(16) | flags
    used = write_events(events, np.int64(previous), widths, planes, bases, values)
    return used, widths, planes[: max(used, 0)].copy(), bases, values


def read(widths, planes, count, previous=-1, n_slots=1 << 48):
    slots = np.empty(count, np.uint64)
    widths, words = np.frombuffer(bytes(widths), np.uint8), np.array([*planes, *[ONES] * 8], np.uint64)
    sound = read_slots(widths.ctypes.data, words.ctypes.data, len(planes), previous, n_slots, slots)
    return slots.tolist() if sound else None


@settings(max_examples=100, deadline=None)
@example(gaps=[0] * 64, previous=-1)
@example(gaps=[0] * 65, previous=-1)
@example(gaps=[255] * 63 + [256], previous=5)
@given(gaps=widths_of_gaps, previous=st.integers(-1, 1 << 40))
def test_slots_survive_and_the_layout_is_the_documented_one(gaps, previous):
    slots = (previous + np.cumsum([gap + 1 for gap in gaps])).tolist()
    flags = np.random.default_rng(len(gaps)).integers(0, 1 << 16, len(slots), np.uint64)
    used, widths, planes, bases, values = written(slots, previous, flags)
    assert (widths.tolist(), planes.tolist()) == twin(slots, previous)
    assert used == len(planes)
    assert read(widths, planes, len(slots), previous) == slots
    for words, bit in ((bases, 1), (values, 0)):
        found = np.unpackbits(words.view(np.uint8), bitorder="little")
        assert found[: len(slots)].tolist() == (flags >> np.uint64(bit) & np.uint64(1)).tolist()
        assert not found[len(slots) :].any()


def test_the_largest_slot_there_can_be():
    last = (1 << 48) - 1
    used, widths, planes, *_ = written([last])
    assert (used, widths.tolist()) == (48, [48])
    assert read(widths, planes, 1) == [last]
    assert read(widths, planes, 1, n_slots=last) is None


@pytest.mark.parametrize("slots", [[3, 3], [3, 2], [*range(64), 63], [*range(100), 5, *range(101, 200)]])
def test_slots_that_do_not_rise_are_not_written(slots):
    assert written(slots)[0] == -1
    assert written([slots[0]], previous=slots[0])[0] == -1


def test_words_that_lie_are_refused():
    slots = list(range(0, 300, 3))  # 100 gaps of 2 (the first of 0): two groups, two planes each
    _, widths, planes, *_ = written(slots)
    assert read(widths, planes, 100, n_slots=298) == slots
    good = planes.tolist()
    assert read(widths, good, 100, n_slots=297) is None, "the last slot does not exist"
    assert read([2, 1], good, 100) is None, "a plane is left over"
    assert read([2, 3], good, 100) is None, "a plane is missing"
    assert read([2, 3], [*good, 0], 100) is None, "a plane too many, though it holds nothing"
    assert read([2, 49], good + [1] * 47, 100) is None, "wider than a slot's number"
    assert read([2, 2], [*good[:3], good[3] | 1 << 36], 100) is None, "a gap behind the last"
    assert read([2, 2], [*good[:3], good[3] | 1 << 35], 100) == slots, "the last gap was a 2 all along"


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(0, 200),
    widths=st.lists(st.integers(0, 60), max_size=4),
    seed=st.integers(0, 1 << 32),
    n_slots=st.integers(1, 1 << 48),
)
def test_garbage_is_refused_or_means_rising_slots(count, widths, seed, n_slots):
    widths = (widths + [0] * 4)[: -(-count // GROUP)]
    planes = np.random.default_rng(seed).integers(0, 1 << 64, sum(widths), np.uint64)
    slots = read(widths, planes, count, n_slots=n_slots)
    if slots is not None:
        assert all(a < b for a, b in pairwise([-1, *slots, n_slots]))
        assert written(slots)[2].tolist() == planes.tolist(), "there is one way to say it"
