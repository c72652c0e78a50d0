"""What a proof is here: what it covers, what it assumes, and its arithmetic, as data.

In: counts, protocol, failure probabilities.  Out: `Evaluation`, the parts of a key length that differ between proofs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from noclone.protocols import LinkProtocol
from noclone.records import DecoyBB84


@dataclass(frozen=True, slots=True)
class Term:
    """One step of the funnel from sifted bits to secret ones: what it is called, and what it cost or gave."""

    name: str
    bits: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a proof says of the counts.

    Args:
        vacuum: Lower bound on key-basis detections from empty pulses.
        vacuum_counted: How much of it the proof adds to the key: all or nothing.
        single: Lower bound on key-basis detections from single photons.
        single_test: The same in the test basis.
        phase_error: Upper bound on the phase error rate, at most one half.
        overhead: Bits that the stated secrecy costs.
        steps: The funnel until reconciliation, where what counts is not photons.
        reason: With `steps`: why they give nothing, if that can be said.
    """

    vacuum: float
    vacuum_counted: float
    single: float
    single_test: float
    phase_error: float
    overhead: float
    steps: tuple[Term, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """One published proof.

    Args:
        protocol: Name of the protocol that it is a proof for.
        intensities: For how many of Alice's intensities it holds.
        evaluate: Its arithmetic: from a tally, the protocol and the epsilons.
        assumptions: What must be true for the length to hold.
        extra: More of it for some numbers of intensities.
        one_way: Reconciliation must be told by Bob alone: what it tells of Alice's data is not harmless here.
    """

    name: str
    source: str
    protocol: str
    intensities: tuple[int, ...]
    statement: Literal["fixed-length", "variable-length"]
    evaluate: Callable[..., Evaluation]
    assumptions: tuple[str, ...]
    extra: dict[int, tuple[str, ...]] = field(default_factory=dict)
    one_way: bool = False

    def needs_key_errors(self, protocol: LinkProtocol) -> bool:
        """Say whether the errors in the key basis enter: with one decoy they bound the empty pulses."""
        return isinstance(protocol, DecoyBB84) and protocol.levels == 2

    def assumptions_for(self, protocol: LinkProtocol) -> tuple[str, ...]:
        """Return what must be true for the length to hold."""
        return (*self.assumptions, *self.extra.get(protocol.levels, ()))
