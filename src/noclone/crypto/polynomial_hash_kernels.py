"""The loop of the polynomial hash: sixteen blocks of 128 bits a step, on the processor's carry-less multiplier."""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from noclone.crypto.gf128_simd import horner16, multiply_vectors
from noclone.crypto.polynomial_hash import BLOCK_BYTES, STRIPE_BYTES
from noclone.crypto.vectors import SIMD
from noclone.kernels import kernel

_STEP_BLOCKS = STRIPE_BYTES // BLOCK_BYTES
_ONE = np.int64(1)  # a plain 1 would be a type of its own, and a kernel of its own


@kernel
def begin(simd, work):  # type: ignore[no-untyped-def]
    """Make ready to hash. `work` is 40 elements of zeros, but for number 16, which is h.

    It becomes 16 running sums, h^1 .. h^16, and 8 spare elements.
    """
    spare = work.ctypes.data + 32 * 16
    for k in range(1, 16):
        for j in range(2):
            work[32, j] = work[16, j]
            work[36, j] = work[15 + k, j]
        multiply_vectors(simd, spare, spare + 64, 1)
        for j in range(2):
            work[16 + k, j] = work[32, j]


@kernel
def absorb(simd, work, data, n_steps):  # type: ignore[no-untyped-def]
    """Take in sixteen blocks a step from an address on: each running sum becomes itself times h^16, and a block."""
    at = work.ctypes.data
    horner16(simd, data, at + 31 * 16, at, n_steps)


@kernel
def extend(simd, work, stripe, begun, data):  # type: ignore[no-untyped-def]
    """Take in as many whole stripes as there are; `stripe` holds the `begun` bytes before `data`, and then the rest."""
    at = np.int64(0)
    if begun:  # loops where slices would do: those take seconds to compile
        at = min(STRIPE_BYTES - begun, np.int64(len(data)))
        for i in range(at):
            stripe[begun + i] = data[i]
        if begun + at < STRIPE_BYTES:
            return
        absorb(simd, work, np.int64(stripe.ctypes.data), _ONE)
    whole = (len(data) - at) // STRIPE_BYTES
    absorb(simd, work, data.ctypes.data + at, whole)
    at += whole * STRIPE_BYTES
    for i in range(len(data) - at):
        stripe[i] = data[at + i]


@kernel
def finish(simd, work):  # type: ignore[no-untyped-def]
    """Leave in element 0 of `work` the hash of what was taken in: sum k is due h^(16 - k)."""
    at = work.ctypes.data
    for k in range(8):  # turn the powers round
        for j in range(2):
            low = work[16 + k, j]
            work[16 + k, j] = work[31 - k, j]
            work[31 - k, j] = low
    multiply_vectors(simd, at, at + 16 * 16, 4)
    for k in range(1, 16):
        for j in range(2):
            work[0, j] ^= work[k, j]


@kernel
def _evaluate(simd, work, head, data, n_steps, tail):  # type: ignore[no-untyped-def]
    """Leave in element 0 of `work` the hash of head, data and tail, which are addresses."""
    begin(simd, work)
    absorb(simd, work, head, _ONE)
    absorb(simd, work, data, n_steps)
    absorb(simd, work, tail, _ONE)
    finish(simd, work)


def working_memory(h: bytes) -> NDArray[np.uint64]:
    """Return what `begin` starts from."""
    work = np.zeros((40, 2), np.uint64)
    work[16] = np.frombuffer(h, "<u8")
    return work


def evaluate(data: NDArray[np.uint8], h: bytes, last: int) -> bytes:
    """Return sum of block_i h^(count + 1 - i) over the 16-byte blocks of `data` (padded with zeros) and `last`."""
    assert data.flags.c_contiguous
    n_blocks = (len(data) + BLOCK_BYTES - 1) // BLOCK_BYTES + 1
    work = working_memory(h)
    # The last sixteen blocks end with `last`; what is left in front of whole steps is padded with zeros in front.
    before = max(0, n_blocks - _STEP_BLOCKS)
    n_steps, n_head = divmod(before, _STEP_BLOCKS)
    head = np.zeros(STRIPE_BYTES, np.uint8)
    if n_head:
        head[-n_head * BLOCK_BYTES :] = data[: n_head * BLOCK_BYTES]
    tail = np.zeros(STRIPE_BYTES, np.uint8)
    rest = data[before * BLOCK_BYTES :]
    start = len(tail) - (n_blocks - before) * BLOCK_BYTES
    tail[start : start + len(rest)] = rest
    tail[-BLOCK_BYTES:] = np.frombuffer(last.to_bytes(BLOCK_BYTES, "little"), np.uint8)
    main = data.ctypes.data + n_head * BLOCK_BYTES
    _evaluate(SIMD, work, head.ctypes.data, main, n_steps, tail.ctypes.data)
    tag: bytes = work[0].tobytes()
    return tag


class RunningHash:
    """The hash of a message that comes in pieces; see `transcript_hash`, which says what is hashed.

    Args:
        h: The key.
    """

    def __init__(self, h: bytes) -> None:
        self._work = working_memory(h)
        self._stripe = np.zeros(STRIPE_BYTES, np.uint8)  # what there is of one that is not full
        self._length = 0
        begin(SIMD, self._work)

    def copy(self) -> RunningHash:
        """Return another that goes on from here."""
        other = copy(self)
        other._work, other._stripe = self._work.copy(), self._stripe.copy()
        return other

    def update(self, data: bytes | memoryview) -> None:
        """Append to the message."""
        raw = np.frombuffer(data, np.uint8)
        raw.flags.writeable = False  # the kernel is compiled for such arrays
        extend(SIMD, self._work, self._stripe, self._length % STRIPE_BYTES, raw)
        self._length += len(raw)

    def finish(self) -> bytes:
        """Return the hash, and forget the key."""
        begun = self._length % STRIPE_BYTES
        self._stripe[begun:] = 0
        if begun > STRIPE_BYTES - BLOCK_BYTES:  # no room for the length
            absorb(SIMD, self._work, self._stripe.ctypes.data, 1)
            self._stripe[:] = 0
        self._stripe[-BLOCK_BYTES:] = np.frombuffer(self._length.to_bytes(BLOCK_BYTES, "little"), np.uint8)
        absorb(SIMD, self._work, self._stripe.ctypes.data, 1)
        finish(SIMD, self._work)
        tag: bytes = self._work[0].astype("<u8").tobytes()
        self.erase()
        return tag

    def erase(self) -> None:
        """Forget the key."""
        self._work[:] = 0
