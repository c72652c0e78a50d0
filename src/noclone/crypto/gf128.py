"""The field GF(2^128) in plain Python integers: exact, slow, and the reference for every fast kernel.

An element is an integer below 2^128; bit i is the coefficient of x^i. The modulus is x^128 + x^7 + x^2 + x + 1, that of
NIST SP 800-38D (GCM), but with bits in natural order, not reflected.

The Cantor basis (Cantor, "On arithmetical algorithms over finite fields", J. Comb. Theory A 50, 1989) is what the
additive FFT evaluates on: beta_0 = 1, and beta_(i+1) is the root of v^2 + v = beta_i whose bit 0 is clear.
"""

from __future__ import annotations

from functools import lru_cache

MODULUS_LOW = 0x87  # x^7 + x^2 + x + 1, what x^128 is equal to
MASK = (1 << 128) - 1
ELEMENT_BYTES = 16


def multiply(a: int, b: int) -> int:
    """Return the product of two elements."""
    product = 0
    while b:
        low = b & -b
        product ^= a * low
        b ^= low
    return reduce(product)


def reduce(product: int) -> int:
    """Return a polynomial of any degree modulo the field's polynomial."""
    while product >> 128:
        high = product >> 128
        product = (product & MASK) ^ high ^ (high << 1) ^ (high << 2) ^ (high << 7)
    return product


def power(a: int, exponent: int) -> int:
    """Return a to the `exponent`."""
    result = 1
    while exponent:
        if exponent & 1:
            result = multiply(result, a)
        a = multiply(a, a)
        exponent >>= 1
    return result


def invert(a: int) -> int:
    """Return 1 / a; zero has no inverse."""
    if a == 0:
        raise ZeroDivisionError("zero has no inverse in GF(2^128)")
    return power(a, (1 << 128) - 2)


@lru_cache(maxsize=1)
def _half_traces() -> dict[int, tuple[int, int]]:
    """Return v^2 + v over all v in echelon form: leading bit -> (value, the v that gives it)."""
    pivots: dict[int, tuple[int, int]] = {}
    for i in range(128):
        value, source = multiply(1 << i, 1 << i) ^ (1 << i), 1 << i
        while value:
            lead = value.bit_length()
            if lead not in pivots:
                pivots[lead] = (value, source)
                break
            value ^= pivots[lead][0]
            source ^= pivots[lead][1]
    return pivots


@lru_cache(maxsize=4)
def cantor_basis(count: int) -> tuple[int, ...]:
    """Return the first `count` elements of the Cantor basis.

    A root exists at each step because 128 is a power of two: the kernel of (v -> v^2 + v)^i has dimension i up to 128.
    """
    if not 1 <= count <= 128:
        raise ValueError("the Cantor basis of GF(2^128) has 1 to 128 elements")
    basis = [1]
    while len(basis) < count:
        rest, root = basis[-1], 0
        while rest:
            value, source = _half_traces()[rest.bit_length()]
            rest ^= value
            root ^= source
        basis.append(root & ~1)
    return tuple(basis)
