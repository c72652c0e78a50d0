"""Laser seeding: light sent into Alice's laser makes it brighter than she knows, and Eve keeps the surplus.

In: devices whose laser can be seeded (`flaws.seed_gain`), and how strongly it is.  Out: a brighter source, a fibre
with as much more loss, and beam splitting. Bob counts what he always counted; the bounds are worked out with a mean
photon number that is too small (Huang, Navarrete, Sun, Chaiwongkhot, Curty, Makarov, Phys. Rev. Applied 12, 064043
(2019)). What helps is a power meter at Alice's output, and isolators before the laser.
"""

from __future__ import annotations

from noclone.link.devices import LinkDevices
from noclone.link.flaws import Flaws, Guards
from noclone.redteam.beam_splitting import kept_light, known_share
from noclone.redteam.light import LightAttack, brighter


def seeded(devices: LinkDevices, strength: float) -> LinkDevices:
    """Return the link with its laser seeded."""
    return brighter(devices, 1 + strength * devices.flaws.seed_gain)


ATTACK = LightAttack(
    "laser-seeding",
    record=lambda view, _strength: kept_light(view, 1.0),
    bits=lambda devices, strength: known_share(seeded(devices, strength), 1.0),
    changed=seeded,
    flaws=Flaws(seed_gain=2.5),
    guards=Guards(output_meter=True),
    corrected="true intensities",
)
