"""Privacy amplification with the plain binary Toeplitz matrix, as others do it: for interoperation, not for speed.

In: n reconciled bits, the secret length l, a public random seed.  Out: l bits. Same signatures as `amplification`.

    out_i = sum over j = 0 .. n-1 of T_ij x_j over GF(2),  T_ij = s_(i - j + n - 1),  i = 0 .. l-1

so that all n + l - 1 bits of the seed s are used, s_0 .. s_(n-1) being the first row from right to left and s_(n-1) ..
s_(n+l-2) the first column from top to bottom; bits are counted as in `noclone.bits`, lowest first. This family is
2-universal (Mansour, Nisan and Tiwari 1993; Krawczyk 1994). In the modified form [I | T'] (Hayashi and Tsurumaru 2016,
IEEE Trans. Inf. Theory 62, 2213) the first l key bits are added to T' times the others: n - 1 seed bits.

out_i is coefficient n - 1 + i of s(z) x(z). The key is cut into pieces, so that no product is much longer than the
part of it that is wanted.
"""

from __future__ import annotations

import numpy as np

from noclone.bits import Words, word_count

FAMILY = "binary-toeplitz"
FAMILY_MODIFIED = "binary-toeplitz-modified"
_MAX_PIECES = 16


def seed_bytes(n_bits: int, length_bits: int, *, modified: bool = False) -> int:
    """Return how many bytes of seed `amplify` needs; unused high bits of the last are ignored."""
    if not 0 <= length_bits <= n_bits:
        raise ValueError(f"cannot amplify {n_bits} bits to {length_bits} bits")
    rest = n_bits - length_bits if modified else n_bits
    return (max(0, rest + length_bits - 1) + 7) // 8 if rest and length_bits else 0


def amplify(
    words: Words, n_bits: int, seed: bytes | bytearray | memoryview, length_bits: int, *, modified: bool = False
) -> Words:
    """Return `length_bits` bits hashed from the first `n_bits` of `words`.

    Args:
        words: The reconciled key; bits behind `n_bits` do not count. It is not changed.
        seed: `seed_bytes(n_bits, length_bits)` bytes, uniformly random, the same at both ends; may be public.
        modified: Take the form [I | T'].
    """
    if len(seed) != seed_bytes(n_bits, length_bits, modified=modified):
        due = seed_bytes(n_bits, length_bits, modified=modified)
        raise ValueError(f"the seed has {len(seed)} bytes, not {due}")
    if len(words) < word_count(n_bits):
        raise ValueError(f"{n_bits} bits do not lie in {len(words)} words")
    if not modified:
        return _multiply(words, 0, n_bits, seed, length_bits)
    head = _slice(words, 0, length_bits)
    return head ^ _multiply(words, length_bits, n_bits - length_bits, seed, length_bits)


def _multiply(words: Words, start: int, n: int, seed: bytes | bytearray | memoryview, length_bits: int) -> Words:
    """Return T times the n bits of `words` from `start` on."""
    if not (n and length_bits):
        return np.zeros(word_count(length_bits), np.uint64)
    from noclone.crypto.binary_product import MAX_WORDS, sum_of_products  # numba: only where it is needed

    if word_count(n) + word_count(n + length_bits) > MAX_WORDS:
        raise ValueError(f"{n} bits are more than the largest block")

    padded = bytes(seed) + bytes(-len(seed) % 8)
    s = np.frombuffer(padded, "<u8")
    piece = _piece_bits(n, length_bits)
    pairs = []
    for first in range(0, n, piece):
        count = min(piece, n - first)
        x = _slice(words, start + first, count)
        # x_first meets s_(n-1-first) in row 0: with the piece padded to its full length, its row 0 ends there.
        pairs.append((x, _slice(s, n - first - piece, length_bits + piece - 1)))
    return _slice(sum_of_products(pairs), piece - 1, length_bits)


def _piece_bits(n: int, length_bits: int) -> int:
    """Return the length of the pieces that makes least work: transforms of 2^k words, two a piece and one more."""
    best, piece = 0, n
    for pieces in range(1, _MAX_PIECES + 1):
        bits = 64 * -(-n // (64 * pieces))
        points = 1 << (word_count(length_bits + bits - 1) + word_count(bits) - 2).bit_length()
        work = (2 * pieces + 1) * points * points.bit_length()
        if not best or work < best:
            best, piece = work, bits
    return piece


def _slice(words: Words, start: int, count: int) -> Words:
    """Return `count` bits from bit `start` on, which may lie before the first: what is not there is zero."""
    out = np.zeros(word_count(count) + 1, np.uint64)
    first, shift = start // 64, start % 64
    skipped = max(0, -first)
    source = words[max(0, first) : max(0, first + len(out))]
    out[skipped : skipped + len(source)] = source
    if shift:
        out[:-1] = out[:-1] >> np.uint64(shift) | out[1:] << np.uint64(64 - shift)
    out = out[:-1]
    if count % 64:
        out[-1] &= np.uint64((1 << count % 64) - 1)
    return out
