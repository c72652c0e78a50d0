"""Light whose loss and noise change on the way through a block, as those of a satellite that passes do.

In: a `PassLight`, stretches of slots with the devices of each: of a satellite that sends pulses down to Bob, or halves
of pairs to two stations.  Out: the ends' events, or counts to expect. A stretch is light as any other, of the same
kernels; choices and detectors go on from one to the next, so that the cuts leave no trace.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from noclone.link.clicktable import click_table
from noclone.link.devices import Fibre, LinkDevices, Receiver
from noclone.link.light import I64, Pulses, light_keys
from noclone.link.pairs import PairDevices, PairKeys, PairReadout, PairSampler
from noclone.link.pairs_theory import expected_pair_counts
from noclone.link.readout import Segment, in_block, played_ahead
from noclone.link.segments import Crew, segment_length
from noclone.link.tap import NO_TAP
from noclone.link.theory import ExpectedCounts, expected_counts, total_counts
from noclone.protocols import EntangledPairs
from noclone.records import MAX_SLOTS, U64, DecoyBB84
from noclone.units import transmittance

NO_FIBRE = Fibre(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Slots in a row under the same loss and noise."""

    devices: LinkDevices | PairDevices
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
    def protocol(self) -> DecoyBB84 | EntangledPairs:
        """What both ends agree on."""
        return self.stretches[0].devices.protocol

    @property
    def loss_db(self) -> float:
        """Loss of the pass as a whole: of the mean share of light, or of whole pairs, that arrives."""
        arrived = sum(one.n_slots * transmittance(one.devices.loss_db) for one in self.stretches)
        return -10 * math.log10(arrived / self.n_slots)


def _constant(devices: LinkDevices | PairDevices) -> LinkDevices | PairDevices:
    """Return what may not change."""

    def quiet(receiver: Receiver) -> Receiver:
        return replace(receiver, dark_count_hz=(0.0,) * receiver.detectors)

    if isinstance(devices, PairDevices):
        alice, bob = quiet(devices.receiver_alice), quiet(devices.receiver)
        return replace(devices, fibre_alice=NO_FIBRE, fibre=NO_FIBRE, receiver_alice=alice, receiver=bob)
    return replace(devices, fibre=NO_FIBRE, receiver=quiet(devices.receiver))


def expected_pass_counts(light: PassLight, n_slots: int) -> ExpectedCounts:
    """Return the counts that a block of `n_slots` gives on average, the pass being longer or shorter in proportion."""
    slots: dict[LinkDevices | PairDevices, int] = {}
    for one in light.stretches:
        slots[one.devices] = slots.get(one.devices, 0) + one.n_slots
    share = n_slots / light.n_slots
    return total_counts((_expected(devices), share * number) for devices, number in slots.items())


def _expected(devices: LinkDevices | PairDevices) -> ExpectedCounts:
    return expected_pair_counts(devices, 1) if isinstance(devices, PairDevices) else expected_counts(devices, 1)


class _Sampler(Protocol):
    """Who works out the segments of a stretch."""

    length: int

    def clicks(self, segment: int, n_slots: int, first_slot: int) -> I64: ...


S = TypeVar("S", bound=_Sampler)


class Legs(Generic[S]):
    """The segments of a pass, each within one stretch: a `segments.Worker`.

    Args:
        sampler: Works out the segments of stretches with these devices.
    """

    def __init__(self, light: PassLight, sampler: Callable[[Any], S]) -> None:
        samplers: dict[LinkDevices | PairDevices, S] = {}
        self.lengths: list[int] = []
        self._legs: list[tuple[S, int]] = []
        first = 0
        for stretch in light.stretches:
            if stretch.devices not in samplers:
                samplers[stretch.devices] = sampler(stretch.devices)
            here, end = samplers[stretch.devices], first + stretch.n_slots
            while first < end:
                length = min(here.length, end - first)
                self._legs.append((here, first))
                self.lengths.append(length)
                first += length
        self.shortest = min(sampler.length for sampler in samplers.values())

    def of(self, segment: int) -> tuple[S, int]:
        """Return who works a segment out, and its first slot."""
        return self._legs[segment]

    def clicks(self, segment: int, n_slots: int) -> I64:
        """Return the would-be clicks of a segment."""
        sampler, first = self._legs[segment]
        return sampler.clicks(segment, n_slots, first)


def transmit_pass(
    light: PassLight, *, alice_seed: bytes, physics_seed: bytes, n_slots: int, link: str, block: int, threads: int = 2
) -> Iterator[U64]:
    """Yield Bob's events of one pass in order of slots, a bounded number at a time; see `light.transmit_chunks`.

    Args:
        n_slots: Those of the pass.
    """
    _check(light, n_slots)
    keys = light_keys(alice_seed, physics_seed, link, block)

    def pulses(devices: LinkDevices) -> Pulses:
        table = click_table(devices, NO_TAP)
        return Pulses(devices, table, keys.table, segment_length(table.p_max))

    first_devices = light.stretches[0].devices
    assert isinstance(first_devices, LinkDevices)
    legs, numbers = Legs(light, pulses), itertools.count()
    readout = keys.readout(first_devices, legs.shortest)

    def take_back(segment: Segment) -> None:
        sampler, _ = legs.of(next(numbers))
        sampler.take_back(segment.clicks)

    with Crew(threads) as crew:
        segments = in_block(zip(crew.in_order(legs, legs.lengths), legs.lengths, strict=True), n_slots)
        for events in readout.follow(segments, crew, played_ahead(threads), take_back):
            if len(events):
                yield events


def transmit_pairs_down(
    light: PassLight, *, alice_seed: bytes, physics_seed: bytes, n_slots: int, link: str, block: int, threads: int = 2
) -> Iterator[tuple[U64, U64]]:
    """Yield both ends' events of a block of pairs from a satellite in order of slots; see `pairs.transmit_pairs`.

    Args:
        n_slots: Those of the block's passes.
    """
    _check(light, n_slots)
    keys = PairKeys.of(alice_seed, physics_seed, link, block)
    first_devices = light.stretches[0].devices
    assert isinstance(first_devices, PairDevices)
    legs = pair_legs(light, keys)
    readout, last = PairReadout(first_devices, keys, legs.shortest), len(legs.lengths) - 1
    with Crew(threads) as crew:
        for segment, seen in enumerate(crew.in_order(legs, legs.lengths)):
            (sampler, first), n = legs.of(segment), legs.lengths[segment]
            dark = sampler.dark(segment, n, first)
            yield readout.events(segment, first, n, seen, dark, last=segment == last)


def pair_legs(light: PassLight, keys: PairKeys) -> Legs[PairSampler]:
    """Return the segments of a block of pairs from a satellite."""
    return Legs(light, lambda devices: PairSampler(devices, keys))


def _check(light: PassLight, n_slots: int) -> None:
    if n_slots != light.n_slots:
        raise ValueError(f"the pass has {light.n_slots} slots, not {n_slots}")
