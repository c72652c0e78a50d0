"""Logarithm, normal deviates and gaps, against other implementations."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from numba import njit

from noclone.link.aes_simd import AES
from noclone.link.hits import arrivals
from noclone.link.sampling import TICKS, geometric, is_tail, natural_log, normal_quantile, photon_tick
from noclone.link.sampling_simd import MULTIPLE, gaps


@njit
def many_gaps(simd, words, inverse_rate, out):
    gaps(simd, words.ctypes.data, inverse_rate, out.ctypes.data, len(words))


def words_with_edges(n):
    words = np.random.default_rng(1).integers(0, 2**64, n, dtype=np.uint64)
    words[:3] = [0, 2**64 - 1, 2**63]
    return words


@pytest.mark.parametrize("x", [2.0**-53, 1e-10, 0.3, 0.70710678, 0.70710679, 1.0, 1.4142135, 1.4142136, 2.0, 7e5])
def test_natural_log(x):
    assert natural_log(x) == pytest.approx(math.log(x), rel=1e-15, abs=1e-16)


@pytest.mark.parametrize("p", [0.5 * 2.0**-32, 1e-6, 0.0749, 0.0751, 0.3, 0.5, 0.9249, 0.9251, 1 - 0.5 * 2.0**-32])
def test_normal_quantile(p):
    assert normal_quantile(p) == pytest.approx(NormalDist().inv_cdf(p), rel=1e-14, abs=1e-15)
    assert abs(normal_quantile(p)) < 6.4  # what JITTER_SIGMAS relies upon


@pytest.mark.parametrize("jitter", [0.0, 1.0, 5e4, 10.0 * TICKS])
@pytest.mark.parametrize("n", [0, 1, 7, 61, 256])
def test_many_arrivals_are_those_of_one(n, jitter):
    words = words_with_edges(256)
    words[3:7] = [
        x << 32 for x in (322122546, 322122547, 2**32 - 322122547, 2**32 - 322122548)
    ]  # where the tails begin
    ticks = np.full((2, 256), -1, np.int64)
    arrivals(AES, words, n, jitter, np.empty(256, np.uint64), ticks)
    assert ticks[0, :n].tolist() == [photon_tick(word, jitter) for word in words[:n]]
    for word, tick in zip(words[:n], ticks[0, :n], strict=True):
        deviate = NormalDist().inv_cdf(((int(word) >> 32) + 0.5) / 2**32)
        assert tick == pytest.approx(TICKS / 2 + deviate * jitter, abs=0.5 + 1e-8 * jitter)


def test_where_the_tails_begin():
    for share, tail in ((0.0749999999, True), (0.0750000001, False), (0.9249999999, False), (0.9250000001, True)):
        assert bool(is_tail(np.uint64(int(share * 2**32) << 32))) is tail
        assert bool(is_tail(np.uint64((int(share * 2**32) << 32) | 0xFFFFFFFF))) is tail


@pytest.mark.parametrize("n", [MULTIPLE, 3 * MULTIPLE, 1024])
@pytest.mark.parametrize("p", [0.9, 0.05, 1e-6, 1e-15])
def test_gaps_agree_with_the_twin_and_are_geometric(p, n):
    words, out = words_with_edges(n), np.empty(n, np.int64)
    inverse_rate = -1 / math.log1p(-p)
    many_gaps(AES, words, inverse_rate, out)
    assert out.tolist() == [geometric(word, inverse_rate) for word in words]
    for word, gap in zip(words.tolist(), out.tolist(), strict=True):
        u = ((word >> 12) + 0.5) * 2.0**-52
        exact = 1 + math.floor(math.log(u) / math.log1p(-p))
        assert gap == pytest.approx(min(exact, 2**45 + 1), rel=1e-14, abs=1)  # a rounding may cross a whole number
        assert gap >= 1
