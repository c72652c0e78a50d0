"""Privacy amplification: from a reconciled key to a shorter one of which nobody else knows anything.

In: n reconciled bits, the secret length that `proofs` allows, a public random seed.  Out: that many bits.

The family, called `reed-solomon-1`, is 2-universal: two different keys collide with probability at most 2^-length
(proof: docs/decisions/010-privacy-amplification.md). For n input bits and l output bits:

1. Cut the key. Its first l bits are u. All other bits, in place, are v: point j of v holds key bits 512 (j + q) ..
   512 (j + q) + 511 with q = floor(l / 512), the lowest l mod 512 bits of point 0 being replaced by zeros. v has
   M = ceil(n / 512) - q points. A point is 64 bytes, hence 16 nimbers below 2^32 as `crypto.nim_simd` lays them out.
2. Let m = ceil(l / 512) and N the smallest number with N >= max(16, M + m - 1) that is a multiple of 4 and of 2^(k-4),
   where 2^(k-1) < N <= 2^k. The seed is N elements of GF(2^512) (`crypto.gf512_simd`), 64 bytes each.
3. V is the polynomial whose coefficients in the basis X_i are v. Its values at the first N points (`crypto.nim_fft`),
   read as elements of GF(2^512), bit i of the 512 being the coefficient of x^i, are multiplied by those of the seed,
   one by one, and read as nimbers again. Let P be the polynomial of degree below N that has these values. The hash is
   u + (the first l bits of the coefficients N-m .. N-1 of P in the same basis).

The values of V are a word of a Reed-Solomon code: it has so few zeros that the random factors fill the whole output.
The seed may be public and must be drawn after the quantum phase. It is as long as the key, or up to an eighth longer.
"""

from __future__ import annotations

import numpy as np

from noclone import gpu
from noclone.bits import Words, word_count

FAMILY = "reed-solomon-1"
_POINT_BITS = 512
_POINT_BYTES = 64
_POINT_WORDS = 8
_MIN_POINTS = 16
_MAX_POINTS = 1 << 23
LEAST_BITS_ON_CARD = 10**7  # smaller blocks are done here before they have reached a graphics card


def _points(n_bits: int, length_bits: int) -> int:
    """Return N, the number of points of the transform."""
    if not 0 <= length_bits <= n_bits:
        raise ValueError(f"cannot amplify {n_bits} bits to {length_bits} bits")
    n_out = -(-length_bits // _POINT_BITS)
    n_in = -(-n_bits // _POINT_BITS) - length_bits // _POINT_BITS
    least = max(_MIN_POINTS, n_in + n_out - 1)
    step = max(4, 1 << max(0, (least - 1).bit_length() - 4))
    points = -(-least // step) * step
    if points > _MAX_POINTS:
        raise ValueError(f"{n_bits} bits are more than {_MAX_POINTS * _POINT_BITS} bits, the largest block")
    return points


def seed_bytes(n_bits: int, length_bits: int) -> int:
    """Return how many bytes of seed `amplify` needs."""
    return _points(n_bits, length_bits) * _POINT_BYTES


def amplify(words: Words, n_bits: int, seed: bytes | bytearray | memoryview, length_bits: int) -> Words:
    """Return `length_bits` bits hashed from the first `n_bits` of `words`.

    Args:
        words: The reconciled key; bits behind `n_bits` do not count. It is not changed.
        seed: `seed_bytes(n_bits, length_bits)` bytes, uniformly random, the same at both ends; may be public.
    """
    points = _points(n_bits, length_bits)
    if len(seed) != points * _POINT_BYTES:
        raise ValueError(f"the seed has {len(seed)} bytes, not {points * _POINT_BYTES}")
    if len(words) < word_count(n_bits):
        raise ValueError(f"{n_bits} bits do not lie in {len(words)} words")
    if length_bits == 0:
        return np.zeros(0, np.uint64)
    if n_bits >= LEAST_BITS_ON_CARD and gpu.wanted():
        from noclone.distill import amplification_cuda

        return amplification_cuda.amplify(words, n_bits, seed, length_bits, points)
    from noclone.crypto import nim_product  # numba: only where it is needed

    skipped = _POINT_WORDS * (length_bits // _POINT_BITS)
    kept = word_count(n_bits) - skipped
    with nim_product.workspace(points) as work:
        flat = work.reshape(-1)
        flat[:kept] = words[skipped : skipped + kept]
        _clear_above(flat[:kept], n_bits - 64 * skipped)
        _clear_below(flat, length_bits % _POINT_BITS)
        nim_product.multiply(work, -(-kept // _POINT_WORDS), points, np.frombuffer(seed, np.uint8))
        first = _POINT_WORDS * (points - -(-length_bits // _POINT_BITS))
        out = words[: word_count(length_bits)] ^ flat[first : first + word_count(length_bits)]
    _clear_above(out, length_bits)
    return out


def _clear_above(words: Words, n_bits: int) -> None:
    """Clear the bits of the last word that lie behind `n_bits`."""
    if n_bits % 64 and len(words):
        words[-1] &= np.uint64((1 << n_bits % 64) - 1)


def _clear_below(words: Words, n_bits: int) -> None:
    """Clear the lowest `n_bits`."""
    words[: n_bits // 64] = 0
    if n_bits % 64:
        words[n_bits // 64] &= ~np.uint64((1 << n_bits % 64) - 1)
