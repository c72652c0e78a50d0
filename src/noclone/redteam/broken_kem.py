"""A broken KEM, today or later, against keys that stand on it alone, and against hybrid ones.

In: a recorded exchange.  Out: the key, if the algorithm's break gives it. The KEM is ML-KEM-768 (FIPS 203), weakened
on purpose: its key pair is one of 4,096. Harvest now, decrypt later is the same attack with a clock: everything was
written down when it crossed the wire. Undefended, the key is the KEM's; defended, it is combined with a QKD key, and
what is left to Eve is what she can predict of that. `COMBINERS` takes further combiners by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from noclone import rng
from noclone.redteam.record import worth
from noclone.redteam.rows import Row

GUESSES = 4096
KEYS = 64
BYTES = 32

Combine = Callable[[bytes, bytes], bytes]  # of a QKD key and a KEM's secret


def kem_alone(_qkd: bytes, secret: bytes) -> bytes:
    """Return a key that stands on the KEM alone."""
    return HKDF(SHA384(), BYTES, None, b"redteam kem").derive(secret)


def everlasting(qkd: bytes, secret: bytes) -> bytes:
    """Return the QKD key under a stream of the KEM's secret: secret while either holds."""
    stream = HKDF(SHA384(), len(qkd), None, b"redteam everlasting").derive(secret)
    return bytes(x ^ y for x, y in zip(qkd, stream, strict=True))


COMBINERS: dict[str, Combine] = {"kem": kem_alone, "everlasting": everlasting}


def weak_key(number: int) -> MLKEM768PrivateKey:
    """Return one of the few key pairs of the weakened KEM."""
    return MLKEM768PrivateKey.from_seed_bytes(rng.seed_from_int(number) + rng.seed_from_int(number + GUESSES))


def trial(seed: bytes, defended: bool, _strength: float, *, name: str = "broken-kem", combiner: str = "") -> Row:
    """Record exchanges, break the KEM, and say of each bit of each key what it must be."""
    combine = COMBINERS[combiner or ("everlasting" if defended else "kem")]
    chosen = int.from_bytes(rng.derive(seed, "a careless draw")[:2], "big") % GUESSES
    public = weak_key(chosen).public_key()
    recorded, keys, guesses = [], [], []
    for _ in range(KEYS):
        secret, ciphertext = public.encapsulate()
        recorded.append(ciphertext)
        keys.append(combine(os.urandom(BYTES), secret))
    published = public.public_bytes_raw()
    broken = next(weak_key(n) for n in range(GUESSES) if weak_key(n).public_key().public_bytes_raw() == published)
    for ciphertext in recorded:
        # What she knows of the QKD key is nothing: zeros are as good a guess as any.
        guesses.append(combine(bytes(BYTES), broken.decapsulate(ciphertext)))
    bits, hers = (np.unpackbits(np.frombuffer(b"".join(row), np.uint8)) for row in (keys, guesses))
    right = int((bits == hers).sum())
    known = worth(len(bits), right) if abs(right / len(bits) - 0.5) > 4 * 0.5 / len(bits) ** 0.5 else 0.0
    return Row(
        name,
        defended,
        known / len(bits),
        len(bits),
        known,
        "broken" if known else "held",
        unit="keys",
        predicted=0.0 if defended else 1.0,
        note=f"{right} of {len(bits)} bits guessed",
    )
