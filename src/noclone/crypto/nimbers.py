"""Nimbers in plain Python integers: fields of 2, 4, 16, 256, 65536 and 2^32 elements, each inside the next.

Conway's nimbers ("On Numbers and Games", 1976, chapter 6): addition is XOR; the integers below 2^(2^j) are a field.
With t = 2^h for h a power of two, an integer below 2^(2h) is a + t b with a, b < t, and t^2 = t + 2^(h-1). So
multiplying by a number below 256 treats every byte of a longer number alike, which is what the fast kernels live on.

This file is exact and slow: the tables of the fast kernels come from it, and their tests.
"""

from __future__ import annotations

from functools import lru_cache

BITS = 32  # the largest field here


def multiply(a: int, b: int) -> int:
    """Return the product of two nimbers below 2^32."""
    if a < 2 or b < 2:
        return a * b
    half = 1
    while max(a, b) >> 2 * half:
        half *= 2
    mask = (1 << half) - 1
    a0, a1, b0, b1 = a & mask, a >> half, b & mask, b >> half
    low, high = multiply(a0, b0), multiply(a1, b1)
    return (multiply(a0 ^ a1, b0 ^ b1) ^ low) << half | low ^ multiply(high, 1 << half - 1)


def invert(a: int, bits: int = BITS) -> int:
    """Return 1 / a for a nimber below 2^bits; zero has no inverse."""
    if a == 0:
        raise ZeroDivisionError("zero has no inverse")
    result = 1
    for _ in range(bits - 1):  # a^(2^bits - 2) = a^2 a^4 a^8 ...
        a = multiply(a, a)
        result = multiply(result, a)
    return result


@lru_cache(maxsize=1)
def cantor_basis() -> tuple[int, ...]:
    """Return the Cantor basis beta_0 .. beta_31 of the nimbers below 2^32.

    beta_0 = 1, and beta_(i+1) is the root of v^2 + v = beta_i whose bit 0 is clear (Cantor 1989, J. Comb. Theory A 50).
    The highest bit of beta_i is bit i.
    """
    pivots: dict[int, tuple[int, int]] = {}
    for i in range(1, BITS):
        value, source = multiply(1 << i, 1 << i) ^ (1 << i), 1 << i
        while value.bit_length() in pivots:
            value, source = value ^ pivots[value.bit_length()][0], source ^ pivots[value.bit_length()][1]
        pivots[value.bit_length()] = value, source
    basis = [1]
    while len(basis) < BITS:
        rest, root = basis[-1], 0
        while rest:
            value, source = pivots[rest.bit_length()]
            rest, root = rest ^ value, root ^ source
        basis.append(root)
    return tuple(basis)


def point(index: int) -> int:
    """Return omega_index, the sum of beta_j over the bits j of the index: the points that the FFT evaluates at."""
    value = 0
    for j, beta in enumerate(cantor_basis()):
        if index >> j & 1:
            value ^= beta
    return value
