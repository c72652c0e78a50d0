"""Nimbers, against Conway's definition by minimal excludants and the laws of a field."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.crypto import nimbers

NIMBERS = st.integers(0, 2**32 - 1)


@cache
def by_definition(a, b):
    """Return the smallest number that is not a'b + ab' + a'b' for any a' < a, b' < b (Conway 1976, chapter 6)."""
    taken = {by_definition(x, b) ^ by_definition(a, y) ^ by_definition(x, y) for x in range(a) for y in range(b)}
    return next(n for n in range(len(taken) + 1) if n not in taken)


def test_multiplication_is_conways():
    for a in range(20):
        for b in range(20):
            assert nimbers.multiply(a, b) == by_definition(a, b)


@given(NIMBERS, NIMBERS, NIMBERS)
def test_multiplication_is_a_ring(a, b, c):
    assert nimbers.multiply(a, b) == nimbers.multiply(b, a)
    assert nimbers.multiply(a, nimbers.multiply(b, c)) == nimbers.multiply(nimbers.multiply(a, b), c)
    assert nimbers.multiply(a, b ^ c) == nimbers.multiply(a, b) ^ nimbers.multiply(a, c)
    assert nimbers.multiply(a, 1) == a


@given(st.sampled_from([8, 16, 32]), st.data())
def test_every_number_but_zero_has_an_inverse_in_its_field(bits, draw):
    a = draw.draw(st.integers(1, 2**bits - 1))
    inverse = nimbers.invert(a, bits)
    assert inverse < 2**bits
    assert nimbers.multiply(a, inverse) == 1


def test_zero_has_no_inverse():
    with pytest.raises(ZeroDivisionError):
        nimbers.invert(0)


@given(st.integers(0, 255), st.lists(st.integers(0, 255), min_size=4, max_size=4))
def test_a_number_below_256_treats_bytes_alike(w, data):
    product = nimbers.multiply(w, int.from_bytes(data, "little"))
    assert list(product.to_bytes(4, "little")) == [nimbers.multiply(w, x) for x in data]


def test_cantor_basis_climbs_one_bit_at_a_time():
    basis = nimbers.cantor_basis()
    assert basis[0] == 1
    for i in range(1, 32):
        assert nimbers.multiply(basis[i], basis[i]) ^ basis[i] == basis[i - 1]
        assert basis[i].bit_length() == i + 1
        assert basis[i] & 1 == 0


def test_points_fill_the_subfields():
    assert sorted(nimbers.point(i) for i in range(256)) == list(range(256))
