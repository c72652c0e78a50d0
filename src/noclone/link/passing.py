"""Light whose loss and noise change on the way through a block, as those of a satellite that passes do.

In: a `PassLight`, stretches of slots with the devices of each.  Out: Bob's events, or counts to expect. A stretch is
light as any other, of the same kernels; Alice's choices and Bob's detectors go on from one to the next, so that the
cuts leave no trace.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from noclone.link.clicktable import click_table
from noclone.link.devices import LinkDevices
from noclone.link.light import I64, LightKeys, Pulses, light_keys
from noclone.link.readout import Segment, in_block, played_ahead
from noclone.link.segments import Crew, segment_length
from noclone.link.tap import NO_TAP
from noclone.link.theory import ExpectedCounts, expected_counts, total_counts
from noclone.records import MAX_SLOTS, U64, DecoyBB84
from noclone.units import transmittance


@dataclass(frozen=True, slots=True)
class Stretch:
    """Slots in a row under the same loss and noise."""

    devices: LinkDevices
    n_slots: int


@dataclass(frozen=True, slots=True)
class PassLight:
    """One block of light whose devices are the same throughout, except for the loss and the dark counts.

    Args:
        stretches: In the order of their slots.
    """

    stretches: tuple[Stretch, ...]

    def __post_init__(self) -> None:
        if not self.stretches or min(one.n_slots for one in self.stretches) < 1 or self.n_slots > MAX_SLOTS:
            raise ValueError(f"a pass has 1 to {MAX_SLOTS} slots, and no stretch without any")
        first = _constant(self.stretches[0].devices)
        if any(_constant(devices) != first for devices in {one.devices for one in self.stretches}):
            raise ValueError("only loss and dark counts may change during a pass")

    @property
    def n_slots(self) -> int:
        """Slots of the whole pass."""
        return sum(one.n_slots for one in self.stretches)

    @property
    def clock_hz(self) -> float:
        """Slots per second."""
        return self.stretches[0].devices.clock_hz

    @property
    def protocol(self) -> DecoyBB84:
        """What both ends agree on."""
        return self.stretches[0].devices.protocol

    @property
    def loss_db(self) -> float:
        """Loss of the pass as a whole: of the mean share of light that arrives."""
        arrived = sum(one.n_slots * transmittance(one.devices.loss_db) for one in self.stretches)
        return -10 * math.log10(arrived / self.n_slots)


def _constant(devices: LinkDevices) -> LinkDevices:
    receiver = replace(devices.receiver, dark_count_hz=(0.0,) * devices.receiver.detectors)
    return replace(devices, fibre=replace(devices.fibre, length_km=0.0, extra_loss_db=0.0), receiver=receiver)


def expected_pass_counts(light: PassLight, n_slots: int) -> ExpectedCounts:
    """Return the counts that a block of `n_slots` gives on average, the pass being longer or shorter in proportion."""
    slots: dict[LinkDevices, int] = {}
    for one in light.stretches:
        slots[one.devices] = slots.get(one.devices, 0) + one.n_slots
    share = n_slots / light.n_slots
    return total_counts((expected_counts(devices, 1), share * number) for devices, number in slots.items())


class _Legs:
    """The segments of a pass, each within one stretch: a `segments.Worker`."""

    def __init__(self, light: PassLight, keys: LightKeys) -> None:
        pulses: dict[LinkDevices, Pulses] = {}
        self._legs: list[tuple[Pulses, int]] = []
        self.lengths: list[int] = []
        first = 0
        for stretch in light.stretches:
            if stretch.devices not in pulses:
                table = click_table(stretch.devices, NO_TAP)
                pulses[stretch.devices] = Pulses(stretch.devices, table, keys.table, segment_length(table.p_max))
            worker, end = pulses[stretch.devices], first + stretch.n_slots
            while first < end:
                length = min(worker.law.length, end - first)
                self._legs.append((worker, first))
                self.lengths.append(length)
                first += length
        self.p_max = max(worker.law.p_max for worker in pulses.values())
        self._done = (worker for worker, _ in self._legs)

    def clicks(self, segment: int, n_slots: int) -> I64:
        """Return the would-be clicks of a segment."""
        worker, first = self._legs[segment]
        return worker.clicks(segment, n_slots, first)

    def take_back(self, segment: Segment) -> None:
        """Use the memory of the next segment's clicks again."""
        next(self._done).take_back(segment.clicks)


def transmit_pass(
    light: PassLight, *, alice_seed: bytes, physics_seed: bytes, n_slots: int, link: str, block: int, threads: int = 2
) -> Iterator[U64]:
    """Yield Bob's events of one pass in order of slots, a bounded number at a time; see `light.transmit_chunks`.

    Args:
        n_slots: Those of the pass.
    """
    if n_slots != light.n_slots:
        raise ValueError(f"the pass has {light.n_slots} slots, not {n_slots}")
    keys = light_keys(alice_seed, physics_seed, link, block)
    legs = _Legs(light, keys)
    readout = keys.readout(light.stretches[0].devices, legs.p_max)
    with Crew(threads) as crew:
        segments = in_block(zip(crew.in_order(legs, legs.lengths), legs.lengths, strict=True), n_slots)
        for events in readout.follow(segments, crew, played_ahead(threads), legs.take_back):
            if len(events):
                yield events
