"""The attacks that there are, by name: plain data of a scenario or a command -> what the attacked layer takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from noclone.errors import InputError
from noclone.link.devices import LinkDevices
from noclone.link.tap import Tap
from noclone.redteam.intercept_resend import intercept_resend


@dataclass(frozen=True, slots=True)
class LightAttack:
    """An attack on the light of one link.

    Args:
        does: What Eve does.
        hopes: What she hopes for.
        caught_by: What should catch her.
        tap: Builds the tap from the devices and a strength between 0 and 1.
    """

    does: str
    hopes: str
    caught_by: str
    tap: Callable[[LinkDevices, float], Tap]


LIGHT_ATTACKS = {
    "intercept-resend": LightAttack(
        does="measures a share of the pulses in bases of her own choice, and sends what she read",
        hopes="half a bit of every sifted bit that she touched",
        caught_by="the error rate, which rises by a quarter of her share",
        tap=intercept_resend,
    ),
}


def resolve(name: str, strength: float, devices: LinkDevices) -> Tap:
    """Return the tap of an attack.

    Raises:
        InputError: There is no such attack, or the strength is impossible.
    """
    attack = LIGHT_ATTACKS.get(name)
    if attack is None:
        raise InputError(f"there is no attack '{name}'", hint=f"there is: {', '.join(LIGHT_ATTACKS)}")
    if not 0 <= strength <= 1:
        raise InputError(f"an attack's strength lies between 0 and 1, not {strength}")
    return attack.tap(devices, strength)
