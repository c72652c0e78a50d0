"""The loop of the polynomial hash: sixteen blocks of 128 bits a step, on the processor's carry-less multiplier."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from noclone.crypto.gf128_simd import horner16, multiply_vectors
from noclone.crypto.vectors import SIMD

_BLOCK_BYTES = 16
_STEP_BLOCKS = 16


@njit(cache=True, nogil=True)
def _evaluate(simd, work, head, data, n_steps, tail):  # type: ignore[no-untyped-def]
    """Leave in element 0 of `work` the hash of head, data and tail.

    `work` is 40 elements: 16 running sums, 16 powers of h (the first given), 8 spare. The other three are addresses.
    """
    at = work.ctypes.data
    powers = at + 16 * 16
    spare = at + 32 * 16
    for k in range(1, 16):  # element 16 + k becomes h^(k + 1)
        for j in range(2):
            work[32, j] = work[16, j]
            work[36, j] = work[15 + k, j]
        multiply_vectors(simd, spare, spare + 64, 1)
        for j in range(2):
            work[16 + k, j] = work[32, j]
    horner16(simd, head, powers + 15 * 16, at, 1)
    horner16(simd, data, powers + 15 * 16, at, n_steps)
    horner16(simd, tail, powers + 15 * 16, at, 1)
    for k in range(8):  # sum k is due h^(16 - k): turn the powers round
        for j in range(2):
            low = work[16 + k, j]
            work[16 + k, j] = work[31 - k, j]
            work[31 - k, j] = low
    multiply_vectors(simd, at, powers, 4)
    for k in range(1, 16):
        for j in range(2):
            work[0, j] ^= work[k, j]


def evaluate(data: NDArray[np.uint8], h: bytes, last: int) -> bytes:
    """Return sum of block_i h^(count + 1 - i) over the 16-byte blocks of `data` (padded with zeros) and `last`."""
    assert data.flags.c_contiguous
    n_blocks = (len(data) + _BLOCK_BYTES - 1) // _BLOCK_BYTES + 1
    work = np.zeros((40, 2), np.uint64)
    work[16] = np.frombuffer(h, "<u8")
    # The last sixteen blocks end with `last`; what is left in front of whole steps is padded with zeros in front.
    before = max(0, n_blocks - _STEP_BLOCKS)
    n_steps, n_head = divmod(before, _STEP_BLOCKS)
    head = np.zeros(_STEP_BLOCKS * _BLOCK_BYTES, np.uint8)
    if n_head:
        head[-n_head * _BLOCK_BYTES :] = data[: n_head * _BLOCK_BYTES]
    tail = np.zeros(_STEP_BLOCKS * _BLOCK_BYTES, np.uint8)
    rest = data[before * _BLOCK_BYTES :]
    start = len(tail) - (n_blocks - before) * _BLOCK_BYTES
    tail[start : start + len(rest)] = rest
    tail[-_BLOCK_BYTES:] = np.frombuffer(last.to_bytes(_BLOCK_BYTES, "little"), np.uint8)
    main = data.ctypes.data + n_head * _BLOCK_BYTES
    _evaluate(SIMD, work, head.ctypes.data, main, n_steps, tail.ctypes.data)
    tag: bytes = work[0].tobytes()
    return tag
