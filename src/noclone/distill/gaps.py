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
from numba import njit

from noclone.distill.bit_kernels import bytes_of_planes, plane_of_bytes, plane_of_words

GROUP = 64
WIDTH_MAX = 48  # slots are numbers below 2^48


@njit(cache=True, nogil=True)
def write_events(events, previous, widths, planes, bases, values):  # type: ignore[no-untyped-def]
    """Write each group's width and planes, and one bit for the basis and for the value of each event.

    Args:
        events: As in `records.Detections`, without gaps in memory.
        previous: The slot before the first, -1 if there is none.
        planes: Room for `WIDTH_MAX` + 8 words for each group.

    Returns:
        How many words the planes took, or -1 if the slots do not rise.
    """
    block, gaps, small = np.zeros(GROUP, np.uint64), np.zeros(GROUP, np.uint64), np.zeros(GROUP, np.uint8)
    slots = np.zeros(GROUP + 1, np.uint64)  # of the group, behind the one before it
    block_at, small_at = block.ctypes.data, small.ctypes.data
    slots[GROUP] = np.uint64(previous)
    used = np.int64(0)
    for group in range(len(widths)):
        every = _gaps(events, GROUP * group, block, slots, gaps)
        bases[group], values[group] = plane_of_words(block_at, 1), plane_of_words(block_at, 0)
        if every >> np.uint64(WIDTH_MAX):
            return np.int64(-1)
        start = used
        low = np.uint64(0)
        while every:
            for i in range(GROUP):
                small[i] = np.uint8(gaps[i] >> low)
            for bit in range(8):
                planes[used] = plane_of_bytes(small_at, bit)
                used += np.int64(every != 0)
                every >>= np.uint64(1)
            low += np.uint64(8)
        widths[group] = used - start
    return used


@njit(cache=True, nogil=True)
def _gaps(events, first, block, slots, gaps):  # type: ignore[no-untyped-def]
    """Copy a group of events, behind whose end zeros follow, and work out the gaps; return all of these, or-ed."""
    count = min(GROUP, len(events) - first)
    for i in range(count, GROUP):
        block[i] = gaps[i] = 0
    for i in range(count):
        block[i] = events[first + i]
    slots[0] = slots[GROUP]
    for i in range(count):
        slots[i + 1] = block[i] >> np.uint64(16)
    every = np.uint64(0)
    for i in range(count):
        gaps[i] = slots[i + 1] - slots[i] - np.uint64(1)
        every |= gaps[i]
    return every


@njit(cache=True, nogil=True)
def read_slots(widths, planes, previous, n_slots, slots):  # type: ignore[no-untyped-def]
    """Read one slot for each element of `slots`.

    Args:
        previous: The slot before the first, -1 if there is none.
        n_slots: Every slot must be smaller.

    Returns:
        Whether the planes are all used and say, in the one way in which it may be said, slots that exist.
    """
    few, small, gaps = np.zeros(8, np.uint64), np.zeros(GROUP, np.uint8), np.zeros(GROUP, np.uint64)
    slot = np.int64(previous)
    used = np.int64(0)
    for group in range(len(widths)):
        width, first = np.int64(widths[group]), GROUP * group
        count = min(GROUP, len(slots) - first)
        if width > WIDTH_MAX or used + width > len(planes) or not _sound(planes, used, width, count):
            return False
        _bytes(planes, used, min(8, width), few, small)
        if width <= 8:
            for i in range(count):
                slot += np.int64(small[i]) + 1
                slots[first + i] = np.uint64(slot)
        else:
            for i in range(GROUP):
                gaps[i] = small[i]
            for low in range(8, width, 8):
                _bytes(planes, used + low, min(8, width - low), few, small)
                for i in range(GROUP):
                    gaps[i] |= np.uint64(small[i]) << np.uint64(low)
            for i in range(count):
                slot += np.int64(gaps[i]) + 1
                slots[first + i] = np.uint64(slot)
        used += width
        if slot >= n_slots:  # none before it is larger, and 64 gaps of 48 bits overflow nothing
            return False
    return used == len(planes)


@njit(cache=True, nogil=True)
def _bytes(planes, start, count, few, small):  # type: ignore[no-untyped-def]
    """Turn up to eight planes into the eight low bits of 64 gaps."""
    for k in range(8):
        few[k] = planes[start + k] if k < count else np.uint64(0)
    bytes_of_planes(few.ctypes.data, small.ctypes.data)


@njit(cache=True, nogil=True)
def _sound(planes, start, width, count):  # type: ignore[no-untyped-def]
    """Return whether the highest plane of a group holds a one, and none of them one behind the last of its gaps."""
    if width == 0:
        return True
    behind = np.uint64(0)
    if count < GROUP:
        for k in range(start, start + width):
            behind |= planes[k] >> np.uint64(count)
    return planes[start + width - 1] != 0 and behind == 0
