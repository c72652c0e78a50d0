"""The place where Eve may sit: what she puts on the fibre instead of Alice's pulse.

In: nothing but data; `redteam` fills it in.  Out: a table that the light looks up in each slot. The light does not know
why; a tap that lets everything pass gives the same detections, bit for bit, as no tap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from noclone.records import Basis

if TYPE_CHECKING:
    from noclone.link.lights import LinkLight
    from noclone.link.overheard import Overheard

SETTINGS = 16  # codes of `records.Settings`: bit 0 value, bit 1 basis, bits 2-3 intensity
KINDS = ("pass", "stop", "resend", "bright", "deaden")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens to one pulse as it leaves Alice.

    Args:
        kind: Let it "pass", "stop" it, stop it and "resend" another, stop it and send a "bright" one that detectors
            answer in linear mode, or let it pass and "deaden" some detectors with a flash just before.
        mean_photons: Of the coherent pulse that is sent in its place, at the fibre's input; of a flash, at Bob's.
        basis: Of that pulse.
        value: Of that pulse.
        photons: Resend exactly so many photons, at Bob's input: the fibre is Eve's and loses nothing.
        power_uw: Of a bright pulse, at a detector that gets all of it.
        blind: Bright light between the pulses keeps the detectors in linear mode, where neither photons nor dark counts
            make them click.
        shift: By how much of a slot the light comes late.
        gain: By how much more of a passing pulse arrives than through the fibre that was there.
    """

    kind: Literal["pass", "stop", "resend", "bright", "deaden"]
    mean_photons: float = 0.0
    basis: Basis = Basis.KEY
    value: int = 0
    photons: int = 0
    power_uw: float = 0.0
    blind: bool = False
    shift: float = 0.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"an outcome is one of {', '.join(KINDS)}, not {self.kind!r}")
        for name in ("mean_photons", "power_uw", "gain"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                words = name.replace("_", " ").replace("mean photons", "mean photon number")
                raise ValueError(f"a {words} must be zero or more, and is {value!r}")
        if self.value not in (0, 1):
            raise ValueError(f"a bit value is 0 or 1, not {self.value!r}")
        if not 0 <= self.photons <= 64:
            raise ValueError(f"an outcome resends 0 to 64 photons, not {self.photons!r}")
        if not abs(self.shift) < 0.5:
            raise ValueError(f"a shift is less than half a slot, not {self.shift!r}")


PASS = Outcome("pass")


@dataclass(frozen=True, slots=True)
class Tap:
    """For each of Alice's settings, how likely each outcome is; drawn afresh in every slot.

    Args:
        outcomes: The first one is `PASS`.
        probabilities: One row for each of the 16 setting codes, one number for each outcome.
        probe_photons: Light that Eve sends into Alice's lab, photons a slot.
    """

    outcomes: tuple[Outcome, ...]
    probabilities: tuple[tuple[float, ...], ...]
    probe_photons: float = 0.0

    def __post_init__(self) -> None:
        if not self.outcomes or self.outcomes[0] != PASS:
            raise ValueError("the first outcome of a tap must be to let the pulse pass")
        if len(self.probabilities) != SETTINGS:
            raise ValueError(f"a tap needs one row for each of {SETTINGS} settings")
        for row in self.probabilities:
            if len(row) != len(self.outcomes) or min(row) < 0 or abs(math.fsum(row) - 1) > 1e-9:
                raise ValueError("each row of a tap must hold one probability per outcome, and they must add up to 1")
        if not self.probe_photons >= 0:
            raise ValueError(f"a probe has zero or more photons a slot, not {self.probe_photons!r}")


Carriage = Callable[[str, bytes], list[bytes]]

NO_TAP = Tap((PASS,), ((1.0,),) * SETTINGS)


@dataclass(frozen=True, slots=True)
class Learned:
    """What Eve's record of a block is worth, measured against the real key.

    Args:
        sifted_bits: Detections in the key basis where Alice's and Bob's bases agree.
        touched_bits: Those about which she noted something.
        information_bits: Mutual information between her record and Alice's bits, summed over them.
    """

    sifted_bits: int
    touched_bits: int
    information_bits: float

    @property
    def per_sifted_bit(self) -> float:
        """Information per sifted bit."""
        return self.information_bits / self.sifted_bits if self.sifted_bits else 0.0


@dataclass(frozen=True, slots=True)
class Eavesdropper:
    """Whoever sits on a link: what becomes of pulses, devices and messages, and what is kept.

    Args:
        tap: What becomes of each pulse.
        devices: The link as it is now, where it was changed: nobody at the two ends knows.
        learned: What the record of one block is worth.
        carriage: Makes what becomes of each message of a conversation on the public channel: from the sender's role and
            the message, what arrives instead. None: all arrive as they were sent.
    """

    tap: Tap
    devices: LinkLight
    learned: Callable[[Overheard], Learned] = field(repr=False)
    carriage: Callable[[], Carriage] | None = field(default=None, repr=False)
