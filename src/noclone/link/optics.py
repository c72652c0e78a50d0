"""What one pulse does at Bob's detectors, before time comes in: the physics that `light` and `theory` share.

In: devices and a tap.  Out: for each thing that can happen in a slot (a `Case`) its probability and the mean number of
photons that each detector sees. A phase-randomised coherent pulse that is split and attenuated gives independent
Poisson numbers at all detectors (Lo, Ma, Chen 2005, section II; thinning of a Poisson law), so the means say
everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noclone.link.devices import LinkDevices
from noclone.link.tap import NO_TAP, Tap
from noclone.records import Basis, DecoyBB84
from noclone.units import transmittance

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """One combination of Alice's setting, the tap's outcome and Bob's basis.

    Args:
        row: Where the kernels find it.
        code: Alice's setting.
        bob_basis: Bob's choice; always KEY where a beam splitter chooses.
        probability: Of this combination, in any slot.
        means: Mean number of detected photons at each detector.
    """

    row: int
    code: int
    bob_basis: Basis
    probability: float
    means: F64


def basis_choices(devices: LinkDevices) -> int:
    """Return how many settings Bob has for a slot: 2, or 1 if his receiver is passive."""
    return 2 if devices.receiver.scheme == "active" else 1


def setting_probability(protocol: DecoyBB84, code: int) -> float:
    """Return how often Alice sends a setting."""
    intensity = code >> 2
    if intensity >= len(protocol.intensities):
        return 0.0
    p_basis = protocol.p_key_alice if (code >> 1) & 1 == Basis.KEY else 1 - protocol.p_key_alice
    return protocol.probabilities[intensity] * p_basis / 2


def detected_photons(devices: LinkDevices, mean_photons: float, basis: int, value: int, bob_basis: int) -> F64:
    """Return each detector's mean number of detected photons from a pulse that enters the fibre."""
    receiver = devices.receiver
    arriving = mean_photons * transmittance(devices.fibre.loss_db + receiver.loss_db)

    def split(measured: int) -> list[float]:
        if measured != basis:
            return [0.5, 0.5]
        wrong = receiver.misalignment
        return [1 - wrong, wrong] if value == 0 else [wrong, 1 - wrong]

    if receiver.scheme == "active":
        shares = split(bob_basis)
    else:
        p_key = devices.source.protocol.p_key_bob
        shares = [p_key * s for s in split(Basis.KEY)] + [(1 - p_key) * s for s in split(Basis.TEST)]
    return np.asarray(arriving * np.array(shares) * np.array(receiver.efficiency))


def dark_means(devices: LinkDevices) -> F64:
    """Return each detector's mean number of dark counts in a slot."""
    return np.array(devices.receiver.dark_count_hz) / devices.source.clock_hz


def cases(devices: LinkDevices, tap: Tap | None = None) -> list[Case]:
    """Return everything that can happen in a slot; the probabilities add up to 1."""
    tap = tap or NO_TAP
    protocol = devices.source.protocol
    choices = basis_choices(devices)
    found = []
    for code in range(4 * len(protocol.intensities)):
        p_code = setting_probability(protocol, code)
        for number, (outcome, p_outcome) in enumerate(zip(tap.outcomes, tap.probabilities[code], strict=True)):
            if p_outcome == 0:
                continue
            if outcome.kind == "pass":
                pulse = (protocol.intensities[code >> 2], (code >> 1) & 1, code & 1)
            else:
                pulse = (outcome.mean_photons if outcome.kind == "resend" else 0.0, outcome.basis, outcome.value)
            for bob_basis in list(Basis)[:choices]:
                p_bob = 1.0
                if choices == 2:
                    p_bob = protocol.p_key_bob if bob_basis == Basis.KEY else 1 - protocol.p_key_bob
                row = (number * 16 + code) * choices + bob_basis
                means = detected_photons(devices, *pulse, bob_basis)
                found.append(Case(row, code, bob_basis, p_code * p_outcome * p_bob, means))
    return found
