"""The attacks on light that there are, by name: plain data of a scenario or a command -> who sits on the link."""

from __future__ import annotations

from noclone.errors import InputError
from noclone.link.devices import LinkDevices
from noclone.link.tap import Eavesdropper
from noclone.redteam import (
    after_gate,
    beam_splitting,
    blinding,
    dead_time,
    delay,
    fibre_cut,
    intensity_correlation,
    intercept_resend,
    jamming,
    laser_damage,
    laser_seeding,
    photon_number_splitting,
    reordering,
    replay,
    suppression,
    tampering,
    time_shift,
    trojan_horse,
    truncation,
)
from noclone.redteam.light import LightAttack
from noclone.redteam.messages import MessageAttack

LIGHT_ATTACKS: dict[str, LightAttack] = {
    module.ATTACK.name: module.ATTACK
    for module in (
        intercept_resend,
        photon_number_splitting,
        beam_splitting,
        blinding,
        trojan_horse,
        time_shift,
        after_gate,
        dead_time,
        laser_seeding,
        laser_damage,
        intensity_correlation,
        fibre_cut,
        jamming,
    )
}


EXHAUSTION = MessageAttack("authentication-exhaustion", tampering.turn_one_bit)  # each block so spoilt costs tag keys
MESSAGE_ATTACKS: dict[str, MessageAttack] = {
    attack.name: attack
    for attack in (
        *(module.ATTACK for module in (tampering, replay, reordering, truncation, delay, suppression)),
        EXHAUSTION,
    )
}


def resolve(name: str, strength: float, devices: LinkDevices) -> Eavesdropper:
    """Return who carries out an attack on a link.

    Raises:
        InputError: There is no such attack on light or messages, or the strength is impossible.
    """
    attack = LIGHT_ATTACKS.get(name) or MESSAGE_ATTACKS.get(name)
    if attack is None:
        raise InputError(
            f"there is no attack '{name}' on a link", hint=f"there is: {', '.join([*LIGHT_ATTACKS, *MESSAGE_ATTACKS])}"
        )
    if not 0 <= strength <= 1:
        raise InputError(f"an attack's strength lies between 0 and 1, not {strength}")
    return attack.eavesdropper(devices, strength)
