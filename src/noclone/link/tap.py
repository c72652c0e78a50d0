"""The place where Eve may sit: what she puts on the fibre instead of Alice's pulse.

In: nothing but data; `redteam` fills it in.  Out: a table that the light looks up in each slot. The light does not know
why; a tap that lets everything pass gives the same detections, bit for bit, as no tap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from noclone.records import Basis

SETTINGS = 16  # codes of `records.Settings`: bit 0 value, bit 1 basis, bits 2-3 intensity


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens to one pulse as it leaves Alice.

    Args:
        kind: Let it "pass", "stop" it, or stop it and "resend" another.
        mean_photons: Of the coherent pulse that is sent in its place, at the fibre's input.
        basis: Of that pulse.
        value: Of that pulse.
    """

    kind: Literal["pass", "stop", "resend"]
    mean_photons: float = 0.0
    basis: Basis = Basis.KEY
    value: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("pass", "stop", "resend"):
            raise ValueError(f"an outcome is pass, stop or resend, not {self.kind!r}")
        if not (math.isfinite(self.mean_photons) and self.mean_photons >= 0):
            raise ValueError(f"a mean photon number must be zero or more, and is {self.mean_photons!r}")
        if self.value not in (0, 1):
            raise ValueError(f"a bit value is 0 or 1, not {self.value!r}")


PASS = Outcome("pass")


@dataclass(frozen=True, slots=True)
class Tap:
    """For each of Alice's settings, how likely each outcome is; drawn afresh in every slot.

    Args:
        outcomes: The first one is `PASS`.
        probabilities: One row for each of the 16 setting codes, one number for each outcome.
    """

    outcomes: tuple[Outcome, ...]
    probabilities: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if not self.outcomes or self.outcomes[0] != PASS:
            raise ValueError("the first outcome of a tap must be to let the pulse pass")
        if len(self.probabilities) != SETTINGS:
            raise ValueError(f"a tap needs one row for each of {SETTINGS} settings")
        for row in self.probabilities:
            if len(row) != len(self.outcomes) or min(row) < 0 or abs(math.fsum(row) - 1) > 1e-9:
                raise ValueError("each row of a tap must hold one probability per outcome, and they must add up to 1")


NO_TAP = Tap((PASS,), ((1.0,),) * SETTINGS)
