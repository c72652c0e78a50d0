"""Packed bits against NumPy's plain arrays of zeros and ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone import bits

lists = st.lists(st.integers(0, 1), max_size=400)


@given(lists)
def test_packing_is_undone_by_unpacking(values: list[int]) -> None:
    array = np.array(values, np.uint8)
    words = bits.pack(array)
    assert len(words) == bits.word_count(len(values))
    assert bits.unpack(words, len(values)).tolist() == values
    assert bits.count_ones(words) == sum(values)


def test_bit_order_is_lowest_first() -> None:
    assert bits.pack(np.array([1, 0, 0, 0, 0, 0, 0, 0, 1], np.uint8)).tolist() == [0x101]
    assert bits.words_from_bytes(b"\x01\x80").tolist() == [0x8001]
    assert bits.bytes_from_words(np.array([0xFFFF], np.uint64), 9) == b"\xff\x01"


@given(st.binary(max_size=60))
def test_bytes_survive_words(data: bytes) -> None:
    assert bits.bytes_from_words(bits.words_from_bytes(data), 8 * len(data)) == data


@given(lists, st.data())
def test_taking_a_range(values: list[int], data: st.DataObject) -> None:
    words = bits.pack(np.array(values, np.uint8))
    start = data.draw(st.integers(0, len(values)))
    count = data.draw(st.integers(0, len(values) - start))
    taken = bits.take(words, start, count)
    assert bits.unpack(taken, count).tolist() == values[start : start + count]
    assert bits.count_ones(taken) == sum(values[start : start + count]), "unused high bits must be zero"


def test_taking_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="do not lie in"):
        bits.take(np.zeros(1, np.uint64), 60, 5)
