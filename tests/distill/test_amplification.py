"""Privacy amplification: its definition, universality and vectors, and the same bits from every processor."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.bits import bytes_from_words, pack, unpack, word_count, words_from_bytes
from noclone.crypto import gf128
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


def slow_amplify(key, n_bits, seed, length_bits):
    """Follow the definition: evaluate V point by point, multiply by the seed, interpolate by elimination."""
    q, m = length_bits // 128, -(-length_bits // 128)
    count = -(-n_bits // 128) - q
    size = max(16, 1 << (count + m - 2).bit_length())
    v = (key >> length_bits) << length_bits % 128
    basis = gf128.cantor_basis(size.bit_length())
    omega = [0]
    for j in range(size.bit_length() - 1):
        omega += [p ^ basis[j] for p in omega]
    rows = []
    for i, point in enumerate(omega):
        s, powers = point, [1]
        while len(powers) < size:  # X_(i + 2^j) = X_i s_j
            powers += [gf128.multiply(x, s) for x in powers]
            s = gf128.multiply(s, s) ^ s
        value = 0
        for j in range(count):
            value ^= gf128.multiply(v >> 128 * j & gf128.MASK, powers[j])
        rows.append([*powers, gf128.multiply(value, int.from_bytes(seed[16 * i : 16 * i + 16], "little"))])
    for c in range(size):
        pivot = next(r for r in range(c, size) if rows[r][c])
        rows[c], rows[pivot] = rows[pivot], rows[c]
        inverse = gf128.invert(rows[c][c])
        rows[c] = [gf128.multiply(x, inverse) for x in rows[c]]
        for r in range(size):
            if r != c and rows[r][c]:
                rows[r] = [x ^ gf128.multiply(rows[r][c], y) for x, y in zip(rows[r], rows[c], strict=True)]
    window = 0
    for j in range(m):
        window |= rows[size - m + j][-1] << 128 * j
    return (key ^ window) & ((1 << length_bits) - 1)


@pytest.mark.parametrize(("n_bits", "length_bits"), [(1, 1), (64, 3), (700, 129), (2000, 640), (2049, 1000)])
def test_follows_the_definition(n_bits, length_bits):
    words = random_words(n_bits, n_bits)
    seed = stretch("slow", seed_bytes(n_bits, length_bits))
    key = int.from_bytes(bytes_from_words(words, n_bits), "little")
    expected = slow_amplify(key, n_bits, seed, length_bits)
    got = amplify(words, n_bits, seed, length_bits)
    assert int.from_bytes(bytes_from_words(got, length_bits), "little") == expected


def elements_rank(columns):
    """Return the rank over GF(2^128) of a matrix given by columns."""
    rows = [list(row) for row in zip(*columns, strict=True)]
    rank = 0
    for c in range(len(columns)):
        pivot = next((r for r in range(rank, len(rows)) if rows[r][c]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        inverse = gf128.invert(rows[rank][c])
        for r in range(rank + 1, len(rows)):
            factor = gf128.multiply(rows[r][c], inverse)
            rows[r] = [x ^ gf128.multiply(factor, y) for x, y in zip(rows[r], rows[rank], strict=True)]
        rank += 1
    return rank


def keys_to_try(m):
    """Return v parts that are random, sparse, and vanishing at as many points as their degree allows."""
    rng = np.random.default_rng(m)
    room = 17 - m
    yield [int.from_bytes(rng.bytes(16), "little") for _ in range(room)]
    for place in {0, room // 2, room - 1}:
        yield [int(place == j) for j in range(room)]
    for degree in (8, 4, 12):  # X_8 vanishes at the first 8 points, X_12 at 12 of the 16
        if degree < room:
            yield [int(j == degree) for j in range(room)]


@pytest.mark.parametrize("m", [1, 2, 5, 8, 12, 16])
def test_every_seed_is_as_good_as_uniform(m):
    # The hash of a fixed key is linear in the seed. If the map from seed to hash is onto, a uniform seed makes the hash
    # of any nonzero difference uniform, which is universality; it is onto if its matrix has rank m.
    n_bits, length_bits = 17 * 128, 128 * m
    assert seed_bytes(n_bits, length_bits) == 16 * 16
    for v in keys_to_try(m):
        key = b"".join(x.to_bytes(16, "little") for x in [0] * m + v)
        columns = []
        for i in range(16):
            seed = bytearray(256)
            seed[16 * i] = 1
            out = bytes_from_words(amplify(words_from_bytes(key), n_bits, bytes(seed), length_bits), length_bits)
            columns.append([int.from_bytes(out[16 * r : 16 * r + 16], "little") for r in range(m)])
        assert elements_rank(columns) == m


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
    ones = sum(int(unpack(amplify(words, 300, os.urandom(256), 100), 100).sum()) for _ in range(3000))
    assert seed_bytes(300, 100) == 256
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
        if vector["n_bits"] <= 1000:
            key = int.from_bytes(bytes_from_words(vector_key(vector), vector["n_bits"]), "little")
            expected = slow_amplify(key, vector["n_bits"], vector_seed(vector), vector["length_bits"])
            assert expected.to_bytes((vector["length_bits"] + 7) // 8, "little").hex() == vector["output"]


SAME_BITS = """
import hashlib, numpy as np
from noclone.crypto.gf128_simd import VARIANT, variants_here
from noclone.crypto.polynomial_hash import digest
from noclone.distill.amplification import amplify, seed_bytes
total = hashlib.sha256()
rng = np.random.default_rng(9)
for n_bits, length_bits in [(100, 40), (3000, 1000), (300_000, 100_001), (2_000_000, 700_000)]:
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


def test_every_variant_gives_the_same_bits():
    variant, here, expected = run_variant("")
    assert variant == here.split(",")[-1]
    for name in here.split(",")[:-1]:
        ran, _, found = run_variant(name)
        assert (ran, found) == (name, expected)


def test_a_variant_that_the_processor_lacks_is_refused_in_words():
    code = "import noclone.crypto.gf128_simd"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NOCLONE_SIMD": "1024"},
        capture_output=True,
        text=True,
        timeout=60,
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
        seed_bytes(1 << 33, 1 << 20)


def test_nothing_can_be_asked_for():
    assert len(amplify(random_words(100), 100, bytes(seed_bytes(100, 0)), 0)) == 0
