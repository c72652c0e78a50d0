"""A broken KEM, today or later, against keys that stand on it alone, and against hybrid ones.

In: a recorded exchange.  Out: the key, if the algorithm's break gives it. The KEM is ML-KEM-768 (FIPS 203), weakened
on purpose: its key pair is one of 4,096. Harvest now, decrypt later is the same attack with a clock: everything was
written down when it crossed the wire. Undefended, the key is the KEM's; defended, it is combined with a QKD key by
the combiner that KMEs use (`crypto.combiners`), and what is left to Eve is what she can predict of that.
"""

from __future__ import annotations

import os

import numpy as np
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from noclone import rng
from noclone.crypto.combiners import MODES, Mode, Transcript, combine, qkd_bytes
from noclone.redteam.record import worth
from noclone.redteam.rows import Row

GUESSES = 4096
KEYS = 64
BYTES = 32

COMBINERS = MODES


def combined(mode: Mode, qkd: bytes | None, secret: bytes, public: bytes, ciphertext: bytes) -> bytes:
    """Return the key that two KMEs make of an exchange."""
    return bytes(combine(mode, qkd, [secret], Transcript(public, ciphertext), BYTES).key)


def weak_key(number: int) -> MLKEM768PrivateKey:
    """Return one of the few key pairs of the weakened KEM."""
    return MLKEM768PrivateKey.from_seed_bytes(rng.seed_from_int(number) + rng.seed_from_int(number + GUESSES))


def trial(
    seed: bytes, defended: bool, _strength: float, *, name: str = "broken-kem", combiner: Mode | None = None
) -> Row:
    """Record exchanges, break the KEM, and say of each bit of each key what it must be."""
    mode: Mode = combiner or ("everlasting" if defended else "kem")
    size = qkd_bytes(mode, BYTES)
    chosen = int.from_bytes(rng.derive(seed, "a careless draw")[:2], "big") % GUESSES
    public = weak_key(chosen).public_key()
    recorded, keys, guesses = [], [], []
    published = public.public_bytes_raw()
    for _ in range(KEYS):
        secret, ciphertext = public.encapsulate()
        recorded.append(ciphertext)
        keys.append(combined(mode, os.urandom(size) if size else None, secret, published, ciphertext))
    broken = next(weak_key(n) for n in range(GUESSES) if weak_key(n).public_key().public_bytes_raw() == published)
    for ciphertext in recorded:
        # What she knows of the QKD key is nothing: any guess is as good as another.
        guess = os.urandom(size) if size else None
        guesses.append(combined(mode, guess, broken.decapsulate(ciphertext), published, ciphertext))
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
