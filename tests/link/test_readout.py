"""Detectors with a memory against a twin that plays one click after the other from a heap."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from noclone.link import readout as module
from noclone.link.readout import Readout, Segment
from noclone.link.sampling import TICK_BITS, TICKS
from noclone.link.segments import Crew

KEY = bytes(range(32))


def readout(*, passive=True, dead=0.0, gate=1.0, jitter_ticks=0.0, p=0.0, lifetime=0.0, stretch=256) -> Readout:
    return Readout(
        detector_key=KEY,
        bob_key=KEY[::-1],
        bob_limit=None if passive else 1 << 31,
        dead_time_periods=dead,
        gate_fraction=gate,
        jitter_ticks=jitter_ticks,
        afterpulse_probability=p,
        afterpulse_lifetime_periods=lifetime,
        stretch_slots=stretch,
    )


def draw(number: int, purpose: int) -> tuple[int, int]:
    """Return the detectors' two words for a slot (purpose 1), or an afterpulse of the stretch from slot i (4 i + 2)."""
    data = number.to_bytes(8, "little") + purpose.to_bytes(8, "little")
    block = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor().update(data)
    return int.from_bytes(block[:8], "little"), int.from_bytes(block[8:], "little")


def exponential(word: int) -> float:
    return -math.log(((word >> 11) + 1) * 2.0**-53)


def twin(clicks, n_slots, dead, gate, p, lifetime, stretch=256):
    """Return the events of sorted clicks."""
    heap = [int(c) for c in clicks]
    heapq.heapify(heap)
    dead_until, until, afterpulses, slots, now = [-(2**62)] * 4, -1, 0, {}, 0
    while heap:
        click = heapq.heappop(heap)
        ticks, d = click >> 2, click & 3
        if ticks >= n_slots << TICK_BITS or ticks < max(0, dead_until[d]):
            continue
        if (begin := (ticks >> TICK_BITS) // stretch * stretch) != now:
            until, afterpulses, now = -1, 0, begin
        dead_until[d] = ticks + round(dead * TICKS)
        if p:
            until = int(exponential(draw(afterpulses, 2 + 4 * now)[0]) / -math.log1p(-p)) if until < 0 else until
            if until == 0:
                delay = int(exponential(draw(afterpulses, 2 + 4 * now)[1]) * lifetime * TICKS)
                heapq.heappush(heap, (dead_until[d] + delay) << 2 | d)
                afterpulses += 1
            until -= 1
        offset = ticks % TICKS - TICKS // 2
        if -round(gate * TICKS / 2) <= offset < round(gate * TICKS / 2):
            mask, arrival = slots.get(ticks >> TICK_BITS, (0, offset >> (TICK_BITS - 8)))
            slots[ticks >> TICK_BITS] = (mask | 1 << d, arrival)
    out = []
    for slot, (mask, arrival) in slots.items():
        several = mask.bit_count() > 1
        value_word, basis_word = draw(slot, 1)
        value = value_word & 1 if several else int(mask in (2, 8))
        basis = basis_word & 1 if mask & 3 and mask & 12 else int(mask > 3)
        out.append(slot << 16 | (arrival & 255) << 8 | mask << 4 | several << 2 | basis << 1 | value)
    return out


def random_clicks(n_slots, n, seed):
    rng = np.random.default_rng(seed)
    return np.unique(rng.integers(0, n_slots << TICK_BITS, n) << 2 | rng.integers(0, 4, n)).astype(np.int64)


@pytest.mark.parametrize(
    ("dead", "gate", "p", "lifetime"),
    [
        (0, 1, 0, 0),
        (0.4, 0.5, 0, 0),
        (30, 1, 0, 0),
        (30, 0.7, 0.2, 12.5),
        (0, 1, 0.3, 2.0),
        (300, 1, 0.5, 1000),
        (0, 1, 0.9, 0.02),
    ],
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


def test_room_for_pending_afterpulses_and_events_grows():
    # 64 waiting afterpulses have room at first, and events for as many clicks as there are; this needs more of both.
    n_slots = 12_000
    clicks = random_clicks(n_slots, 1_000, 8)
    events = readout(p=0.95, lifetime=500.0).segment(clicks, 0, n_slots, last=True)
    assert len(events) > len(clicks) + 4096
    assert events.tolist() == twin(clicks, n_slots, 0, 1, 0.95, 500.0)
    slots = events >> np.uint64(16)
    assert np.all(slots[1:] > slots[:-1])


def test_active_basis_is_bobs_own_function_of_the_slot():
    clicks = random_clicks(3000, 2000, 9) & ~np.int64(2)
    clicks = np.unique(clicks)
    events = readout(passive=False).segment(clicks, 0, 3000, last=True)
    later = readout(passive=False).segment(clicks[len(clicks) // 2 :], 0, 3000, last=True)
    bases = dict(zip((events >> np.uint64(16)).tolist(), (events >> np.uint64(1) & np.uint64(1)).tolist(), strict=True))
    assert 0.4 < np.mean(list(bases.values())) < 0.6
    for event in later.tolist():
        assert bases[event >> 16] == event >> 1 & 1


def segments_of(clicks, slots, n_slots, cut):
    """Yield segments of so many slots; a click belongs to the slot that its photon was sent in."""
    for first in range(0, n_slots, cut):
        some = np.sort(clicks[(slots >= first) & (slots < first + cut)])
        length = min(cut, n_slots - first)
        yield Segment(some - (first << TICK_BITS << 2), first, length, first + cut >= n_slots)


@pytest.mark.parametrize(
    ("options", "cut", "soon"),
    [
        ({"dead": 30, "p": 0.1, "lifetime": 20.0}, 1024, True),
        ({"dead": 30, "p": 0.1, "lifetime": 20.0, "jitter_ticks": TICKS / 4, "gate": 0.8}, 1024, True),
        ({"dead": 30, "p": 0.1, "lifetime": 20.0, "passive": False, "stretch": 64}, 700, True),  # cuts within stretches
        ({"dead": 5000, "p": 0.5, "lifetime": 3.0}, 1024, False),  # hardly ever agree
        ({"p": 0.95, "lifetime": 900.0, "stretch": 32}, 1024, False),  # more afterpulses than there is room for
    ],
)
def test_playing_ahead_changes_nothing(options, cut, soon, monkeypatch):
    n_slots, rng, agreed = 40_000, np.random.default_rng(10), []
    slots = np.sort(rng.integers(0, n_slots, 20_000))
    noise = np.clip(rng.normal(0, options.get("jitter_ticks", 0), len(slots)), -1.5 * TICKS, 1.5 * TICKS)
    clicks = (slots << TICK_BITS) + TICKS // 2 + noise.astype(np.int64) << 2 | rng.integers(0, 4, len(slots))
    if not options.get("passive", True):
        clicks &= ~np.int64(2)
    segments, plain = list(segments_of(clicks, slots, n_slots, cut)), readout(**options)
    one = [plain.segment(some.clicks, some.first_slot, some.n_slots, last=some.last) for some in segments]
    in_turn = Readout._in_turn

    def listening(self, run, alone):
        events = in_turn(self, run, alone)
        agreed.append(alone is not None and self._memory is alone.memory)
        return events

    monkeypatch.setattr(Readout, "_in_turn", listening)
    for threads, stretches in ((2, 2), (1, 1000), (3, 1000)):  # the first with several runs in a segment
        agreed.clear()
        monkeypatch.setattr(module, "STRETCHES_OF_RUN", stretches)
        done = []
        with Crew(threads) as crew:
            events = list(readout(**options).follow(segments, crew, 2 * threads, done.append))
        assert done == segments
        assert len(events) > len(segments) if stretches == 2 else len(events) == len(segments)
        assert np.array_equal(np.concatenate(events), np.concatenate(one))
    assert np.mean(agreed) > 0.8 if soon else np.mean(agreed) < 0.2
    assert sum(map(len, one)) > 20
