"""How Bob's announcement writes slots: the gaps between them, in planes of bits, 64 detections at a time.

In: slots that rise.  Out: words on the wire, and the slots again, checked.

A gap is a slot minus the one before, minus 1, so whatever the gaps, the slots rise. Each group of 64 gaps is written
with as many bits as its largest gap needs, w of them, as w words: bit i of word k is bit k of gap i. That is frame of
reference coding (Goldstein, Ramakrishnan and Shaft 1998, ICDE) with the bits transposed, so 64 gaps are coded by a few
vector operations and no branch. Gaps of independent detections with mean m take about log2(m) + 2.8 bits; their entropy
is log2(m) + 1.44.
"""

from __future__ import annotations

import numpy as np

from noclone.distill.bit_kernels import (
    bit_length,
    bytes_of_planes,
    bytes_of_words,
    gaps_of_events,
    plane_of_bytes,
    slots_of_gaps,
)
from noclone.distill.cascade_words import load, load_byte
from noclone.kernels import inner, kernel
from noclone.records import Detections

GROUP = 64
PLANES_BEHIND = 8  # that may be read, for planes are read eight at a time
WIDTH_MAX = 48  # slots are numbers below 2^48
SLOT_SHIFT = np.uint64(Detections.SLOT_SHIFT)


@kernel
def write_events(events, previous, widths, planes, bases, values):  # type: ignore[no-untyped-def]
    """Write each group's width and planes, and one bit for the basis and for the value of each event.

    Args:
        events: As in `records.Detections`, without gaps in memory.
        previous: The slot before the first, -1 if there is none.
        planes: Room for `WIDTH_MAX` + 8 words for each group.

    Returns:
        How many words the planes took, or -1 if the slots do not rise.
    """
    gaps, small = np.zeros(GROUP, np.uint64), np.zeros(GROUP, np.uint8)
    gaps_at, small_at = np.int64(gaps.ctypes.data), np.int64(small.ctypes.data)
    events_at = np.int64(events.ctypes.data)
    slot = np.uint64(previous)
    used = np.int64(0)
    for group in range(len(widths)):
        first = np.uint64(GROUP * group)
        count = min(np.uint64(GROUP), np.uint64(len(events)) - first)
        if count == GROUP:
            every = gaps_of_events(events_at + np.int64(8 * first), slot, gaps_at, small_at)
        else:
            every = _gaps(events, first, count, slot, gaps, small)
        slot = events[first + count - np.uint64(1)] >> SLOT_SHIFT
        bases[group], values[group] = plane_of_bytes(small_at, 1), plane_of_bytes(small_at, 0)
        if every >> np.uint64(WIDTH_MAX):
            return np.int64(-1)
        width = np.int64(bit_length(every))
        for low in range(0, width, 8):
            bytes_of_words(gaps_at, low, small_at)
            for bit in range(8):  # the next group writes over those that are too many
                planes[used + low + bit] = plane_of_bytes(small_at, bit)
        used += width
        widths[group] = width
    return used


@inner
def _gaps(events, first, count, previous, gaps, flags):  # type: ignore[no-untyped-def]
    """Do what `gaps_of_events` does for a group of less than 64 events, with zeros behind them."""
    one = np.uint64(1)
    for i in range(count, np.uint64(GROUP)):
        gaps[i] = flags[i] = 0
    for i in range(count):  # unsigned, so that nothing asks whether an index counts from the end
        flags[i] = np.uint8(events[first + i])
    every = gaps[0] = (events[first] >> SLOT_SHIFT) - previous - one
    for i in range(one, count):
        gap = (events[first + i] >> SLOT_SHIFT) - (events[first + i - one] >> SLOT_SHIFT) - one
        gaps[i] = gap
        every |= gap
    return every


@kernel
def read_slots(widths, planes, n_planes, previous, n_slots, slots):  # type: ignore[no-untyped-def]
    """Read one slot for each element of `slots`.

    Args:
        widths: Address of a byte for each group.
        planes: Address of `n_planes` words, with `PLANES_BEHIND` words behind them, which mean nothing.
        previous: The slot before the first, -1 if there is none.
        n_slots: Every slot must be smaller.

    Returns:
        Whether the planes are all used and say, in the one way in which it may be said, slots that exist.
    """
    small = np.zeros((WIDTH_MAX // 8, GROUP), np.uint8)
    small_at, slots_at = np.int64(small.ctypes.data), np.int64(slots.ctypes.data)
    slot = np.int64(previous)
    used = np.int64(0)
    for group in range((len(slots) + GROUP - 1) // GROUP):
        width, first = load_byte(widths + group), np.uint64(GROUP * group)
        count = min(np.uint64(GROUP), np.uint64(len(slots)) - first)
        if width > WIDTH_MAX or used + width > n_planes or not _sound(planes, used, width, np.int64(count)):
            return False
        rows = max((width + 7) // 8, np.int64(1))  # one of zeros, if all gaps are
        for row in range(int(rows)):
            start = used + 8 * row
            bytes_of_planes(planes + 8 * start, min(8, width - 8 * row), small_at + GROUP * row)
        if count == GROUP and width <= 16:
            slot = slots_of_gaps(small_at, rows, slot, slots_at + np.int64(8 * first))
        else:
            slot = _slots(small, width, slot, slots, first, count)
        used += width
        if slot >= n_slots:  # none before it is larger, and 64 gaps of 48 bits overflow nothing
            return False
    return used == n_planes


@inner
def _slots(small, width, slot, slots, first, count):  # type: ignore[no-untyped-def]
    """Add up a group's gaps, each given in bytes, from `slot` on; return the last slot."""
    for i in range(count):
        for row in range((width + 7) // 8):
            slot += np.int64(small[row, i]) << (8 * row)
        slot += 1
        slots[first + i] = np.uint64(slot)
    return slot


@inner
def _sound(planes, start, width, count):  # type: ignore[no-untyped-def]
    """Return whether the highest plane of a group holds a one, and none of them one behind the last of its gaps."""
    if width == 0:
        return True
    behind = np.uint64(0)
    if count < GROUP:
        for k in range(start, start + width):
            behind |= np.uint64(load(planes + 8 * k)) >> np.uint64(count)
    return load(planes + 8 * (start + width - 1)) != 0 and behind == 0
