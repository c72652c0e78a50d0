"""What one pulse does at Bob's detectors, before time comes in: the physics that `light` and `theory` share.

In: devices and a tap.  Out: for each thing that can happen in a slot (a `Case`) its probability and the mean number of
photons that each detector sees. A phase-randomised coherent pulse that is split and attenuated gives independent
Poisson numbers at all detectors (Lo, Ma, Chen 2005, section II; thinning of a Poisson law), so the means say
everything. What Eve may send instead, such as a known number of photons or bright light, has a `slotlaw.Law`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noclone.link.devices import LinkDevices
from noclone.link.slotlaw import Law, independent, photon_by_photon
from noclone.link.tap import NO_TAP, Outcome, Tap
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
        means: Mean number of detected photons at each detector; zero where a law says more.
        law: What the light does where it is not phase-randomised coherent light that comes when it should.
    """

    row: int
    code: int
    bob_basis: Basis
    probability: float
    means: F64
    law: Law | None = None


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
    return np.asarray(arriving * np.array(shares(devices, basis, value, bob_basis)) * np.array(receiver.efficiency))


def shares(devices: LinkDevices, basis: int, value: int, bob_basis: int) -> list[float]:
    """Return which share of a pulse's light each detector gets."""
    receiver = devices.receiver

    def split(measured: int) -> list[float]:
        if measured != basis:
            return [0.5, 0.5]
        wrong = receiver.misalignment
        return [1 - wrong, wrong] if value == 0 else [wrong, 1 - wrong]

    if receiver.scheme == "active":
        return split(bob_basis)
    p_key = devices.source.protocol.p_key_bob
    return [p_key * s for s in split(Basis.KEY)] + [(1 - p_key) * s for s in split(Basis.TEST)]


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
            plain = _is_coherent(outcome)
            if outcome.kind in ("pass", "deaden"):
                pulse = (protocol.intensities[code >> 2], (code >> 1) & 1, code & 1)
            else:
                pulse = (outcome.mean_photons if outcome.kind == "resend" else 0.0, outcome.basis, outcome.value)
            for bob_basis in list(Basis)[:choices]:
                p_bob = 1.0
                if choices == 2:
                    p_bob = protocol.p_key_bob if bob_basis == Basis.KEY else 1 - protocol.p_key_bob
                row = (number * 16 + code) * choices + bob_basis
                means = detected_photons(devices, *pulse, bob_basis)
                law = None if plain else _law(devices, outcome, means, bob_basis)
                means = means if plain else np.zeros_like(means)
                found.append(Case(row, code, bob_basis, p_code * p_outcome * p_bob, means, law))
    return found


def _is_coherent(outcome: Outcome) -> bool:
    """Say whether an outcome is phase-randomised coherent light at its proper time, or none."""
    plain = not outcome.photons and not outcome.shift and outcome.gain == 1
    return outcome.kind in ("pass", "stop", "resend") and plain


def _law(devices: LinkDevices, outcome: Outcome, means: F64, bob_basis: int) -> Law:
    """Return what light does that no honest Alice sends."""
    dark = dark_means(devices)
    nothing = independent(np.zeros(len(means)))
    if abs(outcome.shift) > devices.gate_fraction / 2:  # no click of it counts
        return Law(nothing, dark)
    if outcome.kind == "bright":
        light = independent(_linear_clicks(devices, outcome, bob_basis))
        return Law(light, np.zeros_like(dark) if outcome.blind else dark, outcome.shift)
    if outcome.kind == "deaden":
        return _deadened(devices, outcome, outcome.gain * means, bob_basis)
    if outcome.photons:
        receiver = devices.receiver
        given = np.array(shares(devices, outcome.basis, outcome.value, bob_basis)) * np.array(receiver.efficiency)
        return Law(photon_by_photon(outcome.photons, given * transmittance(receiver.loss_db)), dark)
    clicks = [-np.expm1(-outcome.gain * means * response) for response in _responses(devices, outcome.shift)]
    return Law(np.mean([independent(p) for p in clicks], axis=0), dark, outcome.shift)


def _responses(devices: LinkDevices, shift: float) -> list[F64]:
    """Return the detectors' efficiencies for light at a shift, relative to those on time; several where Bob swaps.

    Light that comes early finds the detectors of value 1 worse, light that comes late those of value 0, in proportion
    to the shift up to the one that the mismatch is given for (Qi, Fung, Lo, Ma 2007, arXiv:quant-ph/0512080).
    """
    flaws, detectors = devices.flaws, devices.receiver.detectors
    worse = 1 - (1 - flaws.mismatch) * min(abs(shift) / flaws.mismatch_shift, 1.0)
    values = np.arange(detectors) & 1
    one = np.where(values == (1 if shift < 0 else 0), worse, 1.0)
    return [one, 1 + worse - one] if devices.guards.four_state else [one]


def _linear_clicks(devices: LinkDevices, outcome: Outcome, bob_basis: int) -> F64:
    """Return how likely each detector answers a bright pulse; several powers below a threshold do not add up."""
    powers = outcome.power_uw * np.array(shares(devices, outcome.basis, outcome.value, bob_basis))
    return np.array([devices.flaws.linear_click(float(power)) for power in powers])


def _deadened(devices: LinkDevices, outcome: Outcome, means: F64, bob_basis: int) -> Law:
    """Return what the pulse after a flash does: each detector that the flash made click is blind to it."""
    receiver, dark = devices.receiver, dark_means(devices)
    flash = outcome.mean_photons * transmittance(receiver.loss_db) * np.array(receiver.efficiency)
    alive = np.exp(-flash * np.array(shares(devices, outcome.basis, outcome.value, bob_basis)))
    light, darkness = alive * -np.expm1(-means), alive * dark
    if devices.flaws.dead_each and not devices.guards.all_alive:
        return Law(independent(light), darkness)
    all_alive = float(np.prod(alive))  # one click blinds all, or makes all of them not count
    lit = independent(-np.expm1(-means))
    none = independent(np.zeros(len(means)))
    return Law(all_alive * lit + (1 - all_alive) * none, all_alive * dark)
