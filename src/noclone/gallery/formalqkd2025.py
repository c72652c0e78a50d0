"""Rusca's key length to the last bit: the formal-qkd project, interval arithmetic whose rounding is proved in Lean."""

from __future__ import annotations

from noclone.counts import Counts
from noclone.gallery.result import Result, Row, same
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.keylength import secret_length
from noclone.records import DecoyBB84

COUNTS = Counts(10**10, (8875913, 1124087), (165048, 20902), (3456, 484), (185856, 26055))
PROTOCOL = DecoyBB84((0.51, 0.15), (0.7, 0.3), 0.9, 0.9)
LEAK_BITS = 1_776_924


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    found = secret_length(COUNTS, PROTOCOL, Epsilons(1e-9, 1e-15), leak_bits=LEAK_BITS, proof="rusca2018")
    return (same("secret length", found.bits, 1_464_719, "bit"),)


RESULT = Result(
    "formalqkd2025",
    "A key length proved in Lean",
    "formal-qkd by Adomas Baliuka, README and FormalQKD/RuscaEqn.lean, after Rusca et al. 2018",
    "read",
    "adomasbaliuka/formal-qkd on GitHub, commit 3e0b912",
    "exact",
    0,
    "",
    rows,
)
