"""The two one-time tags of a long transcript: one polynomial over GF(2^128) for both, without Python's lock.

In: two 256-bit keys that both ends share and that nobody used before, and a transcript in pieces.  Out: 16-byte tags,
one for each end, of the transcript so far and a few bytes more.

Each key is h and s, 16 bytes; both tags take the h of end 0, and each its own s. (The other h is not used. Their sum
would do as well, but would be nothing where a careless secret repeats itself.) A message of L bytes is padded with
zeros until 16 bytes are wanting to a multiple of 256, and L itself is the last block, so that there are
M = 16 ceil((L + 16) / 256) blocks b_1 .. b_M of 16 bytes:

    tag = s + sum over i = 1 .. M of  b_i h^(M+1-i)

Numbers are little-endian, bit i of a block is the coefficient of x^i (`gf128`). Two different messages have sums whose
difference is a polynomial in h without constant term, of degree 1 to M, M being the longer one's: if their lengths
differ the coefficient of h does, else some other one. So at most M of all h give it any one value (den Boer 1993;
Krawczyk, Crypto '94, theorem 5). A tag shows nothing of h, for its own s hides it: one hash may serve several tags,
each with a pad of its own (Wegman, Carter, J. Comput. Syst. Sci. 22, 265 (1981), section 4). A forgery passes with
probability M / 2^128 at most, whatever computing power is behind it.
"""

from __future__ import annotations

import hmac

from noclone.crypto.polynomial_hash import BLOCK_BYTES, STRIPE_BYTES
from noclone.crypto.wegman_carter import KEY_BYTES
from noclone.errors import AuthenticationError


def transcript_forgery_bound(message_bytes: int) -> float:
    """Return how likely one forgery of a message of at most `message_bytes` is to pass."""
    blocks = 16 * -(-(message_bytes + BLOCK_BYTES) // STRIPE_BYTES)
    return min(1.0, blocks / 2.0**128)


class TranscriptTags:
    """A transcript that grows, and a tag of it for each of two ends, made or checked once. Never shows its keys.

    Args:
        keys: Of the tag of end 0 and of end 1.
    """

    def __init__(self, keys: tuple[bytes, bytes]) -> None:
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a one-time key has {KEY_BYTES} bytes")
        from noclone.crypto.polynomial_hash_kernels import RunningHash  # numba: only where it is needed

        self._hash = RunningHash(keys[0][:BLOCK_BYTES])
        self._pads: list[bytes | None] = [key[BLOCK_BYTES:] for key in keys]

    def update(self, data: bytes | memoryview) -> None:
        """Append to the transcript."""
        self._hash.update(data)

    def tag(self, end: int, *more: bytes) -> bytes:
        """Return an end's tag of the transcript so far with some bytes behind it, which are not appended.

        Raises:
            AuthenticationError: That end's tag was made or checked before.
        """
        pad, self._pads[end] = self._pads[end], None
        if pad is None:
            raise AuthenticationError("a one-time authentication key was used twice")
        here = self._hash.copy()
        here.update(b"".join(more))
        return _sum(here.finish(), pad)

    def verify(self, end: int, tag: bytes, *more: bytes) -> None:
        """Check an end's tag, in constant time.

        Raises:
            AuthenticationError: The transcript or the tag is not what the keys' other holder has.
        """
        if not hmac.compare_digest(self.tag(end, *more), tag):
            raise AuthenticationError("the authentication tag does not fit the message")

    def spent(self, end: int) -> bool:
        """Whether an end's tag was made or checked."""
        return self._pads[end] is None

    def erase(self) -> None:
        """Forget the keys."""
        self._pads = [None, None]
        self._hash.erase()


def _sum(one: bytes, other: bytes) -> bytes:
    """Return the sum of two elements of GF(2^128)."""
    return (int.from_bytes(one, "little") ^ int.from_bytes(other, "little")).to_bytes(BLOCK_BYTES, "little")
