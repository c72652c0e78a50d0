"""What each half of a combined key adds: who would learn it if there were no QKD, or no post-quantum cryptography.

In: a trust formula.  Out: the same formula on the supposition that all of one half has fallen. Hash functions and what
is built of them (KDFs) belong to neither half: both stand on them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from noclone.trust.formula import ALWAYS, Atom, Formula, at_least, minimal_cut_sets
from noclone.trust.provenance import SESSION

KDFS = frozenset({"HKDF-SHA384"})
QUANTUM_BROKEN = frozenset({"X25519", "ECDSA-P256", "Ed25519"})  # by Shor's algorithm, on a computer that can run it
SITE_KINDS = frozenset({"site"})


def suppose(formula: Formula, fallen: Collection[Atom]) -> Formula:
    """Return when a key leaks, given that some atoms have fallen already."""

    def part(one: Atom | Formula) -> Atom | Formula:
        if isinstance(one, Atom):
            return ALWAYS if one in fallen else one
        return at_least(one.k, [part(inner) for inner in one.parts])

    found = part(formula)
    assert isinstance(found, Formula)
    return found


def algorithms(formula: Formula, *, kdfs: bool) -> frozenset[Atom]:
    """Return the algorithms in a formula, with the KDFs or without."""
    return frozenset(atom for atom in formula.atoms() if atom.kind == "alg" and (kdfs or _algorithm(atom) not in KDFS))


def broken_by_quantum_computers(formula: Formula) -> frozenset[Atom]:
    """Return those algorithms in a formula that a quantum computer breaks."""
    return frozenset(filter(falls_to_quantum_computers, formula.atoms()))


def falls_to_quantum_computers(atom: Atom) -> bool:
    """Say whether an atom is an algorithm that a quantum computer breaks."""
    return atom.kind == "alg" and _algorithm(atom) in QUANTUM_BROKEN


def physical(formula: Formula) -> frozenset[Atom]:
    """Return what QKD stands on in a formula: devices, nodes, bootstraps; neither algorithms nor the two sites."""
    return frozenset(atom for atom in formula.atoms() if atom.kind != "alg" and atom.kind not in SITE_KINDS)


def contributions(formula: Formula) -> dict[str, Any]:
    """Say who learns a key if all of QKD falls, if all algorithms do, and if a quantum computer comes."""
    return {
        "without_qkd": _summary(suppose(formula, physical(formula))),
        "without_post_quantum": _summary(suppose(formula, algorithms(formula, kdfs=False))),
        "with_a_quantum_computer": _summary(suppose(formula, broken_by_quantum_computers(formula))),
    }


def _summary(formula: Formula) -> dict[str, Any]:
    if formula == ALWAYS:
        return {"secret": False, "formula": str(formula), "order": 0, "coalitions": 1}
    cuts = minimal_cut_sets(formula, 0)
    return {"secret": True, "formula": str(formula), "order": cuts.order, "coalitions": cuts.total}


def _algorithm(atom: Atom) -> str:
    return atom.name.removesuffix(SESSION)
