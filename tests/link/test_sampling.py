"""Logarithm, normal deviates and gaps, against other implementations."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from noclone.link.chacha import LANES
from noclone.link.pulses import gaps
from noclone.link.sampling import log_of_parts, natural_log, normal_quantile, normal_quantiles


@pytest.mark.parametrize("x", [2.0**-53, 1e-10, 0.3, 0.70710678, 0.70710679, 1.0, 1.4142135, 1.4142136, 2.0, 7e5])
def test_natural_log(x):
    assert natural_log(x) == pytest.approx(math.log(x), rel=1e-15, abs=1e-16)


@pytest.mark.parametrize("p", [0.5 * 2.0**-32, 1e-6, 0.0749, 0.0751, 0.3, 0.5, 0.9249, 0.9251, 1 - 0.5 * 2.0**-32])
def test_normal_quantile(p):
    assert normal_quantile(p) == pytest.approx(NormalDist().inv_cdf(p), rel=1e-14, abs=1e-15)
    assert abs(normal_quantile(p)) < 6.4  # what JITTER_SIGMAS relies upon


@pytest.mark.parametrize("n", [0, 1, 7, 8, 61, 1000])
def test_many_quantiles_are_those_of_one(n):
    p = np.random.default_rng(3).random(1000)
    p[:4] = [0.5 * 2.0**-32, 0.075, 0.925, 1 - 0.5 * 2.0**-32]
    numbers, out = np.ones(1000), np.full(1000, np.nan)
    normal_quantiles(p, n, numbers.view(np.int64), numbers, np.empty(1000, np.int64), out)
    assert out[:n].tolist() == [normal_quantile(share) for share in p[:n]]


@pytest.mark.parametrize("first", [0, 8])
@pytest.mark.parametrize("p", [0.9, 0.05, 1e-6, 1e-15])
def test_gaps_agree_with_the_twin_and_are_geometric(p, first):
    words = np.random.default_rng(1).integers(0, 2**32, (2, 16, LANES), dtype=np.uint64).astype(np.uint32)
    words[0, first : first + 2, :2] = [[0, 0xFFFFFFFF], [0, 0xFFFFFFFF]]  # the rarest and the commonest draw
    inverse_rate = -1 / math.log1p(-p)
    numbers, out = np.empty(LANES), np.empty(LANES, np.int64)
    for x in words:
        gaps(x, first, inverse_rate, numbers, numbers.view(np.int64), out)
        for j in range(LANES):
            u = (((int(x[first + 1, j]) << 32 | int(x[first, j])) >> 11) + 1) * 2.0**-53
            mantissa, exponent = math.frexp(u)
            twin = int(-log_of_parts.py_func(2 * mantissa, exponent - 1.0) * inverse_rate) + 1
            assert out[j] == twin
            exact = 1 + math.floor(math.log(u) / math.log1p(-p))
            assert out[j] == pytest.approx(exact, rel=1e-14, abs=1)  # a rounding may cross a whole number
            assert out[j] >= 1
