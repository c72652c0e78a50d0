"""Privacy amplification: from a reconciled key to a shorter one of which nobody else knows anything.

In: n reconciled bits, the secret length that `proofs` allows, a public random seed.  Out: that many bits.

The family, called `field-toeplitz-1`, is 2-universal: two different keys collide with probability at most 2^-length
(proof: docs/decisions/010-privacy-amplification.md). For n input bits and l output bits:

1. Cut the key. Its first l bits are u. All other bits, in place, are v: element j of v holds key bits 128 (j + q) ..
   128 (j + q) + 127 with q = floor(l / 128), the lowest l mod 128 bits of element 0 being replaced by zeros. v has
   M = ceil(n / 128) - q elements of GF(2^128) (`crypto.gf128`), bit i of an element being the coefficient of x^i.
2. Let m = ceil(l / 128) and N the smallest power of two with N >= max(16, M + m - 1). The seed is N elements (16 bytes
   each, little-endian): the values of a uniformly random polynomial S of degree below N at the points omega_0 ..
   omega_(N-1) (`crypto.additive_fft`). Choosing values is as good as choosing coefficients and saves a transform.
3. Let V be the polynomial whose coefficients in the basis X_i (`crypto.additive_fft`) are v. Let P be the product of S
   and V modulo the polynomial that vanishes at all N points. The hash is
   u + (the first l bits of the coefficients N-m .. N-1 of P in the same basis).

It is a Toeplitz-like matrix over GF(2^128) in the form [I | T] (Hayashi and Tsurumaru 2016, IEEE Trans. Inf. Theory 62,
2213, for the binary case), evaluated by one additive FFT forwards and one backwards. The seed may be public and must be
drawn after the quantum phase. It is as long as the key or up to twice that: the next power of two.
"""

from __future__ import annotations

import numpy as np

from noclone.bits import Words, word_count

FAMILY = "field-toeplitz-1"
_ELEMENT_BITS = 128
_ELEMENT_BYTES = 16
_MIN_POINTS = 16
_MAX_POINTS = 1 << 25


def _points(n_bits: int, length_bits: int) -> int:
    """Return N, the number of points of the transform."""
    if not 0 <= length_bits <= n_bits:
        raise ValueError(f"cannot amplify {n_bits} bits to {length_bits} bits")
    whole, rest = divmod(length_bits, _ELEMENT_BITS)
    n_out = whole + (rest > 0)
    n_in = -(-n_bits // _ELEMENT_BITS) - whole
    points = 1 << max(_MIN_POINTS - 1, n_in + n_out - 2).bit_length()
    if points > _MAX_POINTS:
        raise ValueError(f"{n_bits} bits are more than {_MAX_POINTS * _ELEMENT_BITS} bits, the largest block")
    return points


def seed_bytes(n_bits: int, length_bits: int) -> int:
    """Return how many bytes of seed `amplify` needs."""
    return _points(n_bits, length_bits) * _ELEMENT_BYTES


def amplify(words: Words, n_bits: int, seed: bytes | bytearray | memoryview, length_bits: int) -> Words:
    """Return `length_bits` bits hashed from the first `n_bits` of `words`.

    Args:
        words: The reconciled key; bits behind `n_bits` do not count. It is not changed.
        seed: `seed_bytes(n_bits, length_bits)` bytes, uniformly random, the same at both ends; may be public.
    """
    points = _points(n_bits, length_bits)
    if len(seed) != points * _ELEMENT_BYTES:
        raise ValueError(f"the seed has {len(seed)} bytes, not {points * _ELEMENT_BYTES}")
    if len(words) < word_count(n_bits):
        raise ValueError(f"{n_bits} bits do not lie in {len(words)} words")
    if length_bits == 0:
        return np.zeros(0, np.uint64)
    from noclone.crypto import additive_fft  # numba: only where it is needed

    skipped = 2 * (length_bits // _ELEMENT_BITS)
    elements = additive_fft.zeros(points)
    flat = elements.reshape(-1)
    kept = word_count(n_bits) - skipped
    flat[:kept] = words[skipped : skipped + kept]
    _clear_above(flat[:kept], n_bits - 64 * skipped)
    _clear_below(flat, length_bits % _ELEMENT_BITS)
    additive_fft.forward(elements)
    additive_fft.scale(elements, np.frombuffer(seed, np.uint8))
    additive_fft.backward(elements)
    window = flat[2 * (points - -(-length_bits // _ELEMENT_BITS)) :]
    out = words[: word_count(length_bits)] ^ window[: word_count(length_bits)]
    _clear_above(out, length_bits)
    return out


def _clear_above(words: Words, n_bits: int) -> None:
    """Clear the bits of the last word that lie behind `n_bits`."""
    if n_bits % 64 and len(words):
        words[-1] &= np.uint64((1 << n_bits % 64) - 1)


def _clear_below(words: Words, n_bits: int) -> None:
    """Clear the lowest `n_bits` < 128."""
    if n_bits >= 64:
        words[0] = 0
    if n_bits % 64:
        words[n_bits // 64] &= ~np.uint64((1 << n_bits % 64) - 1)
