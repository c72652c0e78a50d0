"""Who chose what in a slot: Alice's setting, Bob's basis, Eve's draw: functions of a secret key and the slot number.

In: a key and slot numbers.  Out: their choices there. Nothing is stored, so a day of a 1 GHz source costs nothing until
somebody asks, and any slot can be asked for, in any order, at the same price.

A ChaCha block serves 4 slots of Alice (word 0 intensity, 1 basis, 2 value of each four), 16 of Bob, 8 of Eve.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from noclone.link.chacha import LANES, ROUNDS_PHYSICS, ROUNDS_SECRET, WORDS, blocks


@njit(cache=True, nogil=True)
def alice_lanes(key, slots, limits, counters, x, codes):  # type: ignore[no-untyped-def]
    """Set codes[LANES] to Alice's settings in slots[LANES].

    Args:
        limits: uint64[4], shares of 2^32: three cumulative intensity probabilities, then the key basis's.
        counters: uint64[LANES], for work.
        x: uint32[16, LANES], for work.
    """
    for j in range(LANES):
        counters[j] = slots[j] >> np.uint64(2)
    blocks(key, np.uint32(0), np.uint32(0), counters, ROUNDS_SECRET, x)
    for j in range(LANES):
        first = (slots[j] & np.uint64(3)) << np.uint64(2)
        brightness = np.uint64(x[first, j])
        intensity = (brightness >= limits[0]) + (brightness >= limits[1]) + (brightness >= limits[2])
        basis = np.uint64(x[first + np.uint64(1), j]) >= limits[3]
        codes[j] = (intensity << 2) | (basis << 1) | (x[first + np.uint64(2), j] & np.uint32(1))


@njit(cache=True, nogil=True)
def bob_lanes(key, slots, limit, counters, x, bases):  # type: ignore[no-untyped-def]
    """Set bases[LANES] to Bob's bases in slots[LANES]; limit is the key basis's share of 2^32."""
    for j in range(LANES):
        counters[j] = slots[j] >> np.uint64(4)
    blocks(key, np.uint32(0), np.uint32(0), counters, ROUNDS_PHYSICS, x)
    for j in range(LANES):
        bases[j] = np.uint64(x[slots[j] & np.uint64(15), j]) >= limit


@njit(cache=True, nogil=True)
def eve_lanes(key, slots, limits, codes, counters, x, outcomes):  # type: ignore[no-untyped-def]
    """Set outcomes[LANES] to what the tap does to Alice's codes[LANES] in slots[LANES].

    Args:
        limits: uint64[16, n], cumulative shares of 2^64 of each setting's outcomes.
    """
    for j in range(LANES):
        counters[j] = slots[j] >> np.uint64(3)
    blocks(key, np.uint32(0), np.uint32(0), counters, ROUNDS_PHYSICS, x)
    last = limits.shape[1] - 1
    for j in range(LANES):
        first = (slots[j] & np.uint64(7)) << np.uint64(1)
        draw = (np.uint64(x[first + np.uint64(1), j]) << np.uint64(32)) | np.uint64(x[first, j])
        outcome = 0
        while outcome < last and draw > limits[codes[j], outcome]:
            outcome += 1
        outcomes[j] = outcome


@njit(cache=True, nogil=True)
def alice_codes(key, slots, limits, out):  # type: ignore[no-untyped-def]
    """Set out to Alice's settings in any number of slots."""
    x = np.empty((WORDS, LANES), np.uint32)
    counters = np.empty(LANES, np.uint64)
    some = np.zeros(LANES, np.uint64)
    codes = np.empty(LANES, np.int64)
    for first in range(0, len(slots), LANES):
        n = min(LANES, len(slots) - first)
        for j in range(n):
            some[j] = slots[first + j]
        alice_lanes(key, some, limits, counters, x, codes)
        for j in range(n):
            out[first + j] = codes[j]


@njit(cache=True, nogil=True)
def write_bases(key, limit, events, n_events):  # type: ignore[no-untyped-def]
    """Write Bob's basis into bit 1 of events[:n_events]."""
    x = np.empty((WORDS, LANES), np.uint32)
    counters = np.empty(LANES, np.uint64)
    some = np.zeros(LANES, np.uint64)
    bases = np.empty(LANES, np.int64)
    for first in range(0, n_events, LANES):
        n = min(LANES, n_events - first)
        for j in range(n):
            some[j] = events[first + j] >> np.uint64(16)
        bob_lanes(key, some, limit, counters, x, bases)
        for j in range(n):
            events[first + j] |= np.uint64(bases[j] << 1)


@njit(cache=True, nogil=True)
def eve_outcomes(key, slots, limits, codes, out):  # type: ignore[no-untyped-def]
    """Set out to the tap's outcomes in any number of slots, where Alice's settings were codes."""
    x = np.empty((WORDS, LANES), np.uint32)
    counters = np.empty(LANES, np.uint64)
    some = np.zeros(LANES, np.uint64)
    some_codes = np.zeros(LANES, np.int64)
    outcomes = np.empty(LANES, np.int64)
    for first in range(0, len(slots), LANES):
        n = min(LANES, len(slots) - first)
        for j in range(n):
            some[j] = slots[first + j]
            some_codes[j] = codes[first + j]
        eve_lanes(key, some, limits, some_codes, counters, x, outcomes)
        for j in range(n):
            out[first + j] = outcomes[j]
