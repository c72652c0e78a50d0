"""Detectors with a memory against a twin that plays one click after the other from a heap."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest

from noclone.link.chacha import key_words
from noclone.link.pulses import TICK_BITS, TICKS
from noclone.link.readout import Readout, draw_words

KEY = bytes(range(32))


def readout(*, passive=True, dead=0.0, gate=1.0, jitter_ticks=0.0, p=0.0, lifetime=0.0) -> Readout:
    return Readout(
        detector_key=KEY,
        bob_key=KEY[::-1],
        bob_limit=None if passive else 1 << 31,
        dead_time_periods=dead,
        gate_fraction=gate,
        jitter_ticks=jitter_ticks,
        afterpulse_probability=p,
        afterpulse_lifetime_periods=lifetime,
    )


def twin(clicks, n_slots, dead, gate, p, lifetime):
    """Return {slot: (mask, first arrival, clicks in order)} of sorted clicks."""
    draws = iter(draw_words(key_words(KEY), 0, 1 << 14).tolist())

    def exponential():
        return -math.log(((next(draws) >> 11) + 1) * 2.0**-53)

    heap = [int(c) for c in clicks]
    heapq.heapify(heap)
    dead_until, until, slots, current = [0] * 4, -1, {}, None
    while heap:
        click = heapq.heappop(heap)
        ticks, d = click >> 2, click & 3
        if ticks >= n_slots << TICK_BITS or ticks < dead_until[d]:
            continue
        dead_until[d] = ticks + round(dead * TICKS)
        if p:
            until = int(exponential() / -math.log1p(-p)) if until < 0 else until
            if until == 0:
                heapq.heappush(heap, (dead_until[d] + int(exponential() * lifetime * TICKS)) << 2 | d)
            until -= 1
        offset = ticks % TICKS - TICKS // 2
        if -round(gate * TICKS / 2) <= offset < round(gate * TICKS / 2):
            slot = ticks >> TICK_BITS
            if current not in (None, slot):
                slots[current] += (next(draws) if slots[current][0].bit_count() > 1 else 0,)
            mask, arrival = slots.get(slot, (0, offset >> (TICK_BITS - 8)))[:2]
            slots[slot], current = (mask | 1 << d, arrival), slot
    if current is not None:
        slots[current] += (next(draws) if slots[current][0].bit_count() > 1 else 0,)
    out = []
    for slot, (mask, arrival, draw) in slots.items():
        several = mask.bit_count() > 1
        value = draw & 1 if several else int(mask in (2, 8))
        basis = draw >> 1 & 1 if mask & 3 and mask & 12 else int(mask > 3)
        out.append(slot << 16 | (arrival & 255) << 8 | mask << 4 | several << 2 | basis << 1 | value)
    return out


def random_clicks(n_slots, n, seed):
    rng = np.random.default_rng(seed)
    return np.unique(rng.integers(0, n_slots << TICK_BITS, n) << 2 | rng.integers(0, 4, n)).astype(np.int64)


@pytest.mark.parametrize(
    ("dead", "gate", "p", "lifetime"),
    [(0, 1, 0, 0), (0.4, 0.5, 0, 0), (30, 1, 0, 0), (30, 0.7, 0.2, 12.5), (0, 1, 0.3, 2.0), (300, 1, 0.5, 1000)],
)
def test_agrees_with_the_twin(dead, gate, p, lifetime):
    n_slots = 4000
    clicks = random_clicks(n_slots, 3000, 5)
    events = readout(dead=dead, gate=gate, p=p, lifetime=lifetime).segment(clicks, 0, n_slots, last=True)
    assert events.tolist() == twin(clicks, n_slots, dead, gate, p, lifetime)
    assert len(events) > 20


@pytest.mark.parametrize("cut", [1, 7, 1000, 3999])
def test_cuts_between_segments_leave_no_trace(cut):
    n_slots = 4000
    clicks = random_clicks(n_slots, 3000, 6)
    options = {"dead": 30, "gate": 0.9, "p": 0.3, "lifetime": 100.0}
    whole = readout(**options).segment(clicks, 0, n_slots, last=True)
    detectors, parts = readout(**options), []
    for first in range(0, n_slots, cut):
        some = clicks[(clicks >> 2 >= first << TICK_BITS) & (clicks >> 2 < (first + cut) << TICK_BITS)]
        length = min(cut, n_slots - first)
        parts.append(detectors.segment(some - (first << TICK_BITS << 2), first, length, last=first + cut >= n_slots))
    assert np.array_equal(np.concatenate(parts), whole)


def test_late_and_early_photons_cross_the_cut():
    # Clicks of a segment may lie up to 6.5 sigma outside of it; sigma is half a slot here.
    n_slots, cut, sigma = 4000, 50, TICKS // 2
    rng = np.random.default_rng(7)
    slots = np.sort(rng.integers(0, n_slots, 3000))
    ticks = (slots << TICK_BITS) + TICKS // 2 + rng.integers(-6 * sigma, 6 * sigma, 3000)
    clicks = ticks << 2 | rng.integers(0, 4, 3000)
    options = {"dead": 3, "jitter_ticks": float(sigma), "p": 0.1, "lifetime": 10.0}
    whole = readout(**options).segment(np.sort(clicks), 0, n_slots, last=True)
    detectors, parts = readout(**options), []
    for first in range(0, n_slots, cut):
        some = np.sort(clicks[(slots >= first) & (slots < first + cut)])
        shifted = some - (first << TICK_BITS << 2)
        parts.append(detectors.segment(shifted, first, cut, last=first + cut == n_slots))
    assert np.array_equal(np.concatenate(parts), whole)


def test_room_for_draws_and_pending_afterpulses_grows():
    # 4,096 draws and 64 waiting afterpulses are at hand at first; this needs more of both.
    n_slots = 60_000
    clicks = random_clicks(n_slots, 120_000, 8)
    events = readout(p=0.2, lifetime=2000.0).segment(clicks, 0, n_slots, last=True)
    assert int(((events >> np.uint64(2)) & np.uint64(1)).sum()) > 4096
    slots = events >> np.uint64(16)
    assert np.all(slots[1:] > slots[:-1])


def test_the_stream_of_draws_goes_on_where_it_stopped():
    words = draw_words(key_words(KEY), 0, 2000)
    assert np.array_equal(draw_words(key_words(KEY), 125, 1000), words[1000:])
    assert len(np.unique(words)) == 2000


def test_active_basis_is_bobs_own_function_of_the_slot():
    clicks = random_clicks(3000, 2000, 9) & ~np.int64(2)
    clicks = np.unique(clicks)
    events = readout(passive=False).segment(clicks, 0, 3000, last=True)
    later = readout(passive=False).segment(clicks[len(clicks) // 2 :], 0, 3000, last=True)
    bases = dict(zip((events >> np.uint64(16)).tolist(), (events >> np.uint64(1) & np.uint64(1)).tolist(), strict=True))
    assert 0.4 < np.mean(list(bases.values())) < 0.6
    for event in later.tolist():
        assert bases[event >> 16] == event >> 1 & 1
