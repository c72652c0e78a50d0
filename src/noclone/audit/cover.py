"""What each shield covers when the other falls: quantum key distribution and post-quantum cryptography.

In: demands.  Out: a `Cover`: how many pairs of applications still have secret keys when every QKD link betrays, when
every algorithm is broken, and when no node between can be trusted; and what each adds to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from noclone.audit.demands import Demand
from noclone.trust.contributions import falls_to_quantum_computers
from noclone.trust.formula import Atom

QUANTUM = ("link", "bootstrap", "coherent", "fibre", "recording", "seed")


@dataclass(frozen=True, slots=True)
class Cover:
    """Pairs whose keys stay secret, of those that get key.

    Args:
        served: Pairs that get key.
        without_qkd: When the devices of every link betray.
        without_algorithms: When every algorithm is broken, today.
        without_nodes: When every node between tells.
        with_a_quantum_computer: When somebody breaks what Shor's algorithm breaks.
    """

    served: int
    without_qkd: int
    without_algorithms: int
    without_nodes: int
    with_a_quantum_computer: int

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same in words."""
        if not self.served:
            return ("No pair of applications gets key.",)
        return (
            f"If every QKD link betrayed its keys, {self.without_qkd} of {self.served} pairs would keep their secrets.",
            f"If every algorithm that keys rest on were broken, {self.without_algorithms} of {self.served} would.",
            f"If somebody had a quantum computer, {self.with_a_quantum_computer} of {self.served} would.",
            f"If every node between told what it knows, {self.without_nodes} of {self.served} would.",
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "served": self.served,
            "kept_without_qkd": self.without_qkd,
            "kept_without_algorithms": self.without_algorithms,
            "kept_without_nodes": self.without_nodes,
            "kept_with_a_quantum_computer": self.with_a_quantum_computer,
        }


def cover(demands: Sequence[Demand]) -> Cover:
    """Return what each shield covers."""
    served = [demand for demand in demands if demand.formula is not None]
    everything = frozenset().union(*(demand.atoms for demand in served))

    def kept(betrays: Callable[[Atom], bool]) -> int:
        fallen = frozenset(filter(betrays, everything))
        return sum(not demand.leaks(fallen) for demand in served)

    return Cover(
        len(served),
        kept(lambda atom: atom.kind in QUANTUM),
        kept(lambda atom: atom.kind == "alg"),
        kept(lambda atom: atom.kind == "node"),
        kept(falls_to_quantum_computers),
    )
