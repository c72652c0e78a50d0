"""The quantum channel: from devices and seeds to Bob's detections, at the price of the detections.

In: `LinkDevices`, Alice's secret seed, a seed for physics, perhaps a `Tap`.  Out: `Detections`, whole or in chunks.

Slots are cut into segments. `pulses` finds the would-be clicks of segments side by side in threads; `readout` plays
them in order through the detectors. Both are functions of the seeds and the devices alone, so neither the number of
threads nor the way in which the chunks are consumed changes a bit of the result.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from noclone import gpu, rng
from noclone.link.aes import aes256_keys, ars_keys
from noclone.link.aes_simd import AES
from noclone.link.choices import basis_limits
from noclone.link.clicktable import ClickTable, click_table
from noclone.link.devices import LinkDevices
from noclone.link.late import Late
from noclone.link.pulses import MAX_SEGMENT_BITS, MOST, Law, would_be_clicks
from noclone.link.readout import Readout, in_block, played_ahead
from noclone.link.sampling import TICKS
from noclone.link.segments import Crew, Lengths, segment_length
from noclone.link.settings import setting_limits, share_of_32_bits
from noclone.link.tap import NO_TAP, Tap
from noclone.records import MAX_SLOTS, U64, Detections, Origin

if TYPE_CHECKING:
    from noclone.link.pulses_cuda import CardPulses

I64 = NDArray[np.int64]


def physics_key(physics_seed: bytes, link: str, block: int, part: str) -> bytes:
    """Return the key of one part of a block's physics: "light", "detectors", "bob" or "eve"."""
    return rng.derive(physics_seed, f"{link}/block-{block}/{part}")


@dataclass(frozen=True, slots=True)
class LightKeys:
    """The keys of one block's light.

    Args:
        table: Round keys of what `pulses` draws: Alice's choices, Bob's, Eve's, nature's.
        detectors, bob, eve: Of what is drawn elsewhere.
    """

    table: U64 = field(repr=False)
    detectors: bytes = field(repr=False)
    bob: bytes = field(repr=False)
    eve: bytes = field(repr=False)

    def readout(self, devices: LinkDevices, segment_slots: int) -> Readout:
        """Return Bob's detectors, all alive; see `Readout.of`."""
        active = devices.receiver.scheme == "active"
        return Readout.of(
            devices.clocked,
            detector_key=self.detectors,
            bob_key=self.bob,
            bob_limit=share_of_32_bits(devices.source.protocol.p_key_bob) if active else None,
            segment_slots=segment_slots,
        )


def light_keys(alice_seed: bytes, physics_seed: bytes, link: str, block: int) -> LightKeys:
    """Return the keys of a block."""
    light, detectors, bob, eve = (
        physics_key(physics_seed, link, block, part) for part in ("light", "detectors", "bob", "eve")
    )
    secrets = [aes256_keys(key) for key in (alice_seed, bob, eve)]
    return LightKeys(np.stack([*secrets, ars_keys(light[:16])]), detectors, bob, eve)


class Pulses:
    """The first half of the light, ready to work out any segment."""

    def __init__(self, devices: LinkDevices, table: ClickTable, keys: U64, segment_slots: int) -> None:
        p = table.p_max
        protocol = devices.source.protocol
        bob_limits = basis_limits(share_of_32_bits(protocol.p_key_bob))
        limits = np.stack([setting_limits(protocol), bob_limits][: table.choices])
        self.law = Law(
            keys=keys,
            p_max=p,
            mean_negated=1 / math.log1p(-p) if 0 < p < 1 else 0.0,
            choosers=(limits, table.eve_limits),
            table=table.law(),
            jitter_ticks=devices.jitter_periods * TICKS,
            length=segment_slots,
        )
        self.length = segment_slots
        self._detectors = devices.receiver.detectors
        self._spare: deque[I64] = deque()

    def take_back(self, clicks: I64) -> None:
        """Use the memory of clicks again: fresh pages would cost as much as some steps of the work."""
        if clicks.base is not None:
            self._spare.append(clicks.base)

    def clicks(self, segment: int, n_slots: int, first_slot: int | None = None) -> I64:
        """Return the would-be clicks of one segment.

        Args:
            first_slot: Its first slot, where segments are not all of one length.
        """
        law = self.law
        first = segment * law.length if first_slot is None else first_slot
        if law.p_max <= 0:
            return np.zeros(0, np.int64)
        expected = n_slots * law.p_max
        room = (
            self._detectors * int(1.2 * expected + 8 * math.sqrt(expected)) + 2 * MOST
        )  # untouched pages cost nothing
        while True:
            out = self._spare.popleft() if self._spare else np.empty(room, np.int64)
            n = would_be_clicks(
                AES,
                law.keys,
                segment,
                first,
                n_slots,
                law.mean_negated,
                law.choosers,
                law.table,
                law.jitter_ticks,
                out,
            )
            if n >= 0:
                return out[:n]
            room = 2 * len(out)
            self._spare.clear()


def _on_card(pulses: Pulses) -> CardPulses | None:
    """Return the same on the graphics card, if work is to go there and this can."""
    if not gpu.wanted():
        return None
    from noclone.link.pulses_cuda import CardPulses

    card = CardPulses(pulses.law)
    return card if card.fits else None


def transmit_chunks(
    devices: LinkDevices,
    *,
    alice_seed: bytes,
    physics_seed: bytes,
    n_slots: int,
    link: str,
    block: int,
    tap: Tap | None = None,
    threads: int = 2,
    segment_slots: int | None = None,
) -> Iterator[U64]:
    """Yield the events of one block in order of slots, a bounded number at a time.

    Stop early by closing the iterator; nothing is left running.

    Args:
        alice_seed: The seed of her `SeededSettings` for this block, and for no other.
        physics_seed: Everything else that is random; link and block are mixed in here.
        n_slots: Slots that Alice sends.
        tap: What Eve does to the pulses as they leave Alice.
        threads: How many segments are worked out side by side; the result does not depend on it.
        segment_slots: Length of a segment, for tests; chosen from the devices if None.
    """
    if not 0 < n_slots <= MAX_SLOTS:
        raise ValueError(f"n_slots must lie between 1 and {MAX_SLOTS}, and is {n_slots}")
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, and is {threads}")
    table = click_table(devices, tap or NO_TAP)
    length = segment_slots or segment_length(table.p_max)
    if not 0 < length <= 1 << MAX_SEGMENT_BITS:
        raise ValueError(f"segment_slots must lie between 1 and 2^{MAX_SEGMENT_BITS}, and is {length}")
    keys = light_keys(alice_seed, physics_seed, link, block)
    pulses = Pulses(devices, table, keys.table, length)
    readout = keys.readout(devices, length)
    lengths = Lengths(n_slots, length)
    late = Late.of(devices, tap, alice_seed, keys.eve)
    card = _on_card(pulses)
    with Crew(threads) as crew:
        if card:
            segments = in_block(card.in_order(n_slots, pulses.clicks), n_slots)
            # A group's clicks are overwritten two groups later: never more runs at a time than one group has.
            ahead = min(2 * threads, readout.least_runs(card.group)) if threads > 1 else 0
            found = readout.follow(segments, crew, ahead)
        else:
            segments = in_block(zip(crew.in_order(pulses, lengths), lengths, strict=True), n_slots)
            found = readout.follow(segments, crew, played_ahead(threads), lambda done: pulses.take_back(done.clicks))
        for events in found:
            if len(events):
                yield events if late is None else late.move(events)


def transmit(
    devices: LinkDevices,
    *,
    alice_seed: bytes,
    physics_seed: bytes,
    n_slots: int,
    link: str,
    block: int,
    origin: Origin,
    tap: Tap | None = None,
    threads: int = 2,
) -> Detections:
    """Send one block of light and return what Bob's devices told him; see `transmit_chunks`."""
    chunks = transmit_chunks(
        devices,
        alice_seed=alice_seed,
        physics_seed=physics_seed,
        n_slots=n_slots,
        link=link,
        block=block,
        tap=tap,
        threads=threads,
    )
    events = [np.zeros(0, np.uint64), *chunks]
    return Detections(link, block, n_slots, devices.source.clock_hz, np.concatenate(events), origin)
