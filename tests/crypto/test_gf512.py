"""The product in GF(2^512), against big integers, and its modulus, against Rabin's test."""

import numpy as np
import pytest
from numba import njit

from noclone.crypto.gf512_simd import MODULUS_LOW, multiply_points
from noclone.crypto.vectors import SIMD

MODULUS = 1 << 512 | MODULUS_LOW


def reduced(value):
    while value >> 512:
        high = value >> 512
        value = value & (1 << 512) - 1 ^ high ^ high << 2 ^ high << 5 ^ high << 8
    return value


def slow_multiply(a, b):
    product = 0
    while b:
        low = b & -b
        product ^= a * low
        b ^= low
    return reduced(product)


@njit(nogil=True)
def multiply(simd, points, partners, n):
    multiply_points(simd, points, partners, n)


@pytest.mark.parametrize("n", [4, 8, 12])
def test_agrees_with_big_integers(n):
    rng = np.random.default_rng(n)
    a = rng.integers(0, 2**64, (n, 8), np.uint64)
    a[0], a[1, :7] = 2**64 - 1, 0
    data = b"-" + b"\xff" * 64 + rng.bytes(64 * n - 64)  # partners at an odd address
    partners = np.frombuffer(data, np.uint8)
    expected = [
        slow_multiply(int.from_bytes(row.tobytes(), "little"), int.from_bytes(data[1 + 64 * i : 65 + 64 * i], "little"))
        for i, row in enumerate(a)
    ]
    multiply(SIMD, a.ctypes.data, partners.ctypes.data + 1, n)
    assert [int.from_bytes(row.tobytes(), "little") for row in a] == expected


def greatest_common_divisor(a, b):
    while b:
        while a.bit_length() >= b.bit_length():
            a ^= b << a.bit_length() - b.bit_length()
        a, b = b, a
    return a


def test_modulus_is_irreducible():
    # Rabin's test for degree 512 = 2^9: x^(2^512) = x, and x^(2^256) - x has no factor in common with the modulus.
    x = 2
    for step in range(1, 513):
        x = reduced(int(f"{x:b}", 4))  # a square: zeros between the bits
        if step == 256:
            assert greatest_common_divisor(MODULUS, x ^ 2) == 1
    assert x == 2
