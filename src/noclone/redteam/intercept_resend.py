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

import numpy as np

from noclone.link.devices import LinkDevices
from noclone.link.overheard import Overheard
from noclone.link.tap import PASS, SETTINGS, Outcome, Tap
from noclone.records import Basis
from noclone.redteam.light import LightAttack
from noclone.redteam.record import EveRecord
from noclone.units import transmittance

_BRIGHTEST = 1e3  # photons, where even a perfect channel cannot reach the wanted gain


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


def eve_record(view: Overheard, _strength: float = 1.0) -> EveRecord:
    """Return what Eve wrote down: ground 1 where she measured in Alice's basis, 2 where in the other one.

    Which it was she learns when the bases are announced.
    """
    outcomes = view.tap.outcomes
    read = np.array([o.kind == "resend" for o in outcomes])[view.outcomes]
    basis = np.array([int(o.basis) for o in outcomes], np.uint8)[view.outcomes]
    value = np.array([o.value for o in outcomes], np.uint8)[view.outcomes]
    other = basis != (view.codes >> 1) & 1
    return EveRecord(value, (read * (1 + other)).astype(np.uint8))


ATTACK = LightAttack(
    "intercept-resend",
    record=eve_record,
    bits=lambda _devices, strength: strength / 2,
    tap=intercept_resend,
    naive="errors are noise",
)
