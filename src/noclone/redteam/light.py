"""What every attack on light is made of, and how a name becomes an eavesdropper.

In: devices of a link, a strength between 0 (nothing) and 1 (all she can).  Out: `Eavesdropper` for the light to carry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from noclone.link.devices import LinkDevices
from noclone.link.flaws import Flaws, Guards
from noclone.link.overheard import Overheard
from noclone.link.tap import NO_TAP, SETTINGS, Eavesdropper, Learned, Outcome, Tap
from noclone.redteam.record import EveRecord, information


def _nothing(_devices: LinkDevices, _strength: float) -> Tap:
    return NO_TAP


def _unchanged(devices: LinkDevices, _strength: float) -> LinkDevices:
    return devices


@dataclass(frozen=True, slots=True)
class LightAttack:
    """An attack on the light of one link; what it does and hopes for stands in `watch.catalogue`.

    Args:
        record: What Eve wrote down, from what her physics lets her have of a block.
        tap: What becomes of the pulses.
        changed: What becomes of the devices.
        bits: Closed form: information per sifted bit of the key basis.
        flaws: Devices on which it works at full strength, for trials.
        guards: What stands against it where it is a meter or a rule.
        naive: The proof that it breaks; see `light_trial`.
        corrected: The proof that holds; empty where a guard or the ordinary proof does.
        gate: Width of the guarded receiver's gate, in slots.
    """

    name: str
    record: Callable[[Overheard, float], EveRecord]
    bits: Callable[[LinkDevices, float], float]
    tap: Callable[[LinkDevices, float], Tap] = _nothing
    changed: Callable[[LinkDevices, float], LinkDevices] = _unchanged
    flaws: Flaws = field(default_factory=Flaws)
    guards: Guards = field(default_factory=Guards)
    naive: str = "ordinary"
    corrected: str = "ordinary"
    gate: float = 1.0

    def eavesdropper(self, devices: LinkDevices, strength: float) -> Eavesdropper:
        """Return who carries it out on a link.

        Args:
            devices: As the two ends know them.
            strength: 0 to 1; at 0 the light is the honest light, bit for bit.
        """
        changed = self.changed(devices, strength) if strength else devices

        def learned(view: Overheard) -> Learned:
            return information(self.record(view, strength) if strength else EveRecord.empty(len(view.codes)), view)

        return Eavesdropper(self.tap(devices, strength) if strength else NO_TAP, changed, learned)


def tap_of(rows: list[dict[Outcome, float]]) -> Tap:
    """Return the tap of 16 rows of outcomes with their probabilities; what is left of each lets the pulse pass."""
    assert len(rows) == SETTINGS
    outcomes = [Outcome("pass")]
    for row in rows:
        outcomes += [outcome for outcome in row if outcome not in outcomes]
    table = []
    for row in rows:
        rest = max(0.0, 1 - sum(p for outcome, p in row.items() if outcome != outcomes[0]))
        table.append((rest, *(row.get(outcome, 0.0) for outcome in outcomes[1:])))
    return Tap(tuple(outcomes), tuple(table))


def photons_of(devices: LinkDevices, code: int) -> float:
    """Return the mean photon number of one of Alice's settings; 0 for those that she has not."""
    intensities = devices.source.protocol.intensities
    return intensities[code >> 2] if code >> 2 < len(intensities) else 0.0


def brighter(devices: LinkDevices, factor: float) -> LinkDevices:
    """Return a link whose source is brighter than it knows, with as much loss put into the fibre: Bob sees nothing.

    The loss that Eve puts in is light that she has.
    """
    protocol = devices.source.protocol
    bright = replace(protocol, intensities=tuple(factor * k for k in protocol.intensities))
    fibre = replace(devices.fibre, extra_loss_db=devices.fibre.extra_loss_db + 10 * math.log10(factor))
    return replace(devices, source=replace(devices.source, protocol=bright), fibre=fibre)
