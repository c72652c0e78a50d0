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
    fibre_cut,
    intensity_leak,
    intercept_resend,
    jamming,
    laser_damage,
    laser_seeding,
    photon_number_splitting,
    time_shift,
    trojan_horse,
)
from noclone.redteam.light import LightAttack

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
        intensity_leak,
        fibre_cut,
        jamming,
    )
}


def resolve(name: str, strength: float, devices: LinkDevices) -> Eavesdropper:
    """Return who carries out an attack.

    Raises:
        InputError: There is no such attack on light, or the strength is impossible.
    """
    attack = LIGHT_ATTACKS.get(name)
    if attack is None:
        raise InputError(f"there is no attack '{name}' on light", hint=f"there is: {', '.join(LIGHT_ATTACKS)}")
    if not 0 <= strength <= 1:
        raise InputError(f"an attack's strength lies between 0 and 1, not {strength}")
    return attack.eavesdropper(devices, strength)
