"""Values of quadratures: which are told, into which bins the others fall, and what Alice makes of each slice.

In: Bob's values, Alice's amplitudes.  Out: those that are told, and those that make key; slices as packed bits; Alice's
guesses, and how sure she is of each.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words, word_count
from noclone.kernels import kernel
from noclone.protocols import GaussianModulation
from noclone.records import F32, I16, QUADRATURE_UNIT, U8, Amplitudes

PIECE = 1 << 20  # slots worked on together
Chosen = NDArray[np.bool_]


def told_slots(seed: bytes, n_slots: int, p_test: float) -> Iterator[tuple[int, Chosen]]:
    """Yield, piece by piece, the first slot and which slots are told: random, and known once the seed is.

    Args:
        seed: Public randomness, drawn after the quantum phase.
    """
    limit = np.uint64(round(p_test * 2**32))
    for first in range(0, n_slots, PIECE):
        count = min(PIECE, n_slots - first)
        words = np.frombuffer(hashlib.shake_256(seed + first.to_bytes(8, "big")).digest(4 * count), "<u4")
        yield first, words < limit


def bobs_values(raw: I16, protocol: GaussianModulation, n_slots: int, seed: bytes) -> tuple[I16, I16]:
    """Return Bob's values that make key, and those that are told."""
    rows = raw[: n_slots * protocol.values].reshape(n_slots, protocol.values)
    key, told = [], []
    for first, chosen in told_slots(seed, n_slots, protocol.p_test):
        here = rows[first : first + len(chosen)]
        key.append(here[~chosen].reshape(-1))
        told.append(here[chosen].reshape(-1))
    return np.concatenate(key) >> 1, np.concatenate(told) >> 1


def alices_values(
    amplitudes: Amplitudes, bases: U8 | None, protocol: GaussianModulation, n_slots: int, seed: bytes
) -> tuple[F32, F32]:
    """Return Alice's amplitudes that stand beside Bob's values that make key, and beside those that are told.

    Args:
        bases: Packed bits, one for each slot: the quadrature that Bob measured; None where he measures both.
    """
    key, told = [], []
    for first, chosen in told_slots(seed, n_slots, protocol.p_test):
        sent = amplitudes.quadratures(first, len(chosen))
        if bases is not None:
            which = np.unpackbits(bases[first // 8 : (first + len(chosen) + 7) // 8], bitorder="little")[: len(chosen)]
            sent = np.where(which == 1, sent[:, 1], sent[:, 0])[:, None]
        key.append(sent[~chosen].reshape(-1))
        told.append(sent[chosen].reshape(-1))
    return np.concatenate(key), np.concatenate(told)


def pack_bases(raw: I16, n_slots: int) -> bytes:
    """Return which quadrature was measured in each slot, one bit each."""
    return np.packbits((raw[:n_slots] & 1).astype(np.uint8), bitorder="little").tobytes()


def bins(values: I16, protocol: GaussianModulation) -> U8:
    """Return the number of each value's bin."""
    found = np.empty(len(values), np.uint8)
    put_in_bins(values, np.int64(protocol.step), np.int64(1 << protocol.slices), found)
    return found


def pack_slice(numbers: U8, slice_number: int) -> Words:
    """Return one bit of each number, packed."""
    packed = np.packbits(numbers >> slice_number & 1, bitorder="little")
    words = np.zeros(8 * word_count(len(numbers)), np.uint8)
    words[: len(packed)] = packed
    return words.view("<u8").astype(np.uint64, copy=False)


def add_slice(numbers: U8, slice_number: int, words: Words) -> None:
    """Set one bit of each number, which has no bit there yet."""
    bits = np.unpackbits(words.astype("<u8", copy=False).view(np.uint8), count=len(numbers), bitorder="little")
    numbers |= bits << slice_number


def guesses(
    x: F32,
    below: U8,
    slice_number: int,
    protocol: GaussianModulation,
    gain: float,
    noise: float,
    unit: float,
    most: int,
) -> tuple[Words, NDArray[np.int8]]:
    """Return Alice's guess at each bit of a slice, packed, and how sure she is.

    Args:
        x: Her amplitudes.
        below: The bin's number as far as she knows it: its bits below this slice.
        gain, noise: Of amplitudes and the variance of the rest, as estimated.
        unit: What a log-likelihood ratio of 1 counts; `most`: the largest count.
    """
    bits, sure = np.empty(len(x), np.uint8), np.empty(len(x), np.int8)
    guess(
        x, below, np.int64(slice_number), np.int64(protocol.slices), protocol.step * QUADRATURE_UNIT, QUADRATURE_UNIT,
        gain, math.sqrt(noise), unit, np.int64(most), bits, sure,
    )  # fmt: skip
    return pack_slice(bits, 0), sure


@kernel
def put_in_bins(values, step, count, out):  # type: ignore[no-untyped-def]
    """Set out to the bin of each value: those of one width around zero, the outermost without an end."""
    half = count >> 1
    for i in range(len(values)):
        number = np.int64(values[i]) // step + half
        out[i] = min(max(number, 0), count - 1)


@kernel
def between(low, high):  # type: ignore[no-untyped-def]
    """Return how often a standard normal number lies between, without cancellation in the tails."""
    root = math.sqrt(0.5)
    if low > 0.0:
        return 0.5 * (math.erfc(low * root) - math.erfc(high * root))
    return 0.5 * (math.erfc(-high * root) - math.erfc(-low * root))


@kernel
def guess(x, below, number, slices, step, unit, gain, deviation, weight, most, bits, sure):  # type: ignore[no-untyped-def]
    """Set bits and sure to the likelier value of a slice, and by how much it is likelier."""
    count = 1 << slices
    for i in range(len(x)):
        mean = gain * x[i]
        even, odd = 0.0, 0.0
        for rest in range(1 << (slices - number)):
            at = np.int64(below[i]) | rest << number
            low = -np.inf if at == 0 else ((at - (count >> 1)) * step - 0.5 * unit - mean) / deviation
            high = np.inf if at == count - 1 else ((at + 1 - (count >> 1)) * step - 0.5 * unit - mean) / deviation
            share = between(low, high)
            if rest & 1:
                odd += share
            else:
                even += share
        likelihood = math.log((even + 1e-300) / (odd + 1e-300))
        bits[i] = likelihood < 0.0
        sure[i] = np.int64(min(abs(likelihood) * weight + 0.5, np.float64(most)))
