"""How much key one pass of a satellite gives: a finite block whose loss and noise change from second to second.

In: a pass, a downlink, a link's devices.  Out: a `PassKey`. The expected counts of every second are added up, by the
same theory as a fibre's (`link.theory`), and the whole pass is one block of the proof. Pointing that trembles makes
several losses of a second.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from noclone.link.devices import Fibre, LinkDevices
from noclone.link.satellite import Downlink, Pass
from noclone.link.theory import ExpectedCounts, expected_counts, total_counts
from noclone.proofs.agreement import agree
from noclone.proofs.epsilon import Epsilons

F64 = NDArray[np.float64]
LOSS_STEP_DB, NOISE_STEP = 0.05, 0.05
FADES = 6


@dataclass(frozen=True, slots=True)
class PassKey:
    """What a pass gives.

    Args:
        sifted_bits: In the key basis.
        sifted_bits_both_bases: What publications mostly count.
        qber: In the test basis.
        losses_db: Least and most, pointing by its mean.
        reason: Why there is no key, else empty.
    """

    secret_bits: int
    sifted_bits: int
    sifted_bits_both_bases: int
    qber: float
    seconds: float
    losses_db: tuple[float, float]
    reason: str


class Seen(Protocol):
    """A pass in equal steps: slant range, elevation, and how high the Sun stands, as `link.orbit.Track` has them."""

    @property
    def step_s(self) -> float: ...
    @property
    def range_km(self) -> F64: ...
    @property
    def elevation_deg(self) -> F64: ...
    @property
    def sun_deg(self) -> F64: ...


@dataclass(frozen=True, slots=True)
class Geometry:
    """A pass that has no date: at night."""

    step_s: float
    range_km: F64
    elevation_deg: F64
    sun_deg: F64


def geometry(over: Pass, step_s: float) -> Geometry:
    """Return a pass over an Earth that does not turn, in steps of about `step_s`."""
    times = list(over.seconds(step_s))
    distances = np.array([over.range_km(t) for t in times])
    elevations = np.array([over.elevation_deg(t) for t in times])
    return Geometry(over.duration_s / len(times), distances, elevations, np.full(len(times), -90.0))


def moments(
    seen: Seen, downlink: Downlink, fades: int, sky_hz: Callable[[float], float]
) -> Iterator[tuple[float, float, float]]:
    """Yield loss in dB, light of the sky and seconds, in order: each step in so many cases of pointing.

    Args:
        sky_hz: For the Sun's elevation.
    """
    cases = downlink.fades_db(fades)
    for distance_km, elevation, sun in zip(seen.range_km, seen.elevation_deg, seen.sun_deg, strict=True):
        steady_db, noise_hz = downlink.steady_db(float(distance_km), float(elevation)), sky_hz(float(sun))
        for fade_db in cases:
            yield steady_db + fade_db, noise_hz, seen.step_s / len(cases)


def steady(seen: Seen, downlink: Downlink, sky_hz: Callable[[float], float]) -> Iterator[tuple[float, float, float]]:
    """Yield the same, pointing by its mean: one case of each step."""
    for distance_km, elevation, sun in zip(seen.range_km, seen.elevation_deg, seen.sun_deg, strict=True):
        yield downlink.loss_db(float(distance_km), float(elevation)), sky_hz(float(sun)), seen.step_s


def losses_db(seen: Seen, downlink: Downlink) -> F64:
    """Return the loss of each step of a pass, pointing by its mean."""
    return np.array([loss_db for loss_db, _, _ in steady(seen, downlink, lambda _: 0.0)])


def least_and_most(losses: F64) -> tuple[float, float]:
    """Return the ends of the range that these lie in."""
    return float(losses.min()), float(losses.max())


def rounded_up(loss_db: float, sky_hz: float) -> tuple[int, int]:
    """Return loss and noise in whole steps, a little more than they are: it errs on the safe side."""
    return math.ceil(loss_db / LOSS_STEP_DB - 1e-9), math.ceil(math.log1p(sky_hz) / NOISE_STEP - 1e-9)


def sky_of(steps: int) -> float:
    """Return the light of the sky that was rounded up to so many steps."""
    return math.expm1(steps * NOISE_STEP)


class Gains:
    """What a slot gives, by loss and noise in small steps: looked up where many passes share them.

    Args:
        devices: Source and receiver, for so many counts a second of the sky's light in each detector.
    """

    def __init__(self, devices: Callable[[float], LinkDevices]) -> None:
        quiet = devices(0.0)
        self.clock_hz, self.protocol = quiet.source.clock_hz, quiet.source.protocol
        self._devices = devices
        self._known: dict[tuple[int, int], ExpectedCounts] = {}
        self._met: dict[tuple[int, int], LinkDevices] = {}

    def __call__(self, place: tuple[int, int]) -> ExpectedCounts:
        """Return the expected counts of one slot."""
        if place not in self._known:
            self._known[place] = expected_counts(self.devices(place), 1)
        return self._known[place]

    def devices(self, place: tuple[int, int]) -> LinkDevices:
        """Return what the light meets under a loss and a noise."""
        if place not in self._met:
            loss, noise = place
            devices = self._devices(sky_of(noise))
            self._met[place] = replace(devices, fibre=Fibre(0.0, 0.0, loss * LOSS_STEP_DB))
        return self._met[place]


class Exposure:
    """Expected counts of one block under many losses and noises, both rounded up a little: it errs on the safe side."""

    def __init__(self, gains: Gains) -> None:
        self._gains = gains
        self._seconds: defaultdict[tuple[int, int], float] = defaultdict(float)

    def add(self, loss_db: float, sky_hz: float, seconds: float) -> None:
        """Let light through for a while."""
        self._seconds[rounded_up(loss_db, sky_hz)] += seconds

    def counts(self) -> ExpectedCounts:
        """Return the counts of the whole block."""
        clock_hz = self._gains.clock_hz
        return total_counts((self._gains(place), seconds * clock_hz) for place, seconds in self._seconds.items())

    def key(self, losses_db: tuple[float, float], epsilons: Epsilons, proof: str, efficiency: float = 1.16) -> PassKey:
        """Return what the block gives."""
        total = self.counts()
        agreed = agree(total, self._gains.protocol, epsilons, proof, efficiency=efficiency)
        tested = sum(total.n_test)
        return PassKey(
            agreed.length_bits,
            round(sum(total.n_key)),
            round(sum(total.n_key) + tested),
            sum(total.m_test) / tested if tested else 0.0,
            sum(self._seconds.values()),
            losses_db,
            agreed.reason,
        )


def key_of_pass(
    over: Pass,
    downlink: Downlink,
    devices: LinkDevices,
    epsilons: Epsilons,
    *,
    proof: str,
    efficiency: float = 1.16,
    step_s: float = 1.0,
) -> PassKey:
    """Return the key of one pass, as one block.

    Args:
        devices: Of the satellite's source and the station's receiver; their fibre is not looked at.
    """
    seen, exposure = geometry(over, step_s), Exposure(Gains(lambda _: devices))
    for one in moments(seen, downlink, FADES, lambda _: 0.0):
        exposure.add(*one)
    return exposure.key(least_and_most(losses_db(seen, downlink)), epsilons, proof, efficiency)
