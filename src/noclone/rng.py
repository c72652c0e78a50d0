"""Reproducible randomness by name, for simulation only.

    seed = b"..."                                   32 bytes: the run's one secret, printed only when the run is seeded
    rng.derive(seed, "alder-birch/block-3/alice")   32 bytes that depend on seed and name alone
    rng.stream(seed, "alder-birch/detectors")       a NumPy generator on such a seed

Real secrets (tokens, nonces, hash keys, privacy-amplification seeds, node keys) come from `secrets` or `os.urandom`,
never from here.
"""

from __future__ import annotations

import hashlib
import os

import numpy as np

SEED_BYTES = 32


def fresh_seed() -> bytes:
    """Return a seed drawn from the operating system."""
    return os.urandom(SEED_BYTES)


def seed_from_int(number: int) -> bytes:
    """Turn a small number that a person types into a seed."""
    return hashlib.blake2b(f"noclone seed {number}".encode(), digest_size=SEED_BYTES).digest()


def derive(seed: bytes, name: str) -> bytes:
    """Return the 32-byte seed of the stream called `name`."""
    assert len(seed) == SEED_BYTES
    return hashlib.blake2b(name.encode(), key=seed, digest_size=SEED_BYTES, person=b"noclone-stream-1").digest()


def stream(seed: bytes, name: str) -> np.random.Generator:
    """Return the generator of the stream called `name`."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(derive(seed, name)[:16], "little")))
