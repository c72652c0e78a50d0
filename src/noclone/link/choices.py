"""Who chose what in a slot: Alice's setting, Bob's basis, Eve's draw: functions of a secret key and the slot number.

In: round keys of AES-256 and slot numbers.  Out: their choices there. Nothing is stored, so a day of a 1 GHz source
costs nothing until somebody asks, and any slot can be asked for, in any order, at the same price: one block of AES.

Of Alice's block, bits 32-63 choose the intensity, bits 0-31 the basis, bit 64 the value; of Bob's, bits 0-31 his basis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noclone.kernels import inner, kernel
from noclone.link.aes_simd import MULTIPLE, aes256
from noclone.link.choices_simd import settings

BATCH = 512  # slots worked on together: a multiple of what the vectors take, and small enough to stay near the core


@kernel
def setting(low, high, bright, middle, dim, key):  # type: ignore[no-untyped-def]
    """Return the code that two random words choose; the limits are shares of 2^32; `choices_simd` does many."""
    draw = np.int64(low >> np.uint64(32))
    intensity = np.int64(draw >= bright) + np.int64(draw >= middle) + np.int64(draw >= dim)
    basis = np.int64(np.int64(low & np.uint64(0xFFFFFFFF)) >= key)
    return (intensity << 2) | (basis << 1) | np.int64(high & np.uint64(1))


def basis_limits(p_key: int) -> NDArray[np.int64]:
    """Return the limits of a party that chooses nothing but its basis; p_key is the key basis's share of 2^32."""
    return np.array([1 << 32, 1 << 32, 1 << 32, p_key], np.int64)


@inner
def secret_words(simd, keys, counters, purpose, words, n):  # type: ignore[no-untyped-def]
    """Set words[0, :n] and words[1, :n], and a few more, to the AES-256 blocks of (counter, purpose)."""
    padded = -(-n // MULTIPLE) * MULTIPLE
    low, high = words[0].ctypes.data, words[1].ctypes.data
    if n:
        aes256(simd, keys.ctypes.data, counters.ctypes.data, purpose, low, high, padded)


@inner
def eve_batch(simd, keys, slots, limits, codes, words, outcomes):  # type: ignore[no-untyped-def]
    """Set outcomes[BATCH] to what the tap does to Alice's codes[BATCH] in slots[BATCH].

    Args:
        limits: uint64[16, n], cumulative shares of 2^64 of each setting's outcomes.
    """
    secret_words(simd, keys, slots, np.uint64(0), words, np.int64(BATCH))
    last = limits.shape[1] - 1
    for j in range(BATCH):
        outcome = 0
        while outcome < last and words[0, j] > limits[codes[j], outcome]:
            outcome += 1
        outcomes[j] = outcome


@inner
def codes_of(simd, keys, first, shift, where, limits, codes):  # type: ignore[no-untyped-def]
    """Set codes[BATCH] to `setting` in as many slots.

    Args:
        where: Address of the slots' words.
        first, shift: A slot's number is its word, shifted to the right, and first.
        limits: int64[4], shares of 2^32: three cumulative intensity probabilities, then the key basis's.
    """
    settings(simd, keys.ctypes.data, first, shift, where, limits.ctypes.data, codes.ctypes.data, BATCH)


@kernel
def alice_codes(simd, keys, slots, limits, out):  # type: ignore[no-untyped-def]
    """Set out to Alice's settings in any number of slots; limits as in `codes_of`."""
    rest, codes, none = np.zeros(BATCH, np.uint64), np.empty(BATCH, np.int64), np.int64(0)
    for first in range(0, len(slots), BATCH):
        n = min(BATCH, len(slots) - first)
        where = slots.ctypes.data + 8 * first
        if n < BATCH:
            for j in range(n):
                rest[j] = slots[first + j]
            where = rest.ctypes.data
        codes_of(simd, keys, none, none, np.int64(where), limits, codes)
        for j in range(n):
            out[first + j] = codes[j]


@kernel
def write_bases(simd, keys, limits, events, n_events):  # type: ignore[no-untyped-def]
    """Write Bob's basis into bit 1 of events[:n_events], which have room for `BATCH` more."""
    codes = np.empty(BATCH, np.int64)
    for first in range(0, n_events, BATCH):
        where = np.int64(events.ctypes.data + 8 * first)
        codes_of(simd, keys, np.int64(0), np.int64(16), where, limits, codes)
        for j in range(min(BATCH, n_events - first)):
            events[first + j] |= np.uint64(codes[j] & 2)


@kernel
def eve_outcomes(simd, keys, slots, limits, codes, out):  # type: ignore[no-untyped-def]
    """Set out to the tap's outcomes in any number of slots, where Alice's settings were codes."""
    some = np.zeros(BATCH, np.uint64)
    some_codes = np.zeros(BATCH, np.int64)
    words = np.empty((2, BATCH), np.uint64)
    outcomes = np.empty(BATCH, np.int64)
    for first in range(0, len(slots), BATCH):
        n = min(BATCH, len(slots) - first)
        for j in range(n):
            some[j] = slots[first + j]
            some_codes[j] = codes[first + j]
        eve_batch(simd, keys, some, limits, some_codes, words, outcomes)
        for j in range(n):
            out[first + j] = outcomes[j]
