"""Bits in memory: packed little-endian, bit i of a key in bit i % 64 of word i // 64.

Everywhere inside noclone a key of n bits is a uint64 array of ceil(n / 64) words whose unused high bits are zero.
Bytes are the same bits: byte j holds bits 8j .. 8j+7, lowest first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]


def word_count(n_bits: int) -> int:
    """Return how many words hold `n_bits`."""
    return (n_bits + 63) // 64


def pack(bits: Bytes) -> Words:
    """Pack an array of zeros and ones into words."""
    packed = np.packbits(bits, bitorder="little")
    return words_from_bytes(packed.tobytes())


def unpack(words: Words, n_bits: int) -> Bytes:
    """Return the first `n_bits` of packed words as zeros and ones."""
    assert n_bits <= 64 * len(words)
    return np.unpackbits(words.astype("<u8", copy=False).view(np.uint8), count=n_bits, bitorder="little")


def words_from_bytes(data: bytes) -> Words:
    """Read bytes as words, the last one padded with zeros. The result is writable and owns its memory."""
    padded = np.zeros(8 * word_count(8 * len(data)), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    return padded.view("<u8").astype(np.uint64, copy=False)


def bytes_from_words(words: Words, n_bits: int) -> bytes:
    """Return the first `n_bits` as ceil(n_bits / 8) bytes, unused high bits cleared."""
    out = words[: word_count(n_bits)].astype("<u8", copy=True)
    if n_bits % 64:
        out[-1] &= np.uint64((1 << (n_bits % 64)) - 1)
    return out.view(np.uint8)[: (n_bits + 7) // 8].tobytes()


def take(words: Words, start_bit: int, n_bits: int) -> Words:
    """Copy bits start_bit .. start_bit + n_bits - 1 into an array of their own.

    Raises:
        ValueError: The range does not lie inside `words`.
    """
    if start_bit < 0 or n_bits < 0 or start_bit + n_bits > 64 * len(words):
        raise ValueError(f"bits {start_bit}..{start_bit + n_bits} do not lie in {64 * len(words)} bits")
    first, shift = divmod(start_bit, 64)
    count = word_count(n_bits)
    out = np.zeros(count, np.uint64)
    out[:] = words[first : first + count] >> np.uint64(shift)
    if shift:
        upper = words[first + 1 : first + 1 + count] << np.uint64(64 - shift)
        out[: len(upper)] |= upper
    if n_bits % 64:
        out[-1] &= np.uint64((1 << (n_bits % 64)) - 1)
    return out


def count_ones(words: Words) -> int:
    """Return the number of ones."""
    return int(np.bitwise_count(words).sum())
