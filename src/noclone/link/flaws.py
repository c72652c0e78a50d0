"""What real devices do beyond their data sheet, and the meters and rules that guard against it.

In: numbers with units, from the scenario.  Out: two frozen records that `optics` and `telemetry` read. With the
defaults nothing happens: the light is that of the ideal devices, bit for bit. A flaw alone changes nothing either; it
takes light that no honest Alice sends (`tap.Outcome`) to bring it out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low:g} and {high:g}, and is {value!r}")


@dataclass(frozen=True, slots=True)
class Flaws:
    """What an attacker can bring out of a link's devices.

    Args:
        linear_never_uw: Power of a bright pulse up to which a detector in linear mode never clicks; infinite where
            bright light does not blind it. Clavis2: 647.697 (Lydersen et al., Nature Photonics 4, 686 (2010)).
        linear_always_uw: Power from which it always clicks; Clavis2: 808.932.
        mismatch: Efficiency of the worse detector over that of the better one, for light that comes `mismatch_shift`
            early (detector 1 is the worse one) or late (detector 0 is); 1: both alike at any time.
        mismatch_shift: In slots.
        dead_each: Each detector is dead for itself, so one may still count while another is blind.
        probe_loss_db: Of light that is sent into Alice's lab until it is back out of it, her modulators included.
        seed_gain: By which share her laser is brighter when bright light is sent into it.
        damage_db: Loss of her attenuator that bright light burns away.
        setting_leak: How often Eve learns which intensity a pulse had, from its neighbours' patterns for instance.
    """

    linear_never_uw: float = math.inf
    linear_always_uw: float = math.inf
    mismatch: float = 1.0
    mismatch_shift: float = 0.25
    dead_each: bool = False
    probe_loss_db: float = 170.0
    seed_gain: float = 0.0
    damage_db: float = 0.0
    setting_leak: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.linear_never_uw <= self.linear_always_uw:
            raise ValueError("linear_never_uw must be above 0 and at most linear_always_uw")
        _within("mismatch", self.mismatch, 0, 1)
        _within("mismatch_shift", self.mismatch_shift, 0.05, 0.45)
        _within("probe_loss_db", self.probe_loss_db, 0, 400)
        _within("seed_gain", self.seed_gain, 0, 100)
        _within("damage_db", self.damage_db, 0, 60)
        _within("setting_leak", self.setting_leak, 0, 1)

    def linear_click(self, power_uw: float) -> float:
        """Return how likely a detector in linear mode clicks; between its two powers the chance grows evenly."""
        if power_uw <= self.linear_never_uw or math.isinf(self.linear_never_uw):
            return 0.0
        if power_uw >= self.linear_always_uw:
            return 1.0
        return (power_uw - self.linear_never_uw) / (self.linear_always_uw - self.linear_never_uw)


@dataclass(frozen=True, slots=True)
class Guards:
    """The meters and rules of a link; each is there or is not.

    Args:
        photocurrent: Bob reads the current through his detectors (Yuan, Dynes, Shields, Nature Photonics 4, 800
        (2010)). dark_slots: Share of the time in which Bob's shutter is closed and he counts what his detectors do by
        themselves. arrivals: Bob keeps a histogram of arrival times. output_meter: Alice measures the mean brightness
        of what leaves her. input_meter: Alice measures what enters her lab (a watchdog detector). setting_meter:
        Alice measures how much a pulse's brightness depends on the pulses before it. all_alive: A click counts only
        while all of Bob's detectors can click. four_state: Bob swaps his detectors at random, so which of them
        clicked does not tell his bit.
    """

    photocurrent: bool = False
    dark_slots: float = 0.0
    arrivals: bool = False
    output_meter: bool = False
    input_meter: bool = False
    setting_meter: bool = False
    all_alive: bool = False
    four_state: bool = False

    def __post_init__(self) -> None:
        _within("dark_slots", self.dark_slots, 0, 0.1)
