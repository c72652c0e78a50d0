"""The attacks on light that there are, by name: plain data of a scenario or a command -> who sits on the link."""

from __future__ import annotations

from noclone.errors import InputError
from noclone.link.devices import LinkDevices
from noclone.link.lights import LinkLight
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
from noclone.redteam.middle import MIDDLE_ATTACKS
from noclone.spelling import choices

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


def resolve(name: str, strength: float, light: LinkLight) -> Eavesdropper:
    """Return who carries out an attack on a link.

    Raises:
        InputError: There is no such attack on light or messages, or none on this light; or the strength is impossible.
    """
    every = {**LIGHT_ATTACKS, **MIDDLE_ATTACKS, **MESSAGE_ATTACKS}
    if name not in every:
        raise InputError(f"there is no attack '{name}' on a link", hint=choices(name, every))
    if not 0 <= strength <= 1:
        raise InputError(f"an attack's strength lies between 0 and 1, not {strength}")
    if name in LIGHT_ATTACKS:
        if not isinstance(light, LinkDevices):
            raise InputError(
                f"'{name}' is an attack on decoy-bb84 links, and this is one of {light.protocol.NAME}",
                hint=f"on what is in the middle of others: {', '.join(MIDDLE_ATTACKS)}",
            )
        return LIGHT_ATTACKS[name].eavesdropper(light, strength)
    return (MIDDLE_ATTACKS.get(name) or MESSAGE_ATTACKS[name]).eavesdropper(light, strength)
