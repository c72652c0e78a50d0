"""Harvest now, decrypt later: what crosses the wire is written down, until a KEM falls.

In: recorded exchanges.  Out: the keys, when the algorithm is broken: the same computation as in `broken_kem`, done
after the keys were used and forgotten. Forgetting does not help; a QKD key in the combination does, for it never
crossed a wire.
"""

from __future__ import annotations

from noclone.redteam import broken_kem
from noclone.redteam.rows import Row


def trial(seed: bytes, defended: bool, strength: float) -> Row:
    """Record today, break later."""
    return broken_kem.trial(seed, defended, strength, name="harvest-now-decrypt-later")
