"""Logarithm, normal deviates and gaps, against other implementations."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from noclone.link.aes_simd import LANES, token, variant_of, variants_here
from noclone.link.hits import arrivals
from noclone.link.sampling import RAREST, TICKS, geometric, is_tail, natural_log, normal_quantile, photon_tick
from noclone.link.sampling_simd import gap
from noclone.link.vectors import pointer, repeat, splat


@intrinsic
def gaps(_context, simd, words, mean_negated, out, n):
    """Write `gap` of some words."""
    kind = ir.VectorType(ir.IntType(64), LANES[variant_of(simd)])

    def emit(context, b, _sig, args):
        _, words, mean_negated, out, n = args
        with repeat(b, n, kind.count) as index:
            some = b.load(pointer(b, words, index, kind), align=8)
            found = gap(b, variant_of(simd), some, splat(b, mean_negated, kind.count))
            b.store(found, pointer(b, out, index, kind), align=8)
        return context.get_dummy_value()

    return types.void(simd, types.intp, types.float64, types.intp, types.intp), emit


@njit
def many_gaps(simd, words, mean_negated, out):
    gaps(simd, words.ctypes.data, mean_negated, out.ctypes.data, len(words))


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
@pytest.mark.parametrize("variant", variants_here())
def test_many_arrivals_are_those_of_one(n, jitter, variant):
    words = words_with_edges(264)
    words[3:7] = [
        x << 32 for x in (322122546, 322122547, 2**32 - 322122547, 2**32 - 322122548)
    ]  # where the tails begin
    ticks, work = np.full(264, -1, np.int64), np.empty((2, 264), np.uint64)
    arrivals(token(variant), words, n, jitter, *work, ticks)
    assert ticks[:n].tolist() == [photon_tick(word, jitter) for word in words[:n]]
    for word, tick in zip(words[:n], ticks[:n], strict=True):
        deviate = NormalDist().inv_cdf(((int(word) >> 32) + 0.5) / 2**32)
        assert tick == pytest.approx(TICKS / 2 + deviate * jitter, abs=0.5 + 1e-8 * jitter)


def test_where_the_tails_begin():
    for share, tail in ((0.0749999999, True), (0.0750000001, False), (0.9249999999, False), (0.9250000001, True)):
        assert bool(is_tail(np.uint64(int(share * 2**32) << 32))) is tail
        assert bool(is_tail(np.uint64((int(share * 2**32) << 32) | 0xFFFFFFFF))) is tail


@pytest.mark.parametrize("variant", variants_here())
@pytest.mark.parametrize("p", [0.9, 0.05, 1e-6, RAREST])
def test_gaps_agree_with_the_twin_and_are_geometric(p, variant):
    words, out = words_with_edges(1024), np.empty(1024, np.int64)
    mean_negated = 1 / math.log1p(-p)
    many_gaps(token(variant), words, mean_negated, out)
    assert out.tolist() == [geometric(word, mean_negated) for word in words]
    for word, found in zip(words.tolist(), out.tolist(), strict=True):
        u = ((word >> 12) + 0.5) * 2.0**-52
        exact = 1 + math.floor(math.log(u) / math.log1p(-p))
        assert found == pytest.approx(exact, rel=1e-14, abs=1)  # a rounding may cross a whole number
        assert 1 <= found < 2**46
