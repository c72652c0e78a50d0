"""Secret sharing: a secret in n pieces, any k of which give it back and fewer of which say nothing at all.

In: a secret and randomness from the system.  Out: shares; or the secret again. All pieces are as long as the secret.
All of n: every share but the last is uniform, the last one is what makes their XOR the secret. k of n: Shamir's scheme
(Shamir 1979, CACM 22, 612) byte by byte over GF(2^8), with the polynomial x^8 + x^4 + x^3 + x + 1 (FIPS 197): share i
is the value at x = i of a polynomial of degree k - 1 with uniform coefficients, whose constant term is the secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from noclone.errors import InputError

SHARES_MAX = 255  # each share has its own x, and none has 0

U8 = NDArray[np.uint8]


@lru_cache(maxsize=1)
def products() -> U8:
    """Return the multiplication table of GF(2^8): row a, column b holds a times b."""
    powers = np.zeros(255, np.uint8)
    value = 1
    for i in range(255):
        powers[i] = value
        value ^= value << 1  # 3 = x + 1 generates the field
        value ^= 0x11B if value & 0x100 else 0
    logs = np.zeros(256, np.int64)
    logs[powers] = np.arange(255)
    table: U8 = powers[(logs[:, None] + logs[None, :]) % 255]
    table[0, :] = 0
    table[:, 0] = 0
    return table


def split(secret: bytes | bytearray, k: int, n: int, randomness: Callable[[int], bytes] = os.urandom) -> list[bytes]:
    """Return n shares of a secret, any k of which give it back."""
    if not 1 <= k <= n <= SHARES_MAX:
        raise InputError(f"a secret cannot be split into {n} shares of which {k} are needed")
    whole = np.frombuffer(secret, np.uint8)
    free = [np.frombuffer(randomness(len(secret)), np.uint8) for _ in range(k - 1)]
    if k == n:
        last = whole.copy()
        for share in free:
            last ^= share
        return [*(share.tobytes() for share in free), last.tobytes()]
    table = products()
    shares = []
    for x in range(1, n + 1):
        value = np.zeros(len(secret), np.uint8)
        for coefficient in (*reversed(free), whole):  # Horner's rule
            value = table[x][value] ^ coefficient
        shares.append(value.tobytes())
    return shares


def join(shares: Mapping[int, bytes | bytearray], k: int, n: int) -> bytearray:
    """Return the secret of which `shares` holds k shares or more, by their place from 0.

    Raises:
        InputError: They are too few, or differ in length.
    """
    if len(shares) < k or any(not 0 <= place < n for place in shares) or len(set(map(len, shares.values()))) != 1:
        raise InputError(f"these {len(shares)} shares do not give a secret of which {k} of {n} are needed")
    chosen = dict(sorted(shares.items())[:k])
    arrays = {place: np.frombuffer(share, np.uint8) for place, share in chosen.items()}
    out = np.zeros(len(next(iter(arrays.values()))), np.uint8)
    for place, weight in (dict.fromkeys(arrays, 1) if k == n else _at_zero([*arrays])).items():
        out ^= products()[weight][arrays[place]]
    return bytearray(out.tobytes())


def _at_zero(places: list[int]) -> dict[int, int]:
    """Return the weights that the values at x = place + 1 have in the value at x = 0 (Lagrange)."""
    table = products()
    weights = {}
    for place in places:
        above, below = 1, 1
        for other in places:
            if other != place:
                above = int(table[above, other + 1])
                below = int(table[below, (place + 1) ^ (other + 1)])
        weights[place] = int(table[above, int(np.flatnonzero(table[below] == 1)[0])])
    return weights
