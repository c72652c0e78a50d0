"""Intercept and resend: Eve measures a share of the pulses as they leave Alice, and sends what she read.

In: the link's devices and the share.  Out: a `Tap` for the light; afterwards, Eve's own record.

She has ideal detectors and no loss, measures in a basis of her own choice, takes a value at random when both her
detectors click, sends nothing when none does, and otherwise a coherent pulse of her basis and value, as bright as
keeps Bob's total gain. Half of her bases are wrong, and there Bob's value is a coin: she adds x/4 to the error rate
and learns x/2 of a bit for each sifted bit (Bennett, Bessette, Brassard, Salvail, Smolin 1992, "Experimental quantum
cryptography"). At x = 1 the channel breaks entanglement, so no key at all may come out (Curty, Lewenstein,
Lütkenhaus 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noclone.link.devices import LinkDevices
from noclone.link.tap import PASS, SETTINGS, Outcome, Tap
from noclone.records import U8, Basis, Detections
from noclone.units import transmittance

_BRIGHTEST = 1e3  # photons, where even a perfect channel cannot reach the wanted gain


@dataclass(frozen=True, slots=True)
class EveRecord:
    """What Eve wrote down about each detection of a block.

    Args:
        intercepted: She read this pulse and sent one in its place.
        basis: In which she measured; meaningless where she read nothing.
        value: What she read; meaningless where she read nothing.
    """

    intercepted: NDArray[np.bool_] = field(repr=False)
    basis: U8 = field(repr=False)
    value: U8 = field(repr=False)


@dataclass(frozen=True, slots=True)
class EveInformation:
    """What her record is worth, measured on the sifted bits (both bases) after the bases were announced.

    Args:
        sifted_bits: Detections where Alice's and Bob's bases agree.
        intercepted_bits: Those that she had read.
        information_bits: Mutual information between her record and Alice's bits, summed over them.
    """

    sifted_bits: int
    intercepted_bits: int
    information_bits: float

    @property
    def per_sifted_bit(self) -> float:
        """Information per sifted bit; x/2 is expected."""
        return self.information_bits / self.sifted_bits if self.sifted_bits else 0.0


def resent_photons(devices: LinkDevices) -> float:
    """Return the mean photon number of Eve's pulses that keeps Bob's gain, averaged over Alice's intensities.

    With detection 1 - exp(-mu T) (physics of threshold detectors; Ma, Qi, Zhao, Lo 2005, Eq. 10 without dark counts)
    and Eve reading something with probability 1 - exp(-mu): sum p (1 - exp(-mu T)) = sum p (1 - exp(-mu)) * (1 -
    exp(-m T)).
    """
    receiver = devices.receiver
    efficiency = sum(receiver.efficiency) / len(receiver.efficiency)
    total = transmittance(devices.fibre.loss_db + receiver.loss_db) * efficiency
    if total <= 0:
        return 0.0
    honest = -math.fsum(p * math.expm1(-mu * total) for p, mu in _sent(devices))
    read = -math.fsum(p * math.expm1(-mu) for p, mu in _sent(devices))
    share = honest / read if read > 0 else 0.0
    return min(_BRIGHTEST, -math.log1p(-share) / total) if share < 1 else _BRIGHTEST


def _sent(devices: LinkDevices) -> list[tuple[float, float]]:
    protocol = devices.source.protocol
    return list(zip(protocol.probabilities, protocol.intensities, strict=True))


def intercept_resend(devices: LinkDevices, fraction: float, *, p_key: float = 0.5) -> Tap:
    """Return the tap that intercepts a share of all pulses.

    Args:
        fraction: Share of the pulses, 0 to 1, chosen at random.
        p_key: How often Eve measures in the key basis.
    """
    for name, probability in (("fraction", fraction), ("p_key", p_key)):
        if not 0 <= probability <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, and is {probability!r}")
    photons = resent_photons(devices)
    resends = [Outcome("resend", photons, basis, value) for basis in Basis for value in (0, 1)]
    outcomes = (PASS, Outcome("stop"), *resends)
    protocol = devices.source.protocol
    rows = []
    for code in range(SETTINGS):
        intensity = code >> 2
        mu = protocol.intensities[intensity] if intensity < len(protocol.intensities) else 0.0
        p_read = -math.expm1(-mu)
        row = [1 - fraction, fraction * (1 - p_read)]
        for outcome in resends:
            p_basis = p_key if outcome.basis == Basis.KEY else 1 - p_key
            # In the wrong basis both detectors see mu/2 photons on average: by symmetry her value is a fair coin.
            p_value = float(outcome.value == code & 1) if outcome.basis == (code >> 1) & 1 else 0.5
            row.append(fraction * p_read * p_basis * p_value)
        rows.append(tuple(row))
    return Tap(outcomes, tuple(rows))


def eve_record(
    detections: Detections, devices: LinkDevices, tap: Tap, *, alice_seed: bytes, physics_seed: bytes
) -> EveRecord:
    """Return what Eve wrote down in the run that gave these detections, worked out again from its seeds."""
    from noclone.link.aes import aes256_keys
    from noclone.link.aes_simd import AES
    from noclone.link.choices import eve_outcomes
    from noclone.link.clicktable import eve_limits
    from noclone.link.light import physics_key
    from noclone.link.settings import SeededSettings

    slots = detections.slots
    codes = SeededSettings(alice_seed, devices.source.protocol).at(slots)
    keys = aes256_keys(physics_key(physics_seed, detections.link, detections.block, "eve"))
    drawn = np.empty(len(slots), np.int64)
    eve_outcomes(AES, keys, slots, eve_limits(tap), codes, drawn)
    return EveRecord(
        np.array([o.kind == "resend" for o in tap.outcomes])[drawn],
        np.array([int(o.basis) for o in tap.outcomes], np.uint8)[drawn],
        np.array([o.value for o in tap.outcomes], np.uint8)[drawn],
    )


def information(record: EveRecord, detections: Detections, codes: U8) -> EveInformation:
    """Return how much her record tells about the sifted bits.

    Args:
        codes: Alice's settings in the slots of the detections.
    """
    alice_basis = (codes >> 1) & 1
    sifted = alice_basis == detections.bases
    right = record.value == (codes & 1)
    total = 0.0
    for same_basis in (True, False):
        those = sifted & record.intercepted & ((record.basis == alice_basis) == same_basis)
        total += int(those.sum()) * _capacity(float(right[those].mean()) if those.any() else 0.5)
    return EveInformation(int(sifted.sum()), int((sifted & record.intercepted).sum()), total)


def _capacity(p: float) -> float:
    """Return what one reading of a bit is worth that is right with probability p: 1 - h(p)."""
    if p in (0.0, 1.0):
        return 1.0
    return 1 + p * math.log2(p) + (1 - p) * math.log2(1 - p)
