"""Weak random numbers: Alice's settings come from a seed that can be guessed.

In: one block of light, and what both ends said in public.  Out: the seed, if it is among Eve's guesses. Alice
announces the intensities of what Bob detected; who has the right seed finds all of them right, and then has the bits
(`link.settings`). Undefended, the seed is one of 4,096; defended, it is 32 bytes of the operating system.
"""

from __future__ import annotations

import os

import numpy as np

from noclone import rng
from noclone.link.light import transmit
from noclone.link.settings import SeededSettings
from noclone.records import Basis
from noclone.redteam.light_trial import LINK
from noclone.redteam.message_trial import ORIGIN, quiet_plan
from noclone.redteam.rows import Row

GUESSES = 4096
LOOKED_AT = 64  # announced intensities: a wrong seed gives all of them with less than 10^-15


def trial(seed: bytes, defended: bool, _strength: float) -> Row:
    """Guess Alice's seed from what she announced."""
    one = quiet_plan()
    chosen = int.from_bytes(rng.derive(seed, "a careless draw")[:2], "big") % GUESSES
    alice_seed = os.urandom(rng.SEED_BYTES) if defended else rng.seed_from_int(chosen)
    protocol = one.devices.source.protocol
    detections = transmit(
        one.devices,
        alice_seed=alice_seed,
        physics_seed=rng.derive(seed, "physics"),
        n_slots=one.n_slots,
        link=LINK,
        block=0,
        origin=ORIGIN,
    )
    codes = SeededSettings(alice_seed, protocol).at(detections.slots)
    announced = codes[:LOOKED_AT] >> 2
    slots = detections.slots[:LOOKED_AT]
    found = next(
        (
            guess
            for guess in range(GUESSES)
            if np.array_equal(SeededSettings(rng.seed_from_int(guess), protocol).at(slots) >> 2, announced)
        ),
        None,
    )
    key = (((codes >> 1) & 1) == Basis.KEY) & (detections.bases == Basis.KEY)
    right = 0
    if found is not None:
        hers = SeededSettings(rng.seed_from_int(found), protocol).at(detections.slots)
        right = int((((hers ^ codes) & 1) == 0)[key].sum())
    n = int(key.sum())
    return Row(
        "weak-randomness",
        defended,
        right / n,
        one.agreement.length_bits,
        one.agreement.length_bits * right / n,
        "broken" if right == n else "held",
        predicted=0.0 if defended else 1.0,
        note=f"seed {found} of {GUESSES} fits what was announced"
        if found is not None
        else f"none of {GUESSES} seeds fits",
    )
