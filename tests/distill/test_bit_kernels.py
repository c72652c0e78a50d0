"""Bits by the word: both variants against counting bit by bit."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from noclone.distill import bit_kernels
from noclone.distill.bit_kernels import (
    bit_length,
    bytes_of_planes,
    bytes_of_words,
    gaps_of_events,
    gather,
    plane_of_bytes,
    slots_of_gaps,
    spread,
    token,
    variants_here,
)

ALL = (1 << 64) - 1
words = st.integers(0, ALL)


@njit
def gathered(token, word, mask):
    return gather(token, word, mask)


@njit
def spread_out(token, word, mask):
    return spread(token, word, mask)


@njit
def plane(row, bit):
    return plane_of_bytes(row.ctypes.data, bit)


@njit
def transposed(eight, count, out):
    bytes_of_planes(eight.ctypes.data, count, out.ctypes.data)


@njit
def shortened(row, shift, out):
    bytes_of_words(row.ctypes.data, shift, out.ctypes.data)


@njit
def lengths(word):
    return bit_length(word)


@njit
def summed(gaps, rows, slot, out):
    return slots_of_gaps(gaps.ctypes.data, rows, slot, out.ctypes.data)


@njit
def differences(events, slot, gaps, flags):
    return gaps_of_events(events.ctypes.data, slot, gaps.ctypes.data, flags.ctypes.data)


def places(mask):
    return [i for i in range(64) if mask >> i & 1]


@pytest.mark.parametrize("variant", variants_here())
@settings(max_examples=150, deadline=None)
@example(word=ALL, mask=0)
@example(word=ALL, mask=ALL)
@example(word=ALL, mask=1 << 63)
@given(word=words, mask=words)
def test_gather_and_spread_agree_with_their_twins(variant, word, mask):
    gathering = sum((word >> place & 1) << i for i, place in enumerate(places(mask)))
    spreading = sum((word >> i & 1) << place for i, place in enumerate(places(mask)))
    assert gathered(token(variant), np.uint64(word), np.uint64(mask)) == gathering
    assert spread_out(token(variant), np.uint64(word), np.uint64(mask)) == spreading


def test_a_plane_is_one_bit_of_each_byte():
    rows = np.random.default_rng(1).integers(0, 256, 65, np.uint8)[1:]  # not aligned
    for bit in range(8):
        assert plane(rows, bit) == sum((int(row) >> bit & 1) << i for i, row in enumerate(rows))


def test_bytes_of_planes_transposes():
    eight = np.random.default_rng(2).integers(0, ALL, 8, np.uint64, endpoint=True)
    out = np.zeros(64, np.uint8)
    for count in range(1, 9):
        transposed(eight, count, out)
        assert out.tolist() == [sum((int(eight[k]) >> i & 1) << k for k in range(count)) for i in range(64)]


def test_bytes_of_words_are_cut_out_of_them():
    row = np.random.default_rng(3).integers(0, ALL, 64, np.uint64, endpoint=True)
    out = np.zeros(64, np.uint8)
    for shift in (0, 3, 16, 56):
        shortened(row, shift, out)
        assert out.tolist() == [int(word) >> shift & 255 for word in row]


def test_lengths_of_words():
    for word in (0, 1, 2, 3, 255, 256, 1 << 63, ALL):
        assert lengths(np.uint64(word)) == word.bit_length()


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("slot", [-1, 0, (1 << 48) - 70_000 * 64])
def test_slots_are_sums_of_gaps(rows, slot):
    for gaps in (np.random.default_rng(4).integers(0, 256, (2, 64), np.uint8), np.full((2, 64), 255, np.uint8)):
        out = np.zeros(64, np.uint64)
        last = summed(gaps, rows, slot, out)
        numbers = [int(low) + (int(high) << 8) * (rows - 1) for low, high in gaps.T]
        assert out.tolist() == [slot + sum(numbers[: i + 1]) + i + 1 for i in range(64)]
        assert last == out[-1]


def test_gaps_are_differences_of_slots():
    rng = np.random.default_rng(5)
    slots = np.cumsum(rng.integers(1, 1 << 40, 64)) % (1 << 48)  # also where they do not rise
    events = slots.astype(np.uint64) << np.uint64(16) | rng.integers(0, 1 << 16, 64).astype(np.uint64)
    gaps, flags = np.zeros(64, np.uint64), np.zeros(64, np.uint8)
    for before in (ALL, 0, 12345):
        every = differences(events, np.uint64(before), gaps, flags)
        expected = [(int(a) - int(b) - 1) & ALL for a, b in zip(slots, [before, *slots[:-1]], strict=True)]
        assert gaps.tolist() == expected
        assert int(every) == int(np.bitwise_or.reduce(gaps))
        assert flags.tolist() == [int(event) & 255 for event in events]


def test_the_portable_variant_can_be_forced():
    code = "from noclone.distill import bit_kernels as b; print(b.VARIANT, len(b.BITS))"
    forced = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NOCLONE_SIMD": "portable"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert forced.stdout.split() == ["portable", str(2 * bit_kernels.VERSION)]
    assert token("portable") != token("bmi2")


def test_slow_instructions_are_not_chosen(monkeypatch):
    monkeypatch.setattr(bit_kernels.llvm, "get_host_cpu_name", lambda: "znver2")
    assert variants_here() == ("portable",)
    monkeypatch.setattr(bit_kernels.llvm, "get_host_cpu_name", lambda: "znver3")
    monkeypatch.setattr(bit_kernels.llvm, "get_host_cpu_features", lambda: {"bmi2": True})
    assert variants_here()[-1] == "bmi2"
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert variants_here() == ("portable",)
