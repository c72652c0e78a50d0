"""Linear algebra over GF(2^8): what follows from bytes that somebody has, where all else is uniform.

In: observations, each a combination of unknown byte strings with its value, and the combination that is asked for.
Out: its value; or None, and then nothing at all follows about it: over a field, with uniform unknowns, a combination
outside the span of what is known is uniform given what is known. One-time pads and shares (Shamir 1979; XOR) are such
systems.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noclone.crypto.secret_sharing import products

U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Observation:
    """A combination of unknowns, and its value.

    Args:
        weights: One for each unknown, in GF(2^8).
        value: The bytes that the combination comes to.
    """

    weights: tuple[int, ...]
    value: bytes = field(repr=False)


def power(x: int, exponent: int) -> int:
    """Return a power in GF(2^8)."""
    out = 1
    for _ in range(exponent):
        out = int(products()[out, x])
    return out


def value_of(wanted: Sequence[int], known: Iterable[Observation]) -> bytes | None:
    """Return the value of a combination if it follows: Gauss's elimination, on weights and values alike."""
    rows: list[tuple[int, U8, U8]] = []  # the place of its leading 1, the weights, the value
    for one in known:
        weights, value = _reduced(np.array(one.weights, np.uint8), np.frombuffer(one.value, np.uint8).copy(), rows)
        places = np.flatnonzero(weights)
        if len(places):
            inverse = int(np.flatnonzero(products()[weights[places[0]]] == 1)[0])
            rows.append((int(places[0]), products()[inverse][weights], products()[inverse][value]))
    if not rows:
        return None
    weights, value = _reduced(np.array(wanted, np.uint8), np.zeros_like(rows[0][2]), rows)
    return None if weights.any() else value.tobytes()


def _reduced(weights: U8, value: U8, rows: Sequence[tuple[int, U8, U8]]) -> tuple[U8, U8]:
    for place, other, theirs in rows:
        factor = int(weights[place])
        if factor:
            weights, value = weights ^ products()[factor][other], value ^ products()[factor][theirs]
    return weights, value
