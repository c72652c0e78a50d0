"""Every variant of the vector kernels against plain Python, at odd sizes: the same bits on all processors."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from noclone.link.aes import aes256_keys, ars_keys
from noclone.link.aes_simd import token, variants_here
from noclone.link.choices_simd import settings
from noclone.link.detectors import NEVER
from noclone.link.detectors_simd import COUNT_BITS, alive_clicks, events_of, in_gate
from noclone.link.pulses_simd import COPIED, LIMITS, PLACE_BITS, copy_words, disorder, proposals, sort_out
from noclone.link.sampling import TICK_BITS, TICKS, geometric

VARIANTS = variants_here()
ROOM = 600


@njit
def run_proposals(simd, keys, stream, first, mean_negated, last, draws, rests, at, n):
    out = (draws.ctypes.data, rests.ctypes.data, at.ctypes.data)
    return proposals(simd, keys.ctypes.data, stream, first, mean_negated, last, out[0], out[1], out[2], n)


@njit
def run_settings(simd, keys, first, shift, slots, limits, codes, n):
    settings(simd, keys.ctypes.data, first, shift, slots.ctypes.data, limits.ctypes.data, codes.ctypes.data, n)


@njit
def run_sort_out(simd, at, draws, rests, rows, limits, n_slots, starts, shares, entries, n):
    out = (starts.ctypes.data, shares.ctypes.data, entries.ctypes.data)
    given = (at.ctypes.data, draws.ctypes.data, rests.ctypes.data, rows.ctypes.data)
    table = (limits.ctypes.data, limits.shape[1])
    return sort_out(
        simd, given[0], given[1], given[2], given[3], table[0], table[1], n_slots, out[0], out[1], out[2], n
    )


@njit
def run_alive(simd, clicks, ends, dead_ticks, dead_until, kept):
    alive_clicks(simd, clicks.ctypes.data, ends.ctypes.data, dead_ticks, dead_until.ctypes.data, kept.ctypes.data)


@njit
def run_in_gate(simd, clicks, half, n):
    return in_gate(simd, clicks.ctypes.data, half, n)


@njit
def run_events(simd, clicks, n, first_slot, passive, events, several, done):
    return events_of(
        simd, clicks.ctypes.data + 8, n, first_slot, passive, events.ctypes.data, several.ctypes.data, done
    )


@njit
def run_copy(source, target, n):
    copy_words(source.ctypes.data, target.ctypes.data, n)


@njit
def run_disorder(words, n):
    return disorder(words.ctypes.data + 8, n)


@pytest.mark.parametrize("variant", VARIANTS)
def test_proposals(ars_twin, variant):
    key, n, first, stream = bytes(range(16)), 96, 2**33 + 7, 2**40 + 4
    draws, rests, at = np.empty(ROOM, np.uint64), np.empty(ROOM, np.uint64), np.empty(ROOM, np.int64)
    last = run_proposals(
        token(variant), ars_keys(key), np.uint64(stream), np.uint64(first), -5.0, 1000, draws, rests, at, n
    )
    slot = 1000
    for j in range(n):
        gap, draw = np.frombuffer(ars_twin(key, first + j, stream), "<u8").tolist()
        slot += geometric(np.uint64(gap), -5.0)
        assert (int(rests[j]), int(draws[j]), int(at[j])) == (gap, draw, slot)
    assert last == slot


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("limits", [(2**31, 2**32, 2**32, 2**30), (0, 0, 0, 0), (2**30, 2**31, 3 * 2**30, 2**32)])
def test_settings(variant, limits):
    keys, slots, codes = aes256_keys(bytes(range(32))), np.arange(96, dtype=np.uint64) ** 3, np.empty(96, np.int64)
    run_settings(
        token(variant),
        keys,
        2**40,
        16,
        slots << np.uint64(16) | np.uint64(0xABCD),
        np.array(limits, np.int64),
        codes,
        96,
    )
    portable = np.empty(96, np.int64)
    run_settings(token("portable"), keys, 0, 0, slots + np.uint64(2**40), np.array(limits, np.int64), portable, 96)
    assert codes.tolist() == portable.tolist()
    intensities = (
        {sum(limit == 0 for limit in limits[:3])} if limits[0] == 0 else {0, 1, 2, 3} if limits[1] < 2**32 else {0, 1}
    )
    assert set((codes >> 2).tolist()) == intensities


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [16, 32, 96])
@pytest.mark.parametrize("kept_share", [0.0, 0.5, 1.0])
def test_sort_out(variant, rows, kept_share):
    rng = np.random.default_rng(rows)
    n, n_slots = 512, 1200
    limits = np.sort(rng.integers(0, 2**44, (LIMITS, rows), dtype=np.uint64), axis=0) << np.uint64(20)
    limits[4] = limits[3] if kept_share == 0 else limits[4] if kept_share < 1 else np.uint64(2**64 - 1)
    draws, rests = (rng.integers(0, 2**64, n, dtype=np.uint64) for _ in range(2))
    row = rng.integers(0, rows, n)
    draws[:5], draws[5:10] = limits[:, row[0]], limits[:, row[0]] - np.uint64(1)  # just on and just below each limit
    row[:10] = row[0]
    at = np.cumsum(rng.integers(1, 5, n))
    starts, shares, entries = np.empty(ROOM, np.int64), np.empty(ROOM, np.uint64), np.empty(ROOM, np.uint64)
    both = run_sort_out(token(variant), at, draws, rests, row, limits, n_slots, starts, shares, entries, n)
    kept, listed = [], []
    for j in range(n):
        beyond = [int(draws[j]) >= int(limit) for limit in limits[:, row[j]]]
        if at[j] >= n_slots or beyond[4]:
            continue
        if beyond[3]:
            listed.append(int(row[j]) << 2 * PLACE_BITS | len(kept) << PLACE_BITS | j)
        share = (int(draws[j]) & 0xFFFFF) << 44 | (int(rests[j]) & 0xFFF) << 32
        kept.append((int(at[j]) << (TICK_BITS + 2) | sum(beyond[:3]), share))
    assert (both & (1 << PLACE_BITS) - 1, both >> PLACE_BITS) == (len(kept), len(listed))
    assert list(zip(starts[: len(kept)].tolist(), shares[: len(kept)].tolist(), strict=True)) == kept
    assert entries[: len(listed)].tolist() == listed


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dead", [0, 1, 5 * TICKS])
def test_alive_clicks(variant, dead):
    rng = np.random.default_rng(dead)
    clicks = np.sort(rng.integers(-100 * TICKS, 1000 * TICKS, 700)) << 2 | rng.integers(0, 4, 700)
    ends, bound = np.array([3, 600, int(clicks[550]), 2, 400], np.int64), int(clicks[550])
    dead_until, kept = np.array([-NEVER, 0, 50 * TICKS << 2, -NEVER]), np.zeros(410, np.int64)
    until, expected, at = dead_until.tolist(), [], 3
    while at < 600 and clicks[at] < bound and len(expected) < 398:
        click = int(clicks[at])
        if click >= until[click & 3]:
            until[click & 3] = (click & ~3) + (dead << 2)
            expected.append(click)
        at += 1
    run_alive(token(variant), clicks, ends, dead << 2, dead_until, kept)
    assert kept[2 : int(ends[3])].tolist() == expected
    assert (int(ends[0]), dead_until.tolist()) == (at, until)
    assert len(expected) > 50


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("n", [1, 7, 8, 61])
def test_in_gate(variant, n):
    clicks = np.arange(ROOM) * 200_003 - 40 * TICKS
    expected = [c for c in clicks[:n].tolist() if abs((c >> 2) % TICKS - TICKS / 2 + 0.5) < 300_000]
    found = run_in_gate(token(variant), clicks, 300_000, n)
    assert clicks[:found].tolist() == expected


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("passive", [0, 1])
@pytest.mark.parametrize("n", [1, 9, 64, 503])
def test_events(variant, passive, n):
    rng = np.random.default_rng(n)
    slots = np.sort(rng.permuted(np.repeat(np.arange(ROOM), 4))[:n])  # up to four clicks in a slot
    clicks = np.sort(slots << (TICK_BITS + 2) | rng.integers(0, 4 * TICKS, n))
    framed = np.concatenate([[-NEVER], clicks, [NEVER] * 16])
    events, several = np.empty(ROOM, np.uint64), np.empty(ROOM, np.int64)
    both = run_events(token(variant), framed, n, 2**40, passive, events, several, 5)
    masks: dict[int, int] = {}
    arrivals: dict[int, int] = {}
    for click in clicks.tolist():
        slot = click >> (TICK_BITS + 2)
        masks[slot] = masks.get(slot, 0) | 1 << (click & 3)
        arrivals.setdefault(slot, (((click >> 2) % TICKS - TICKS // 2) >> (TICK_BITS - 8)) & 0xFF)
    expected = []
    for slot, mask in masks.items():
        alone = mask.bit_count() == 1
        flags = int(mask in (2, 8)) | (int(mask > 3) & passive) << 1 | (not alone) << 2 | mask << 4
        expected.append(2**40 + slot << 16 | arrivals[slot] << 8 | flags)
    made, listed = both & (1 << COUNT_BITS) - 1, both >> COUNT_BITS
    assert events[:made].tolist() == expected
    assert several[:listed].tolist() == [5 + i for i, event in enumerate(expected) if event & 4]
    assert listed > 0 or n < 10


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_crowded_slot_is_left_to_the_plain_kernel(variant):
    clicks = np.concatenate([[-NEVER], np.arange(5), [NEVER] * 16])
    space = np.empty(ROOM, np.uint64), np.empty(ROOM, np.int64)
    assert run_events(token(variant), clicks, 4, 0, 1, *space, 0) == -1
    clicks[5] = NEVER
    assert run_events(token(variant), clicks, 4, 0, 1, *space, 0) == 1 | 1 << COUNT_BITS


@pytest.mark.parametrize("n", [1, 31, 32, 33, 100])
def test_copies_and_order(n):
    source, target = np.arange(ROOM), np.full(ROOM, -1)
    run_copy(source, target, n)
    assert np.array_equal(target[:n], source[:n])
    assert np.all(target[n + COPIED :] == -1)
    assert run_disorder(source, n) == 0
    source[n] = source[n - 1]
    assert run_disorder(source, n) == 0
    source[n] -= 1
    assert run_disorder(source, n) == 1
    source[n], source[n + 1] = n, 0
    assert run_disorder(source, n) == 0
