"""How much key one pass of a satellite gives: a finite block whose loss and noise change from second to second.

In: a pass, a downlink, a link's devices.  Out: a `PassKey`. The expected counts of every second are added up, by the
same theory as a fibre's (`link.theory`), and the whole pass is one block of the proof. Pointing that trembles makes
several losses of a second.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from noclone.link.devices import Fibre, LinkDevices
from noclone.link.satellite import Downlink, Pass
from noclone.link.theory import ExpectedCounts, expected_counts
from noclone.proofs.agreement import agree
from noclone.proofs.epsilon import Epsilons

LOSS_STEP_DB, NOISE_STEP = 0.05, 0.05
FADES = 6


@dataclass(frozen=True, slots=True)
class PassKey:
    """What a pass gives.

    Args:
        sifted_bits: In the key basis.
        qber: In the test basis.
        losses_db: Least and most, pointing by its mean.
        reason: Why there is no key, else empty.
    """

    secret_bits: int
    sifted_bits: int
    qber: float
    seconds: float
    losses_db: tuple[float, float]
    reason: str


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

    def __call__(self, place: tuple[int, int]) -> ExpectedCounts:
        """Return the expected counts of one slot."""
        if place not in self._known:
            loss, noise = place
            devices = self._devices(math.expm1(noise * NOISE_STEP))
            fibre = Fibre(0.0, 0.0, loss * LOSS_STEP_DB)
            self._known[place] = expected_counts(replace(devices, fibre=fibre), 1)
        return self._known[place]


class Exposure:
    """Expected counts of one block under many losses and noises, both rounded up a little: it errs on the safe side."""

    def __init__(self, gains: Gains) -> None:
        self._gains = gains
        self._seconds: defaultdict[tuple[int, int], float] = defaultdict(float)

    def add(self, loss_db: float, sky_hz: float, seconds: float) -> None:
        """Let light through for a while."""
        noise = math.ceil(math.log1p(sky_hz) / NOISE_STEP - 1e-9)
        self._seconds[math.ceil(loss_db / LOSS_STEP_DB - 1e-9), noise] += seconds

    def counts(self) -> ExpectedCounts:
        """Return the counts of the whole block."""
        clock_hz = self._gains.clock_hz
        parts = [(self._gains(place), seconds * clock_hz) for place, seconds in self._seconds.items()]
        slots = sum(number for _, number in parts)

        def add(name: str) -> tuple[float, ...]:
            rows = ([number * count for count in getattr(one, name)] for one, number in parts)
            return tuple(map(sum, zip(*rows, strict=True)))

        rate_hz = sum(one.click_rate_hz * number for one, number in parts) / slots
        return ExpectedCounts(round(slots), add("n_key"), add("n_test"), add("m_key"), add("m_test"), rate_hz)

    def key(self, losses_db: tuple[float, float], epsilons: Epsilons, proof: str, efficiency: float = 1.16) -> PassKey:
        """Return what the block gives."""
        total = self.counts()
        agreed = agree(total, self._gains.protocol, epsilons, proof, efficiency=efficiency)
        tested = sum(total.n_test)
        return PassKey(
            agreed.length_bits,
            round(sum(total.n_key)),
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
    times = list(over.seconds(step_s))
    width_s = over.duration_s / len(times)
    exposure, fades, losses = Exposure(Gains(lambda _: devices)), downlink.fades_db(FADES), []
    for t in times:
        distance_km, elevation = over.range_km(t), over.elevation_deg(t)
        steady_db = downlink.steady_db(distance_km, elevation)
        for fade_db in fades:
            exposure.add(steady_db + fade_db, 0.0, width_s / len(fades))
        losses.append(downlink.loss_db(distance_km, elevation))
    return exposure.key((min(losses), max(losses)), epsilons, proof, efficiency)
