"""The two combiners of ETSI TS 103 744 V1.2.1, which make one key of several secrets: CatKDF and CasKDF.

In: secrets of different origin (a QKD key, an ECDH secret, a KEM secret), the messages that they came from, a label.
Out: key that stays secret while any one of the secrets does, and the hash is a PRF.

    f(a, b, c)   H(len(a) || a || len(b) || b || len(c) || c), lengths in 4 bytes, big-endian
    CatKDF       KDF(salt = label, secret = k1 || k2 || ..., context = f(info, MA, MB))
    CasKDF       round i: s = HMAC(chain, f(k_i, MA_i, MB_i))
                 chain || key_i = KDF(salt = label_i, secret = s, context = info_i)

KDF is HKDF (RFC 5869) or HMAC in the one-step form of NIST SP 800-56C. The standard's KMAC is not here. What is public
can have any length; a secret without bytes is refused, for it would make the key stand on less than it says.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from noclone.errors import InputError

Hash = Literal["sha256", "sha384"]
Kdf = Literal["hkdf", "hmac"]
HASH_BYTES = {"sha256": 32, "sha384": 48}
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384}


@dataclass(frozen=True, slots=True)
class Round:
    """One secret of a CasKDF, with the messages that it came from.

    Args:
        secret: Never empty.
        label: Salt of this round.
        info: Context of this round.
        messages: What A and B said.
    """

    secret: bytes = field(repr=False)
    label: bytes
    info: bytes
    messages: tuple[bytes, bytes]


def formatted(name: Hash, a: bytes, b: bytes, c: bytes) -> bytes:
    """Return f(a, b, c): a hash that no other division into three parts has."""
    data = b"".join((len(a).to_bytes(4), a, len(b).to_bytes(4), b, len(c).to_bytes(4), c))
    return _HASHES[name](data).digest()


def cat_kdf(
    name: Hash,
    secrets: Sequence[bytes],
    *,
    label: bytes,
    info: bytes,
    messages: tuple[bytes, bytes],
    length: int,
    kdf: Kdf = "hkdf",
) -> bytes:
    """Return `length` bytes of key from several secrets, concatenated in their order (clause 8.2).

    Each kind of secret shall always have the same length, so that where one ends is never an attacker's choice.

    Raises:
        InputError: There is no secret, or one is empty.
    """
    _refuse_empty(secrets)
    return _KDFS[kdf](name, b"".join(secrets), label, formatted(name, info, *messages), length)


def cas_kdf(
    name: Hash, rounds: Sequence[Round], *, length: int, first: bytes | None = None, kdf: Kdf = "hkdf"
) -> bytes:
    """Return `length` bytes of key from several secrets, one after another (clause 8.3).

    Args:
        name: The hash.
        rounds: The secrets.
        length: Bytes of key.
        first: A pre-shared key that the chain begins with; None: it begins with nothing.
        kdf: Which KDF each round ends with.

    Raises:
        InputError: There is no secret, or one is empty.
    """
    _refuse_empty([each.secret for each in rounds] + ([] if first is None else [first]))
    chain, key, size = first or b"", b"", HASH_BYTES[name]
    for each in rounds:
        secret = hmac.digest(chain, formatted(name, each.secret, *each.messages), name)
        out = _KDFS[kdf](name, secret, each.label, each.info, size + length)
        chain, key = out[:size], out[size:]
    return key


def expand(name: Hash, secret: bytes, *, label: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes of HKDF's output (RFC 5869).

    Raises:
        InputError: The secret is empty.
    """
    _refuse_empty([secret])
    return _hkdf(name, secret, label, info, length)


def _refuse_empty(secrets: Sequence[bytes]) -> None:
    if not secrets or not all(secrets):
        raise InputError(
            "a secret that a key is to be made of is missing or empty", hint="a key is never made of less than it says"
        )


def _hkdf(name: Hash, secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    size = HASH_BYTES[name]
    if not 0 < length <= 255 * size:
        raise InputError(f"HKDF gives 1 to {255 * size} bytes, not {length}")
    extracted = hmac.digest(salt or bytes(size), secret, name)
    if length <= size:
        return hmac.digest(extracted, info + b"\1", name)[:length]
    out, last = b"", b""
    for number in range(1, -(-length // size) + 1):
        last = hmac.digest(extracted, last + info + bytes([number]), name)
        out += last
    return out[:length]


def _one_step(name: Hash, secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Return the output of the one-step KDF with HMAC (NIST SP 800-56C Rev. 2, section 4.1, option 2)."""
    blocks = -(-length // HASH_BYTES[name])
    out = b"".join(hmac.digest(salt, i.to_bytes(4) + secret + info, name) for i in range(1, blocks + 1))
    return out[:length]


_KDFS = {"hkdf": _hkdf, "hmac": _one_step}
