"""Errors by intensity against a slow twin; the wire form of counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.bits import pack
from noclone.counts import Counts
from noclone.distill.estimation import errors_by_intensity, leak_factor, pack_numbers, qber_estimate, unpack_numbers
from noclone.errors import Aborted


def split(levels):
    """Return intensities as their low and high bits."""
    return pack(levels & 1), pack(levels >> 1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 2)), max_size=300))
def test_errors_by_intensity_agrees_with_its_twin(rows):
    ours, theirs, levels = (np.array([row[k] for row in rows], np.uint8) for k in range(3))
    expected = tuple(sum(a != b and level == k for a, b, level in rows) for k in range(3))
    assert errors_by_intensity(pack(ours), pack(theirs), split(levels), len(rows), 3) == expected


def test_bits_behind_the_end_do_not_count():
    ours, theirs = np.array([0], np.uint64), np.array([0xFF00000000000003], np.uint64)
    assert errors_by_intensity(ours, theirs, split(np.zeros(2, np.uint8)), 2, 2) == (2, 0)


def test_numbers_travel_and_wrong_sizes_are_refused():
    assert unpack_numbers(pack_numbers((1, 2), (3, 1 << 62)), 2, 2) == [(1, 2), (3, 1 << 62)]
    with pytest.raises(Aborted):
        unpack_numbers(b"\0" * 15, 1, 2)


def test_the_estimate_is_never_zero():
    """Cascade divides by it: with no error seen it plans for less than one in the block."""
    counts = Counts(1000, (500, 100), (50, 10), (0, 0))
    assert qber_estimate(counts, None) == 1 / 600
    assert qber_estimate(counts, 0.03) == 0.03
    assert qber_estimate(Counts(1000, (500, 100), (50, 10), (50, 10)), None) == 0.5


def test_leak_factor_is_one_at_shannons_limit():
    assert leak_factor(500, 1000, 0.11002786443835955) == pytest.approx(1, abs=1e-9)  # h = 1/2 there
    assert leak_factor(500, 1000, 0.0) == 0
