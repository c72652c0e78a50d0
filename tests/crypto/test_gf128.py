"""The reference field, against facts that can be checked by hand and by algebra."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.crypto import gf128

ELEMENTS = st.integers(0, gf128.MASK)


@given(ELEMENTS, ELEMENTS, ELEMENTS)
def test_multiplication_is_a_ring(a, b, c):
    assert gf128.multiply(a, b) == gf128.multiply(b, a)
    assert gf128.multiply(a, gf128.multiply(b, c)) == gf128.multiply(gf128.multiply(a, b), c)
    assert gf128.multiply(a, b ^ c) == gf128.multiply(a, b) ^ gf128.multiply(a, c)
    assert gf128.multiply(a, 1) == a


@given(ELEMENTS.filter(bool))
def test_every_element_but_zero_has_an_inverse(a):
    assert gf128.multiply(a, gf128.invert(a)) == 1


def test_zero_has_no_inverse():
    with pytest.raises(ZeroDivisionError):
        gf128.invert(0)


def test_modulus_is_that_of_gcm():
    assert gf128.multiply(1 << 127, 2) == 0x87
    assert gf128.multiply(1 << 127, 1 << 127) == gf128.power(2, 254)


def test_modulus_is_irreducible():
    # Rabin's test for degree 128 = 2^7: x^(2^128) = x, and x^(2^64) - x has no factor in common with the modulus.
    x = 2
    for step in range(1, 129):
        x = gf128.multiply(x, x)
        if step == 64:
            assert gf128.multiply(x ^ 2, gf128.invert(x ^ 2)) == 1
    assert x == 2


def test_cantor_basis_climbs_one_step_at_a_time():
    basis = gf128.cantor_basis(128)
    assert basis[0] == 1
    for lower, upper in pairwise(basis):
        assert gf128.multiply(upper, upper) ^ upper == lower
        assert upper & 1 == 0
    assert gf128.cantor_basis(25) == basis[:25]


def test_cantor_basis_is_independent():
    pivots = {}
    for value in gf128.cantor_basis(128):
        while value and value.bit_length() in pivots:
            value ^= pivots[value.bit_length()]
        assert value
        pivots[value.bit_length()] = value
