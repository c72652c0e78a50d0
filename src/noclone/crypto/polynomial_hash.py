"""Polynomial hashing over GF(2^128): short tags that two different messages share with a bounded probability.

In: a message of n bits and a 16-byte key h.  Out: a tag of t <= 128 bits. Used to confirm that two keys are equal.

The message is cut into M = ceil(n / 128) blocks b_1 .. b_M, the last padded with zeros, and n itself is block b_(M+1):

    tag = lowest t bits of  sum over i = 1 .. M+1 of  b_i h^(M+2-i)

Bits count as in `noclone.bits`: bit i of a block is the coefficient of x^i, tag and key are little-endian.

The family is epsilon-almost-XOR-universal with epsilon = (M + 1) 2^-t (den Boer 1993; Johansson, Kabatianskii and
Smeets 1993; Krawczyk 1994): the difference of two different messages' sums is a polynomial in h of degree 1 to M + 1,
M being the longer one's, so at most M + 1 keys give it any one value, and 2^(128-t) values share the lowest t bits.
Unlike a Toeplitz hash, the key stays 16 bytes long; the price is log2(M + 1) tag bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words

KEY_BYTES = 16
MAX_TAG_BITS = 128
BLOCK_BITS = 128
BLOCK_BYTES = BLOCK_BITS // 8
STRIPE_BYTES = 16 * BLOCK_BYTES  # that the kernels take in a step


def _coefficients(n_bits: int) -> int:
    return (n_bits + BLOCK_BITS - 1) // BLOCK_BITS + 1


def collision_bound(n_bits: int, tag_bits: int) -> float:
    """Return the largest probability, over the key, that two different messages of up to `n_bits` share a tag."""
    if not 1 <= tag_bits <= MAX_TAG_BITS:
        raise ValueError(f"a tag has 1 to {MAX_TAG_BITS} bits, not {tag_bits}")
    return min(1.0, _coefficients(n_bits) * 2.0**-tag_bits)


def tag_bits_for(n_bits: int, eps_correctness: float) -> int:
    """Return the shortest tag whose collision bound is at most `eps_correctness`.

    Raises:
        ValueError: No tag of up to 128 bits reaches it.
    """
    if not 0 < eps_correctness < 1:
        raise ValueError("eps_correctness must lie between 0 and 1")
    for tag_bits in range(1, MAX_TAG_BITS + 1):
        if collision_bound(n_bits, tag_bits) <= eps_correctness:
            return tag_bits
    raise ValueError(f"no tag of {MAX_TAG_BITS} bits keeps {n_bits} bits within {eps_correctness:g}")


def _message(data: Words | bytes | bytearray | memoryview, n_bits: int) -> NDArray[np.uint8]:
    """Return the message's bytes, unused bits of the last one cleared, without copying where none are to be cleared."""
    flat = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    view = np.ascontiguousarray(flat).view(np.uint8)
    n_bytes = (n_bits + 7) // 8
    if n_bits < 0 or n_bytes > len(view):
        raise ValueError(f"{n_bits} bits do not lie in {len(view)} bytes")
    view = view[:n_bytes]
    if n_bits % 8:
        view = view.copy()
        view[-1] &= (1 << n_bits % 8) - 1
    return view


def digest(data: Words | bytes | bytearray | memoryview, n_bits: int, key: bytes, tag_bits: int) -> bytes:
    """Return the tag of the first `n_bits` of `data`: ceil(tag_bits / 8) bytes, unused high bits zero.

    Args:
        data: Packed words or bytes (`noclone.bits`); what lies behind `n_bits` does not count.
        n_bits: Length of the message; it is part of what is hashed.
        key: 16 bytes, uniformly random, unknown to whoever chose the message.
        tag_bits: 1 to 128.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key has {KEY_BYTES} bytes, not {len(key)}")
    if not 1 <= tag_bits <= MAX_TAG_BITS:
        raise ValueError(f"a tag has 1 to {MAX_TAG_BITS} bits, not {tag_bits}")
    from noclone.crypto.polynomial_hash_kernels import evaluate  # numba: only where it is needed

    tag = int.from_bytes(evaluate(_message(data, n_bits), key, n_bits), "little") & ((1 << tag_bits) - 1)
    return tag.to_bytes((tag_bits + 7) // 8, "little")
