"""The devices of one link, as their data sheets give them: source, fibre, receiver.

In: numbers with units.  Out: frozen records that are physically possible, for `light` and `theory` alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from noclone.link.flaws import Flaws, Guards
from noclone.records import DecoyBB84
from noclone.units import PS_PER_S

MAX_JITTER_PERIODS = 10.0


def _check(name: str, value: float, low: float, high: float = math.inf) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        limit = f"between {low:g} and {high:g}" if math.isfinite(high) else f"{low:g} or more"
        raise ValueError(f"{name} must be {limit}, and is {value!r}")


@dataclass(frozen=True, slots=True)
class Source:
    """Alice's transmitter: phase-randomised weak coherent pulses, one a slot.

    Args:
        clock_hz: Slots per second.
        protocol: Intensities, bases and how often each is used.
    """

    clock_hz: float
    protocol: DecoyBB84

    def __post_init__(self) -> None:
        _check("clock_hz", self.clock_hz, 1.0, 1e12)

    @property
    def period_ps(self) -> float:
        """Length of a slot."""
        return PS_PER_S / self.clock_hz


@dataclass(frozen=True, slots=True)
class Fibre:
    """The quantum channel.

    Args:
        extra_loss_db: Connectors, splices, filters.
    """

    length_km: float
    attenuation_db_per_km: float
    extra_loss_db: float = 0.0

    def __post_init__(self) -> None:
        _check("length_km", self.length_km, 0.0)
        _check("attenuation_db_per_km", self.attenuation_db_per_km, 0.0)
        _check("extra_loss_db", self.extra_loss_db, 0.0)

    @property
    def loss_db(self) -> float:
        """All loss between Alice's output and Bob's input."""
        return self.length_km * self.attenuation_db_per_km + self.extra_loss_db


@dataclass(frozen=True, slots=True)
class Receiver:
    """Bob's receiver: optics and single-photon detectors, which run freely and are cut to a gate afterwards.

    A detector clicks at most once a slot from the light and the dark counts of that slot; every click, inside the gate
    or not, starts its dead time and may be followed by an afterpulse.

    Args:
        scheme: "active": Bob draws a basis for each slot; two detectors, numbered by value.
            "passive": a beam splitter draws; four detectors, numbered 2 * basis + value.
        efficiency: Of each detector.
        dark_count_hz: Of each detector.
        dead_time_ns: Blind time of a detector from each of its clicks; a click does not prolong it.
        afterpulse_probability: That a click is followed by one more, after the dead time and an exponential delay.
        afterpulse_lifetime_ns: Mean of that delay.
        jitter_ps: Standard deviation of the (Gaussian) error of a photon's arrival time.
        gate_ps: Width of the window around the slot's centre in which clicks count; 0 or None: the whole slot.
        misalignment: Probability that a photon goes to the other detector of its basis.
        loss_db: Loss inside the receiver, before the detectors.
    """

    scheme: Literal["active", "passive"]
    efficiency: tuple[float, ...]
    dark_count_hz: tuple[float, ...]
    dead_time_ns: float = 0.0
    afterpulse_probability: float = 0.0
    afterpulse_lifetime_ns: float = 0.0
    jitter_ps: float = 0.0
    gate_ps: float | None = None
    misalignment: float = 0.0
    loss_db: float = 0.0

    def __post_init__(self) -> None:
        if self.scheme not in ("active", "passive"):
            raise ValueError(f'scheme must be "active" or "passive", and is {self.scheme!r}')
        for name in ("efficiency", "dark_count_hz"):
            if len(getattr(self, name)) != self.detectors:
                raise ValueError(
                    f"{name} needs {self.detectors} numbers for a receiver with {self.scheme} basis choice"
                )
        for value in self.efficiency:
            _check("efficiency", value, 0.0, 1.0)
        for value in self.dark_count_hz:
            _check("dark_count_hz", value, 0.0)
        _check("dead_time_ns", self.dead_time_ns, 0.0, 1e9)
        _check("afterpulse_probability", self.afterpulse_probability, 0.0, 0.95)
        _check("afterpulse_lifetime_ns", self.afterpulse_lifetime_ns, 0.0, 1e9)
        _check("jitter_ps", self.jitter_ps, 0.0)
        _check("gate_ps", self.gate_ps or 0.0, 0.0)
        _check("misalignment", self.misalignment, 0.0, 1.0)
        _check("loss_db", self.loss_db, 0.0)

    @property
    def detectors(self) -> int:
        """How many detectors there are."""
        return 2 if self.scheme == "active" else 4


@dataclass(frozen=True, slots=True)
class Clocked:
    """A receiver beside the clock of the light that comes to it: its times, in slots."""

    receiver: Receiver
    clock_hz: float

    def __post_init__(self) -> None:
        period_ps = PS_PER_S / self.clock_hz
        # Rates whose period is no whole number of ps leave a rounding error of 1e-16 here.
        if (self.receiver.gate_ps or 0.0) > period_ps * (1 + 1e-9):
            raise ValueError(f"gate_ps must not exceed the slot's period of {period_ps:g} ps")
        if self.receiver.jitter_ps > MAX_JITTER_PERIODS * period_ps:
            raise ValueError(f"jitter_ps must not exceed {MAX_JITTER_PERIODS:g} periods of {period_ps:g} ps")

    @property
    def gate_fraction(self) -> float:
        """Share of the slot that the gate covers."""
        gate_ps = self.receiver.gate_ps
        return min(1.0, gate_ps / (PS_PER_S / self.clock_hz)) if gate_ps else 1.0

    @property
    def jitter_periods(self) -> float:
        """Standard deviation of the arrival time, in slots."""
        return self.receiver.jitter_ps / (PS_PER_S / self.clock_hz)

    @property
    def dead_time_periods(self) -> float:
        """Dead time in slots."""
        return self.receiver.dead_time_ns * 1e-9 * self.clock_hz

    @property
    def afterpulse_lifetime_periods(self) -> float:
        """Mean afterpulse delay, counted from the end of the dead time, in slots."""
        return self.receiver.afterpulse_lifetime_ns * 1e-9 * self.clock_hz

    @property
    def in_gate(self) -> float:
        """Share of its slot's photons that arrive within the gate."""
        sigma = self.jitter_periods
        return math.erf(self.gate_fraction / (2 * math.sqrt(2) * sigma)) if sigma > 0 else 1.0


@dataclass(frozen=True, slots=True)
class LinkDevices:
    """Everything that the light meets on one link, with what it may do beyond its data sheet; see `flaws`."""

    source: Source
    fibre: Fibre
    receiver: Receiver
    flaws: Flaws = field(default_factory=Flaws)
    guards: Guards = field(default_factory=Guards)

    def __post_init__(self) -> None:
        assert self.clocked  # refuses what does not fit the clock

    @property
    def clock_hz(self) -> float:
        """Slots per second."""
        return self.source.clock_hz

    @property
    def protocol(self) -> DecoyBB84:
        """What both ends agree on."""
        return self.source.protocol

    @property
    def loss_db(self) -> float:
        """Loss between the two ends."""
        return self.fibre.loss_db

    @property
    def clocked(self) -> Clocked:
        """The receiver beside the source's clock."""
        return Clocked(self.receiver, self.source.clock_hz)

    @property
    def gate_fraction(self) -> float:
        """Share of the slot that the gate covers."""
        return self.clocked.gate_fraction

    @property
    def jitter_periods(self) -> float:
        """Standard deviation of the arrival time, in slots."""
        return self.clocked.jitter_periods

    @property
    def dead_time_periods(self) -> float:
        """Dead time in slots."""
        return self.clocked.dead_time_periods

    @property
    def afterpulse_lifetime_periods(self) -> float:
        """Mean afterpulse delay, counted from the end of the dead time, in slots."""
        return self.clocked.afterpulse_lifetime_periods
