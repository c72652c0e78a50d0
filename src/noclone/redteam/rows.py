"""One line of the attack matrix: an attack tried once, with its countermeasure or without.

In: what a trial saw.  Out: `Row`, plain values.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["broken", "held", "refused", "no service", "service"]


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one attack.

    Args:
        defended: Whether what stands against it was there.
        eve_bits: Information that Eve has, per bit of what she is after: sifted bits for light, key bits for the rest.
        key_bits: Length of key that came out all the same, and that its owners would use.
        exposed_bits: How much of it is not secret from her.
        outcome: "broken": a key came out that is not secret; "held": one did, and it is; "refused": none did;
            "no service" and "service": the same where silence is all that she wants.
        qber: Error rate that the two ends saw; None where there is none.
        detected_after: How many `unit`s until somebody was told; None: never.
        noticed_by: Monitors, or reasons of a refusal.
        predicted: `eve_bits` by theory, where there is a closed form.
        note: What was measured besides, in a sentence.
    """

    attack: str
    defended: bool
    eve_bits: float
    key_bits: int
    exposed_bits: float
    outcome: Outcome
    qber: float | None = None
    detected_after: int | None = None
    unit: str = "blocks"
    noticed_by: tuple[str, ...] = ()
    predicted: float | None = None
    strength: float = 1.0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "noticed_by": list(self.noticed_by)}
