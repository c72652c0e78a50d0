"""The plain binary Toeplitz hash, against matrices, big integers and SciPy's convolution."""

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.signal import fftconvolve

from noclone.bits import pack, unpack
from noclone.distill.binary_toeplitz import amplify, seed_bytes


def random_bits(n, seed):
    return np.random.default_rng(seed).integers(0, 2, n, np.uint8)


def seed_of(bits):
    return np.packbits(bits, bitorder="little").tobytes()


SIZES = [
    (1, 1),
    (2, 1),
    (2, 2),
    (63, 5),
    (64, 64),
    (65, 33),
    (200, 199),
    (700, 129),
    (1000, 1000),
    (2049, 65),
    (4097, 2048),
]


@pytest.mark.parametrize(("n", "length"), SIZES)
def test_is_the_matrix_of_the_definition(n, length):
    x, s = random_bits(n, n), random_bits(n + length - 1, length)
    matrix = toeplitz(s[n - 1 :], s[n - 1 :: -1])  # first column from the top down, first row from left to right
    assert matrix.shape == (length, n)
    assert all(matrix[i, j] == s[i - j + n - 1] for i, j in [(0, 0), (length - 1, 0), (0, n - 1), (length - 1, n - 1)])
    expected = matrix.astype(np.int64) @ x % 2
    found = amplify(pack(x), n, seed_of(s), length)
    assert unpack(found, length).tolist() == expected.tolist()
    assert not length % 64 or int(found[-1]) >> length % 64 == 0


@pytest.mark.parametrize(("n", "length"), [size for size in SIZES if size[0] > size[1]])
def test_the_modified_form_adds_the_first_bits(n, length):
    x, s = random_bits(n, n), random_bits(n - 1, length)
    rest = n - length
    matrix = np.hstack([np.eye(length, dtype=np.int64), toeplitz(s[rest - 1 :], s[rest - 1 :: -1])])
    expected = matrix @ x % 2
    assert seed_bytes(n, length, modified=True) == (n + 6) // 8
    assert unpack(amplify(pack(x), n, seed_of(s), length, modified=True), length).tolist() == expected.tolist()


@pytest.mark.parametrize(("n", "length"), [(100_003, 33_331), (65_536, 65_536), (300_000, 1_000)])
def test_agrees_with_convolution(n, length):
    x, s = random_bits(n, n), random_bits(n + length - 1, length)
    expected = np.rint(fftconvolve(s.astype(float), x.astype(float))[n - 1 : n - 1 + length]).astype(np.int64) % 2
    assert unpack(amplify(pack(x), n, seed_of(s), length), length).tolist() == expected.tolist()


def test_bits_behind_the_end_do_not_count_and_the_key_stays():
    x, s = random_bits(1024, 1), random_bits(1199, 2)
    words = pack(x)
    before = words.copy()
    found = amplify(words, 900, seed_of(s), 300)
    assert np.array_equal(words, before)
    assert np.array_equal(found, amplify(pack(x[:900]), 900, seed_of(s), 300))


def test_what_cannot_be_amplified_is_refused():
    words = pack(random_bits(1000, 1))
    with pytest.raises(ValueError, match="cannot amplify"):
        seed_bytes(1000, 1001)
    with pytest.raises(ValueError, match="the seed has"):
        amplify(words, 1000, bytes(seed_bytes(1000, 100) - 1), 100)
    with pytest.raises(ValueError, match="do not lie"):
        amplify(words, 1200, bytes(seed_bytes(1200, 100)), 100)
    assert len(amplify(words, 100, b"", 0)) == 0
    assert amplify(words, 100, b"", 100, modified=True)[0] == words[0]
