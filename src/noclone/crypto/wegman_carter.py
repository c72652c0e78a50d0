"""One-time authentication: a tag that no amount of computing can forge, for one message and one key.

In: a 256-bit key that both ends share and that nobody used before, and a message.  Out: a 16-byte tag.
Poly1305 with a key (r, s) that is fresh and uniform for every message is a Wegman-Carter authenticator: r picks the
polynomial, s is the one-time pad of its value, so security is unconditional. Bernstein, "The Poly1305-AES
message-authentication code", FSE 2005, Theorem 3.3: differential probability at most 8 ceil(L / 16) / 2^106.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

from noclone.errors import AuthenticationError

KEY_BYTES = 32
TAG_BYTES = 16


def forgery_bound(message_bytes: int) -> float:
    """Return how likely one forgery of a message of at most `message_bytes` is to pass.

    Bernstein 2005, Theorem 3.3: two different messages have a given difference of values for at most 8 ceil(L / 16)
    of the 2^106 clamped r, because a polynomial of degree ceil(L / 16) has as many roots modulo 2^130 - 5 at most, for
    each of the 8 ways in which a difference modulo 2^128 lifts. (The abstract's 14 is 8 times the price of AES.)
    """
    return min(1.0, 8 * max(1, -(-message_bytes // 16)) / 2.0**106)


class OneTimeKey:
    """A key that serves once and is then gone. Its `repr` never shows its bytes."""

    def __init__(self, key: bytes | bytearray) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a one-time key has {KEY_BYTES} bytes, not {len(key)}")
        self._key: bytearray | None = bytearray(key)

    def tagger(self) -> OneTimeTagger:
        """Spend the key on one message.

        Raises:
            AuthenticationError: The key was spent before.
        """
        return OneTimeTagger(self.spend())

    def spend(self) -> bytes:
        """Hand the key out, once.

        Raises:
            AuthenticationError: The key was spent before.
        """
        if self._key is None:
            raise AuthenticationError("a one-time authentication key was asked for twice")
        key = bytes(self._key)
        self.erase()
        return key

    def erase(self) -> None:
        """Forget the key, as far as Python lets memory be forgotten."""
        if self._key is not None:
            self._key[:] = bytes(KEY_BYTES)
            self._key = None


class OneTimeTagger:
    """Make or verify the tag of one message that arrives in pieces. Either happens once."""

    def __init__(self, key: bytes) -> None:
        self._poly1305: Poly1305 | None = Poly1305(key)
        self.length_bytes = 0

    def update(self, data: bytes | memoryview) -> None:
        """Append to the message."""
        self._living().update(data)
        self.length_bytes += len(data)

    def tag(self) -> bytes:
        """Return the tag of everything so far; the tagger is then spent."""
        poly1305, self._poly1305 = self._living(), None
        return poly1305.finalize()

    def verify(self, tag: bytes) -> None:
        """Check the tag of everything so far, in constant time; the tagger is then spent.

        Raises:
            AuthenticationError: The message or the tag is not what the key's other holder made.
        """
        poly1305, self._poly1305 = self._living(), None
        try:
            poly1305.verify(tag)
        except InvalidSignature:
            raise AuthenticationError("the authentication tag does not fit the message") from None

    @property
    def spent(self) -> bool:
        """Whether the one tag was made or checked."""
        return self._poly1305 is None

    def _living(self) -> Poly1305:
        if self._poly1305 is None:
            raise AuthenticationError("a one-time authentication key was used twice")
        return self._poly1305
