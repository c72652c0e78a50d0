"""LDPC frames in loops: a key dealt out to frames, their syndromes, and the frames that failed, as a key of their own.

A batch is up to 64 frames, kept sliced as in `cascade_parities`: bit `lane` of word j is position j of frame `lane`, so
that one exclusive-or serves 64 frames. Bit (b m + t) lanes + lane of the key is place t of that frame: neighbours go to
different frames. Position j of the code holds place order[j]; where that is m or more, and behind the key's end, it
holds nothing, a zero at both ends.
"""

from __future__ import annotations

import numpy as np

from noclone.distill.cascade_words import trailing_zeros, transpose64
from noclone.kernels import kernel

_U1 = np.uint64(1)
_U0 = np.uint64(0)


@kernel
def deal(words, batch, lanes, m, order, sliced):  # type: ignore[no-untyped-def]
    """Fill the positions of one batch."""
    mask = ~_U0 if lanes == 64 else (_U1 << np.uint64(lanes)) - _U1
    for j in range(len(order)):
        place = np.int64(order[j])
        value = _U0
        if place < m:
            at = (batch * m + place) * lanes
            w = at >> 6
            shift = at & 63
            if w < len(words):
                value = words[w] >> np.uint64(shift)
            if shift + lanes > 64 and w + 1 < len(words):
                value |= words[w + 1] << np.uint64(64 - shift)
        sliced[j] = value & mask


@kernel
def pack_rows(sliced, lanes, rows):  # type: ignore[no-untyped-def]
    """Turn one batch's sliced bits into a row of bits for each frame."""
    tile = np.empty(64, np.uint64)
    for w in range(len(sliced) >> 6):
        for i in range(64):
            tile[i] = sliced[w << 6 | i]
        transpose64(tile)
        for lane in range(lanes):
            rows[lane, w] = tile[lane]


@kernel
def syndromes(sliced, circulant, row, half, column, shift, whole, first_half):  # type: ignore[no-untyped-def]
    """Sum the positions of each check, sliced, into `whole`; those of its first half into `first_half` also."""
    whole[:] = _U0
    first_half[:] = _U0
    for edge in range(len(row)):
        into = row[edge] * circulant
        source = column[edge] * circulant
        ahead = shift[edge]
        if half[edge] == 0:
            _add(sliced, source, ahead, circulant, into, first_half)
        _add(sliced, source, ahead, circulant, into, whole)


@kernel
def _add(sliced, source, ahead, circulant, into, sums):  # type: ignore[no-untyped-def]
    """Add a circulant's positions, shifted cyclically."""
    for i in range(circulant - ahead):
        sums[into + i] ^= sliced[source + ahead + i]
    for i in range(ahead):
        sums[into + circulant - ahead + i] ^= sliced[source + i]


@kernel
def flip(words, n_bits, lanes, m, order, patterns, frames):  # type: ignore[no-untyped-def]
    """Flip the key's bits that the error patterns of these frames name; return how many."""
    count = 0
    for frame in frames:
        batch = frame // lanes
        lane = frame - batch * lanes
        for w in range(patterns.shape[1]):
            rest = patterns[frame, w]
            while rest:
                place = np.int64(order[(w << 6) + np.int64(trailing_zeros(rest))])
                rest &= rest - _U1
                at = (batch * m + place) * lanes + lane
                if place < m and at < n_bits:
                    words[at >> 6] ^= _U1 << np.uint64(at & 63)
                    count += 1
    return count


@kernel
def move(words, n_bits, lanes, m, frames, part, back):  # type: ignore[no-untyped-def]
    """Copy the bits of some frames to `part`, one frame after the other; or `back` over the key's."""
    for i in range(len(frames)):
        batch = frames[i] // lanes
        at = batch * m * lanes + frames[i] - batch * lanes
        for here in range(i * m, (i + 1) * m):
            if at < n_bits:
                bit = _U1 << np.uint64(at & 63)
                place = _U1 << np.uint64(here & 63)
                if not back:
                    if words[at >> 6] & bit:
                        part[here >> 6] |= place
                elif part[here >> 6] & place:
                    words[at >> 6] |= bit
                else:
                    words[at >> 6] &= ~bit
            at += lanes
