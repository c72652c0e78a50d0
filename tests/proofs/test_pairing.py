"""Pairing's bound against spins that are counted exactly, and against strings that are paired."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from noclone import rng
from noclone.bits import pack
from noclone.counts import Paired
from noclone.distill.pairing import Pairs
from noclone.proofs.pairing import Untagged, paired, price


@cache
def triplets(count: int, spin: int) -> int:
    """Return in how many ways so many spins of 1 add up to `spin`."""
    if spin < 0 or spin > count:
        return 0
    if count == 0:
        return 1
    below = [spin - 1, spin, spin + 1] if spin else [1]
    return sum(triplets(count - 1, one) for one in below)


def singlet_law(n: int, j: int) -> list[float]:
    """Return the chance of each number of singlets among n/2 pairs of n qubits of total spin n/2 - j, else random."""
    pairs, spin = n // 2, n // 2 - j
    ways = [math.comb(pairs, s) * triplets(pairs - s, spin) for s in range(pairs + 1)]
    assert sum(ways) == math.comb(n, j) - (math.comb(n, j - 1) if j else 0)  # how often that spin occurs
    return [way / sum(ways) for way in ways]


def binomial_tail(n: int, p: float, least: int) -> float:
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(least, n + 1))


@pytest.mark.parametrize("n", [4, 10, 24, 60])
def test_singlets_are_as_many_as_the_total_spin_says(n: int) -> None:
    """Their mean is m (n - m + 1)/(2 (n - 1)): half of the unlike pairs of a string with m errors, but for one more."""
    for m in range(n // 2 + 1):
        law = singlet_law(n, m)
        mean = sum(s * p for s, p in enumerate(law))
        assert mean == pytest.approx(m * (n - m + 1) / (2 * (n - 1)))


@pytest.mark.parametrize("n", [4, 10, 24, 60])
def test_no_spin_makes_singlets_likelier_than_coins_do_but_for_the_price(n: int) -> None:
    for m in range(n // 2):
        e = m / n
        for j in range(m + 1):
            law = singlet_law(n, j)
            for s in range(1, n // 2 + 1):
                assert sum(law[s:]) <= price(n, m) * binomial_tail(n // 2, e * (1 - e), s) * (1 + 1e-9)


def test_a_state_of_six_qubits_keeps_to_it() -> None:
    """The two-qubit picture itself: random symmetric mixtures, singlets measured in the order of a random pairing."""
    random = rng.stream(rng.seed_from_int(8), "qubits")
    n, singlet = 6, np.array([0, 1, -1, 0]) / math.sqrt(2)
    plus = np.array([[1, 1], [1, -1]]) / math.sqrt(2)
    phases = np.array([bin(k).count("1") for k in range(2**n)])
    for _ in range(40):
        most = int(random.integers(0, 3))
        amplitudes = np.where(phases <= most, random.normal(size=2**n) + 1j * random.normal(size=2**n), 0)
        state = (amplitudes / np.linalg.norm(amplitudes)).reshape((2,) * n)
        for axis in range(n):  # from the basis of phases to that of bits
            state = np.moveaxis(np.tensordot(plus, state, (1, axis)), 0, axis)
        chances = []
        for i in range(n):
            for k in range(i + 1, n):
                left = np.tensordot(singlet.reshape(2, 2), state, ((0, 1), (i, k)))
                chances.append(float((abs(left) ** 2).sum()))
        assert np.mean(chances) <= most * (n - most + 1) / (n * (n - 1)) + 1e-12


@pytest.mark.parametrize(("n", "share", "error"), [(4000, 0.5, 0.03), (40_000, 0.7, 0.1), (40_000, 0.9, 0.01)])
def test_strings_that_are_paired_keep_within_the_bounds(n: int, share: float, error: float) -> None:
    """Bits of which a share is untagged, some with phase errors, uneven; bounds for one in 10^8 and 200 draws."""
    random = rng.stream(rng.seed_from_int(9), f"strings-{n}-{share}")
    epsilon = 1e-4
    for _ in range(200 if n < 10_000 else 40):
        bits = (random.random(n) < 0.45).astype(np.uint8)
        untagged = random.random(n) < share
        wrong = untagged & (random.random(n) < error)
        pairs = Pairs.draw(pack(bits), n, random.bytes)
        told = Paired(n, len(pairs.earlier))
        found = paired(
            Untagged(float((untagged & (bits == 0)).sum()), float((untagged & (bits == 1)).sum()), float(wrong.sum())),
            told,
            epsilon,
        )
        both = untagged[pairs.earlier] & untagged[pairs.later]
        errors = int((both & (wrong[pairs.earlier] ^ wrong[pairs.later])).sum())
        assert found.zeros + found.ones <= both.sum()
        assert found.phase_errors >= errors
    assert found.phase_errors / (found.zeros + found.ones) < 0.5


def test_long_strings_reach_the_published_rate() -> None:
    """2 e (1 - e), Xu et al. 2020, and the share of untagged pairs, both within a per cent for 10^9 bits."""
    u, e = 2e8, 0.05
    found = paired(Untagged(u, u, 2 * u * e), Paired(1e9, 5e8), 1e-11)
    kept = found.zeros + found.ones
    assert kept == pytest.approx(u * u / 5e8, rel=0.01)
    assert found.phase_errors / kept == pytest.approx(2 * e * (1 - e), rel=0.01)
    assert found.phase_errors / kept > 2 * e * (1 - e)


@pytest.mark.parametrize(
    ("untagged", "told"),
    [
        (Untagged(0, 0, 0), Paired(1000, 400)),
        (Untagged(100, 100, 150), Paired(1000, 400)),
        (Untagged(10, 10, 1), Paired(20, 10)),
        (Untagged(50, 50, 5), Paired(100, 0)),
        (Untagged(0, 0, 5), Paired(0, 0)),
    ],
)
def test_where_little_is_known_all_is_given_away(untagged: Untagged, told: Paired) -> None:
    found = paired(untagged, told, 1e-11)
    assert found.phase_errors >= (found.zeros + found.ones) / 2
