"""Laser damage: bright light burns Alice's attenuator, which then lets more light out for good.

In: devices whose attenuator can be damaged (`flaws.damage_db`), and how far.  Out: as in `laser_seeding`, but
lasting. (Makarov, Bourgoin, Chaiwongkhot et al., Phys. Rev. A 94, 030302 (2016); Huang et al., Phys. Rev. Applied 13,
034017 (2020): attenuators lost several dB.) What helps is a power meter at the output, and a fuse that breaks before
they do.
"""

from __future__ import annotations

from noclone.link.devices import LinkDevices
from noclone.link.flaws import Flaws, Guards
from noclone.redteam.beam_splitting import kept_light, known_share
from noclone.redteam.light import LightAttack, brighter


def damaged(devices: LinkDevices, strength: float) -> LinkDevices:
    """Return the link with its attenuator burnt."""
    return brighter(devices, float(10 ** (strength * devices.flaws.damage_db / 10)))


ATTACK = LightAttack(
    "laser-damage",
    record=lambda view, _strength: kept_light(view, 1.0),
    bits=lambda devices, strength: known_share(damaged(devices, strength), 1.0),
    changed=damaged,
    flaws=Flaws(damage_db=5.0),
    guards=Guards(output_meter=True),
    corrected="true intensities",
)
