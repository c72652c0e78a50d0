"""Entropy: exact at the ends, never folding back, exact for small probabilities."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.proofs.entropy import binary_entropy, error_entropy


def test_ends_and_middle() -> None:
    assert binary_entropy(0.0) == 0.0
    assert binary_entropy(1.0) == 0.0
    assert binary_entropy(0.5) == 1.0


def test_eleven_percent_is_where_bb84_ends() -> None:
    # Shor and Preskill 2000: 1 - 2 h(e) crosses zero at 11.0 %.
    assert 1 - 2 * binary_entropy(0.1100) > 0 > 1 - 2 * binary_entropy(0.1101)


def test_small_probabilities_keep_their_digits() -> None:
    p = 1e-18  # 1 - p is 1 in floats; the series -(1-p) log2(1-p) = p / ln 2 + O(p^2) is not lost
    assert binary_entropy(p) == pytest.approx(p * (-math.log2(p) + 1 / math.log(2)), rel=1e-12)


@pytest.mark.parametrize("bad", [-1e-9, 1.0000001, math.nan])
def test_no_probability(bad: float) -> None:
    with pytest.raises(ValueError, match="no probability"):
        binary_entropy(bad)


@given(st.floats(-1, 2), st.floats(-1, 2))
def test_error_entropy_never_falls(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= error_entropy(low) <= error_entropy(high) + 1e-15 <= 1 + 1e-15
