"""Intensity correlations: the pulses around one tell Eve its intensity, and decoys are decoys no more.

In: devices whose intensity depends on earlier settings, and how much of that Eve uses.  Out: a tap. How often she
knows an intensity is the device's `setting_leak`. Knowing it she splits photon numbers as in
`photon_number_splitting`, but keeps the gain of each intensity by itself, so nothing that is counted changes, and the
decoy bounds, which rest on yields that do not depend on the intensity, are wrong (Yoshino et al., npj Quantum Inf. 4,
8 (2018); Zapatero, Navarrete, Tamaki, Curty, Quantum 5, 602 (2021), arXiv:2105.11165). What helps is to measure the
correlation and to discard blocks.
"""

from __future__ import annotations

from noclone.link.devices import LinkDevices
from noclone.link.flaws import Flaws, Guards
from noclone.link.tap import SETTINGS, Tap
from noclone.redteam.light import LightAttack, photons_of, tap_of
from noclone.redteam.photon_number_splitting import _known, kept_one, sieve, sieved


def splitting_by_setting(devices: LinkDevices, strength: float) -> Tap:
    """Return the tap that splits each intensity as its own gain asks for, where Eve knows it."""
    share = strength * devices.flaws.setting_leak
    means = [photons_of(devices, code) for code in range(SETTINGS)]
    return tap_of([sieved(code, mean, sieve(devices, mean), share) for code, mean in enumerate(means)])


def known_share(devices: LinkDevices, strength: float) -> float:
    """Return the share of sifted bits that she knows."""
    gaps = [sieve(devices, mean) for mean in devices.source.protocol.intensities]
    return _known(devices, gaps, strength * devices.flaws.setting_leak)


ATTACK = LightAttack(
    "intensity-correlation",
    record=kept_one,
    bits=known_share,
    tap=splitting_by_setting,
    flaws=Flaws(setting_leak=1.0),
    guards=Guards(setting_meter=True),
)
