"""Secret sharing: any k shares give the secret, k - 1 give nothing, and the field is that of FIPS 197."""

import itertools
import os

import numpy as np
import pytest

from noclone.crypto.secret_sharing import join, products, split
from noclone.errors import InputError


def slow_product(a, b):
    """Multiply polynomials modulo x^8 + x^4 + x^3 + x + 1, bit by bit."""
    out = 0
    for i in range(8):
        out ^= (a << i) if b >> i & 1 else 0
    for i in range(14, 7, -1):
        out ^= (0x11B << (i - 8)) if out >> i & 1 else 0
    return out


def test_the_table_is_multiplication_and_that_of_fips_197():
    table = products()
    assert (table[0x57, 0x83], table[0x57, 0x13]) == (0xC1, 0xFE)  # FIPS 197, 4.2 and 4.2.1
    assert all(table[a, b] == slow_product(a, b) for a in range(256) for b in range(0, 256, 3))


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 3), (2, 2), (2, 3), (3, 3), (3, 5), (5, 7)])
@pytest.mark.parametrize("length", [0, 1, 31, 1000])
def test_any_k_shares_give_the_secret(k, n, length):
    secret = os.urandom(length)
    shares = split(secret, k, n)
    for places in itertools.combinations(range(n), k):
        assert join({place: shares[place] for place in places}, k, n) == secret
    assert join(dict(enumerate(shares)), k, n) == secret


@pytest.mark.parametrize(("k", "n"), [(2, 2), (3, 3), (2, 3), (3, 4)])
def test_fewer_shares_fit_every_secret_equally_often(k, n):
    """Over all randomness, k - 1 shares take each value the same number of times, whatever the secret."""
    places = [0, n - 1][: k - 1]
    seen = []
    for secret in (0, 1, 0xA7):
        counts = {}
        for values in itertools.product(range(0, 256, 1 if k == 2 else 17), repeat=k - 1):
            drawn = iter([bytes([value]) for value in values])
            shares = split(bytes([secret]), k, n, lambda _n, drawn=drawn: next(drawn))
            view = tuple(shares[place][0] for place in places)
            counts[view] = counts.get(view, 0) + 1
        assert set(counts.values()) == {1}
        seen.append(set(counts))
    if k == 2:
        assert seen[0] == seen[1] == seen[2] == {(value,) for value in range(256)}


def test_a_changed_share_changes_the_secret():
    secret = os.urandom(64)
    for k, n in ((2, 2), (2, 3)):
        shares = [bytearray(share) for share in split(secret, k, n)]
        shares[0][5] ^= 1
        assert join(dict(enumerate(shares[:k])), k, n) != secret


def test_what_cannot_be_split_or_joined():
    for k, n in ((0, 1), (2, 1), (1, 256)):
        with pytest.raises(InputError):
            split(b"x", k, n)
    for shares in ({0: b"a"}, {0: b"a", 1: b"bc"}, {0: b"a", 3: b"b"}):
        with pytest.raises(InputError):
            join(shares, 2, 3)


def test_shares_of_zeros_do_not_look_like_zeros():
    assert all(np.frombuffer(share, np.uint8).any() for share in split(bytes(64), 2, 3))
