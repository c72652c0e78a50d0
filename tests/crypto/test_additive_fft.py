"""The fast transform, against the definition and against a slow transform."""

import numpy as np
import pytest

from noclone.crypto import additive_fft, gf128


def numbers(elements):
    return [int.from_bytes(row.tobytes(), "little") for row in elements]


def elements_of(values):
    out = additive_fft.zeros(len(values))
    out[:] = np.frombuffer(b"".join(v.to_bytes(16, "little") for v in values), "<u8").reshape(-1, 2)
    return out


def random_elements(log2, seed=1):
    out = additive_fft.zeros(1 << log2)
    out[:] = np.random.default_rng(seed).integers(0, 2**64, out.shape, np.uint64)
    return out


def points(k):
    basis, out = gf128.cantor_basis(25), [0]
    for j in range(k):
        out += [p ^ basis[j] for p in out]
    return out


def x_at(i, point):
    """Evaluate X_i by its definition: the product of s_j(point) over the bits j of i."""
    product, s = 1, point
    for j in range(i.bit_length()):
        if i >> j & 1:
            product = gf128.multiply(product, s)
        s = gf128.multiply(s, s) ^ s
    return product


def slow_forward(values, k):
    x, omega = list(values), points(k)
    for level in range(k, 0, -1):
        half = 1 << (level - 1)
        for block in range(1 << (k - level)):
            for i in range(2 * half * block, 2 * half * block + half):
                x[i] ^= gf128.multiply(x[i + half], omega[2 * block])
                x[i + half] ^= x[i]
    return x


@pytest.mark.parametrize("k", [4, 5])
def test_forward_evaluates_in_the_novel_basis(k):
    rng = np.random.default_rng(k)
    for i in [0, 1, 2, 3, 7, 8, (1 << k) - 1, *rng.integers(0, 1 << k, 4)]:
        unit = elements_of([int(j == i) for j in range(1 << k)])
        additive_fft.forward(unit)
        assert numbers(unit) == [x_at(int(i), p) for p in points(k)]


@pytest.mark.parametrize("k", [4, 5, 6, 7, 8, 9])
def test_forward_agrees_with_the_slow_transform(k):
    fast = random_elements(k)
    expected = slow_forward(numbers(fast), k)
    additive_fft.forward(fast)
    assert numbers(fast) == expected


@pytest.mark.parametrize("k", [13, 14])
def test_forward_agrees_beyond_the_near_memory(k):
    # A coefficient vector that is zero but in its first 16 places is a polynomial of degree below 16.
    fast = additive_fft.zeros(1 << k)
    fast[:16] = random_elements(4)
    coefficients = numbers(fast[:16])
    additive_fft.forward(fast)
    omega = points(k)
    for i in np.random.default_rng(k).integers(0, 1 << k, 20):
        expected = 0
        for j, c in enumerate(coefficients):
            expected ^= gf128.multiply(c, x_at(j, omega[int(i)]))
        assert numbers(fast[i : i + 1]) == [expected]


@pytest.mark.parametrize("k", range(4, 18))
def test_backward_undoes_forward(k):
    start = random_elements(k)
    there = additive_fft.zeros(1 << k)
    there[:] = start
    additive_fft.forward(there)
    assert not np.array_equal(there, start)
    additive_fft.backward(there)
    assert np.array_equal(there, start)


def test_scale_multiplies_each_element():
    a, b = random_elements(4, 1), random_elements(4, 2)
    expected = [gf128.multiply(x, y) for x, y in zip(numbers(a), numbers(b), strict=True)]
    unaligned = np.frombuffer(b"-" + b.tobytes(), np.uint8)[1:]
    additive_fft.scale(a, unaligned)
    assert numbers(a) == expected


def test_twiddles_are_every_second_point():
    assert numbers(additive_fft.twiddles(6)[:32]) == points(6)[::2]
