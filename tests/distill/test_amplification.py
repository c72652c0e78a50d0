"""Privacy amplification: its definition, universality and vectors, and the same bits from every processor."""

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.bits import bytes_from_words, pack, unpack, word_count, words_from_bytes
from noclone.crypto import nimbers
from noclone.distill.amplification import FAMILY, amplify, seed_bytes

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "amplification_vectors.json").read_text())


def stretch(label, n_bytes):
    return hashlib.shake_256(label.encode()).digest(n_bytes)


def vector_key(vector):
    data = bytearray(stretch(vector["key"], (vector["n_bits"] + 7) // 8))
    if vector["n_bits"] % 8:
        data[-1] &= (1 << vector["n_bits"] % 8) - 1
    return words_from_bytes(bytes(data))


def vector_seed(vector):
    return stretch(vector["seed"], seed_bytes(vector["n_bits"], vector["length_bits"]))


def random_words(n_bits, seed=0):
    return pack(np.random.default_rng(seed).integers(0, 2, n_bits, np.uint8))


def nimbers_of(point):
    """Return the sixteen nimbers of 64 bytes: the quarters hold their bytes 0, 2, 1 and 3."""
    data = point.to_bytes(64, "little")
    return [data[s] | data[s + 32] << 8 | data[s + 16] << 16 | data[s + 48] << 24 for s in range(16)]


def point_of(numbers):
    planes = [bytes(x >> 8 * k & 255 for x in numbers) for k in (0, 2, 1, 3)]
    return int.from_bytes(b"".join(planes), "little")


def multiply_in_gf512(a, b):
    product = 0
    while b:
        low = b & -b
        product ^= a * low
        b ^= low
    while product >> 512:
        high = product >> 512
        product = product & (1 << 512) - 1 ^ high ^ high << 2 ^ high << 5 ^ high << 8
    return product


def basis_at(place, size):
    """Return X_0 .. X_(size-1) at a nimber: X_(i + 2^j) = X_i s_j."""
    s, out = place, [1]
    while len(out) < size:
        out += [nimbers.multiply(x, s) for x in out]
        s = nimbers.multiply(s, s) ^ s
    return out[:size]


def interpolate(values):
    """Return the coefficients, in the basis X_i, of the polynomials with such values at the first points."""
    size = len(values)
    rows = [basis_at(nimbers.point(i), size) + value for i, value in enumerate(values)]
    for c in range(size):
        pivot = next(r for r in range(c, size) if rows[r][c])
        rows[c], rows[pivot] = rows[pivot], rows[c]
        inverse = nimbers.invert(rows[c][c], 16)
        rows[c] = [nimbers.multiply(x, inverse) for x in rows[c]]
        for r in range(size):
            if r != c and rows[r][c]:
                rows[r] = [x ^ nimbers.multiply(rows[r][c], y) for x, y in zip(rows[r], rows[c], strict=True)]
    return [row[size:] for row in rows]


def slow_amplify(key, n_bits, seed, length_bits):
    """Follow the definition: evaluate V point by point, multiply by the seed, interpolate by elimination."""
    q, m, size = length_bits // 512, -(-length_bits // 512), len(seed) // 64
    v = (key >> length_bits) << length_bits % 512
    points = [nimbers_of(v >> 512 * j & (1 << 512) - 1) for j in range(-(-n_bits // 512) - q)]
    products = []
    for i in range(size):
        value, powers = [0] * 16, basis_at(nimbers.point(i), size)
        for point, power in zip(points, powers, strict=False):
            value = [x ^ nimbers.multiply(y, power) for x, y in zip(value, point, strict=True)]
        factor = int.from_bytes(seed[64 * i : 64 * i + 64], "little")
        products.append(nimbers_of(multiply_in_gf512(point_of(value), factor)))
    window = 0
    for j, coefficient in enumerate(interpolate(products)[size - m :]):
        window |= point_of(coefficient) << 512 * j
    return (key ^ window) & ((1 << length_bits) - 1)


@pytest.mark.parametrize(("n_bits", "length_bits"), [(1, 1), (700, 129), (2000, 640), (9000, 4096), (9217, 5000)])
def test_follows_the_definition(n_bits, length_bits):
    words = random_words(n_bits, n_bits)
    seed = stretch("slow", seed_bytes(n_bits, length_bits))
    key = int.from_bytes(bytes_from_words(words, n_bits), "little")
    expected = slow_amplify(key, n_bits, seed, length_bits)
    got = amplify(words, n_bits, seed, length_bits)
    assert int.from_bytes(bytes_from_words(got, length_bits), "little") == expected


def rank(rows):
    """Return the rank over GF(2) of rows given as integers."""
    pivots = {}
    for row in rows:
        while row and row.bit_length() in pivots:
            row ^= pivots[row.bit_length()]
        if row:
            pivots[row.bit_length()] = row
    return len(pivots)


def keys_to_try(m):
    """Return v parts that are random, sparse, and vanishing at as many points as their degree allows."""
    rng = np.random.default_rng(m)
    room = 17 - m
    yield [int.from_bytes(rng.bytes(64), "little") for _ in range(room)]
    for place in {0, room // 2, room - 1}:
        yield [int(place == j) << int(rng.integers(512)) for j in range(room)]
    zeros = set(rng.permutation(16)[: room - 1].tolist())
    values = []  # of the product of (x - p) over the zeros p, in the first nimber of each point
    for i in range(16):
        value = 1
        for zero in zeros:
            value = nimbers.multiply(value, nimbers.point(i) ^ nimbers.point(zero))
        values.append([value] + [0] * 15)
    coefficients = [point_of(c) for c in interpolate(values)]
    assert not any(coefficients[room:])
    yield coefficients[:room]


@pytest.mark.parametrize("m", [1, 2, 3, 16])
def test_every_seed_is_as_good_as_uniform(m):
    # The hash of a fixed key is linear in the seed. If the map from seed to hash is onto, a uniform seed makes the hash
    # of any nonzero difference uniform, which is universality. A random sample of 512 m + 64 seeds spans all outputs of
    # such a map but for a probability of 2^-64; of another map it never does. For m = 16, 600 bits are looked at.
    n_bits, length_bits = 17 * 512, 512 * m
    assert seed_bytes(n_bits, length_bits) == 16 * 64
    seen = min(length_bits, 600)
    rng = np.random.default_rng(m)
    for v in keys_to_try(m):
        key = words_from_bytes(b"".join(x.to_bytes(64, "little") for x in [0] * m + v))
        rows = [
            int.from_bytes(amplify(key, n_bits, rng.bytes(1024), length_bits).tobytes(), "little") & (1 << seen) - 1
            for _ in range(seen + 64)
        ]
        assert rank(rows) == seen


def test_keys_that_differ_in_their_first_bits_alone_never_collide():
    seed = stretch("any", seed_bytes(1000, 200))
    for bit in range(200):
        words = np.zeros(16, np.uint64)
        words[bit // 64] = np.uint64(1 << bit % 64)
        out = unpack(amplify(words, 1000, seed, 200), 200)
        assert list(np.flatnonzero(out)) == [bit]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5000), st.data())
def test_is_linear_and_clears_unused_bits(n_bits, draw):
    length_bits = draw.draw(st.integers(0, n_bits))
    seed = stretch(f"seed {n_bits}", seed_bytes(n_bits, length_bits))
    a, b = random_words(n_bits, 1), random_words(n_bits, 2)
    both = [amplify(x, n_bits, seed, length_bits) for x in (a, b, a ^ b)]
    assert np.array_equal(both[0] ^ both[1], both[2])
    assert len(both[0]) == word_count(length_bits)
    assert not length_bits % 64 or int(both[0][-1]) >> length_bits % 64 == 0


def test_bits_behind_the_end_do_not_count_and_the_key_stays():
    words = random_words(1024)
    before = words.copy()
    seed = stretch("seed", seed_bytes(900, 300))
    out = amplify(words, 900, seed, 300)
    assert np.array_equal(words, before)
    clean = words_from_bytes(bytes_from_words(words, 900))
    assert np.array_equal(out, amplify(clean, 900, seed, 300))


def test_output_bits_are_balanced():
    # One key hashed with 3000 seeds: each of the 300,000 output bits is an independent fair coin. Their sum lies within
    # six deviations of a half unless something is broken (probability 2e-9).
    words = np.zeros(5, np.uint64)
    words[4] = 1
    ones = sum(int(unpack(amplify(words, 300, os.urandom(1024), 100), 100).sum()) for _ in range(3000))
    assert seed_bytes(300, 100) == 1024
    assert abs(ones - 150_000) < 6 * np.sqrt(300_000) / 2


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: f"{v['n_bits']}-{v['length_bits']}")
def test_vectors(vector):
    assert VECTORS["family"] == FAMILY
    out = amplify(vector_key(vector), vector["n_bits"], vector_seed(vector), vector["length_bits"])
    data = bytes_from_words(out, vector["length_bits"])
    if "output" in vector:
        assert data.hex() == vector["output"]
    assert hashlib.sha256(data).hexdigest() == vector["output_sha256"]


def test_small_vectors_follow_the_definition():
    for vector in VECTORS["vectors"]:
        if vector["n_bits"] <= 10_100:
            key = int.from_bytes(bytes_from_words(vector_key(vector), vector["n_bits"]), "little")
            expected = slow_amplify(key, vector["n_bits"], vector_seed(vector), vector["length_bits"])
            assert expected.to_bytes((vector["length_bits"] + 7) // 8, "little").hex() == vector["output"]


SAME_BITS = """
import hashlib, numpy as np
from noclone.crypto.vectors import VARIANT, variants_here
from noclone.crypto.polynomial_hash import digest
from noclone.distill.amplification import amplify, seed_bytes
total = hashlib.sha256()
rng = np.random.default_rng(9)
sizes = [(100, 40), (3000, 1000), (300_000, 100_001), (5_000_000, 2_000_000), (40_000_000, 1_000_000)]
for n_bits, length_bits in sizes:
    words = rng.integers(0, 2**64, n_bits // 64 + 1, np.uint64)
    seed = rng.bytes(seed_bytes(n_bits, length_bits))
    total.update(amplify(words, n_bits, seed, length_bits).tobytes())
    total.update(digest(words, n_bits, rng.bytes(16), 128))
print(VARIANT, ",".join(variants_here()), total.hexdigest())
"""


def run_variant(name):
    environment = {**os.environ, "NOCLONE_SIMD": name}
    done = subprocess.run(
        [sys.executable, "-c", SAME_BITS], env=environment, capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout.split()


@cache
def here():
    """Return the variant that is chosen here, those that can run, and what they should give."""
    variant, names, expected = run_variant("")
    return variant, names.split(","), expected


def test_the_widest_variant_is_chosen():
    variant, names, _ = here()
    assert variant == names[-1]


@pytest.mark.parametrize("name", ["portable", "128", "256", "256+gfni", "512"])
def test_every_variant_gives_the_same_bits(name):
    _, names, expected = here()
    if name not in names:
        pytest.skip("this processor lacks it")
    ran, _, found = run_variant(name)
    assert (ran, found) == (name, expected)


@pytest.mark.parametrize("module", ["crypto.vectors", "link.aes_simd", "distill.bit_kernels"])
def test_a_variant_that_the_processor_lacks_is_refused_in_words(module):
    code = f"import noclone.{module}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NOCLONE_SIMD": "1024"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "NOCLONE_SIMD='1024' cannot run on this processor" in done.stderr


def test_what_cannot_be_amplified_is_refused():
    words = random_words(1000)
    with pytest.raises(ValueError, match="cannot amplify"):
        seed_bytes(1000, 1001)
    with pytest.raises(ValueError, match="the seed has"):
        amplify(words, 1000, bytes(seed_bytes(1000, 100) - 1), 100)
    with pytest.raises(ValueError, match="do not lie"):
        amplify(words, 1200, bytes(seed_bytes(1200, 100)), 100)
    with pytest.raises(ValueError, match="largest block"):
        seed_bytes(1 << 34, 1 << 20)


def test_nothing_can_be_asked_for():
    assert len(amplify(random_words(100), 100, bytes(seed_bytes(100, 0)), 0)) == 0
