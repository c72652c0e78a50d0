"""From time tags to slots: exact integer arithmetic, so that no clock rate drifts, however long the recording is.

In: time in picoseconds and detector of each click, sorted by time.  Out: events as `records.Detections` has them.

The centre of slot k lies at start + k T, T = 10^12 den / num picoseconds for a clock of num / den hertz. A click at t
belongs to the slot whose centre is nearest: k = floor((2 (t - start) num + P) / (2 P)), P = 10^12 den. These
products pass 64 bits, so k is guessed in floating point and then corrected by its exact remainder, which is small and
so survives arithmetic modulo 2^64.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from noclone.records import U8, U64, Detections
from noclone.units import PS_PER_S

I64 = NDArray[np.int64]
DETECTORS_MAX = 4
DIVISOR_MAX = 1 << 60  # so that a remainder that is off by a step or two still fits a signed 64-bit number
MULTIPLIER_MAX = 1 << 48  # so that floating point guesses a quotient to within one


@dataclass(frozen=True, slots=True)
class Receiver:
    """What each detector channel means.

    Args:
        values: Bit value by channel.
        bases: `Basis` by channel.
        gate_ps: Clicks further than half of this from a slot's centre are not used; 0 takes the whole slot.
    """

    values: tuple[int, ...]
    bases: tuple[int, ...]
    gate_ps: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.values) <= DETECTORS_MAX or len(self.values) != len(self.bases):
            raise ValueError(f"a receiver has 1 to {DETECTORS_MAX} detectors, each with a value and a basis")
        if any(v not in (0, 1) for v in (*self.values, *self.bases)) or self.gate_ps < 0:
            raise ValueError("values and bases are 0 or 1, and a gate is 0 ps or more")


@dataclass(frozen=True, slots=True)
class SlotClock:
    """Slots per picosecond as multiplier / divisor, both even."""

    multiplier: int
    divisor: int

    @classmethod
    def of(cls, clock_hz: Fraction) -> SlotClock:
        """Return the clock for a rate in hertz."""
        ratio = clock_hz / PS_PER_S
        clock = cls(2 * ratio.numerator, 2 * ratio.denominator)
        if not 0 < clock.multiplier <= clock.divisor <= DIVISOR_MAX or clock.multiplier > MULTIPLIER_MAX:
            raise ValueError(f"a clock of {clock_hz} Hz is too fast or too fine a ratio; round it to a millihertz")
        return clock

    def nearest(self, delay_ps: I64) -> tuple[I64, NDArray[np.float64]]:
        """Return the slot whose centre is nearest to each delay, and how far from it in periods, -1/2 up to 1/2.

        With A = multiplier and B = divisor, k = floor((A t + B / 2) / B); for t = w B + r that is
        w A + floor((A r + B / 2) / B).
        """
        whole, rest = np.divmod(delay_ps, np.int64(self.divisor))
        guess = (rest.astype(np.float64) * (self.multiplier / self.divisor)).astype(np.uint64)
        product = rest.astype(np.uint64) * np.uint64(self.multiplier) + np.uint64(self.divisor // 2)
        remainder = (product - guess * np.uint64(self.divisor)).view(np.int64)
        step, within = np.divmod(remainder, np.int64(self.divisor))
        slots = whole * np.int64(self.multiplier) + guess.astype(np.int64) + step
        return slots, (within - self.divisor // 2) / self.divisor


def assemble(
    chunks: Iterable[tuple[U64, U8]],
    receiver: Receiver,
    *,
    clock_hz: Fraction,
    start_ps: int,
    n_slots: int,
    random: np.random.Generator,
) -> U64:
    """Return one event for each slot with a click inside the gate.

    Several clicks in a slot make one event: its value is drawn at random where they disagree, and so is its basis
    where they lie in both; discarding them instead would break the security proofs' squashing argument.

    Args:
        chunks: Times and channels, in order.
        start_ps: Time of slot 0's centre.

    Raises:
        ValueError: Tags are out of order or outside the block, or name unknown channels.
    """
    clock = SlotClock.of(clock_hz)
    done: list[U64] = []
    waiting: tuple[U64, U64, I64] | None = None
    last_ps = 0
    for times, channels in chunks:
        if not len(times):
            continue
        slots, bits, arrival = _placed(times, channels, receiver, clock, start_ps, n_slots, last_ps)
        last_ps = int(times[-1])
        if waiting is not None:
            slots, bits, arrival = (np.concatenate(pair) for pair in zip(waiting, (slots, bits, arrival), strict=True))
        if not len(slots):
            continue
        closed = int(np.searchsorted(slots, slots[-1]))  # the last slot may go on in the next chunk
        done.append(_merged(slots[:closed], bits[:closed], arrival[:closed], receiver, random))
        waiting = slots[closed:], bits[closed:], arrival[closed:]
    if waiting is not None:
        done.append(_merged(*waiting, receiver, random))
    return np.concatenate(done) if done else np.zeros(0, np.uint64)


def _placed(
    times: U64, channels: U8, receiver: Receiver, clock: SlotClock, start_ps: int, n_slots: int, last_ps: int
) -> tuple[U64, U64, I64]:
    """Return slot, detector bit and arrival of each click inside the gate."""
    if int(times[0]) < last_ps or bool((times[1:] < times[:-1]).any()):
        raise ValueError("time tags are not sorted by time")
    if int(channels.max()) >= len(receiver.values):
        raise ValueError(f"a time tag names channel {int(channels.max())}, there are {len(receiver.values)} detectors")
    if int(times[-1]) >> 62:
        raise ValueError(f"a time tag at {int(times[-1])} ps is out of range")
    slots, offset = clock.nearest(times.astype(np.int64) - np.int64(start_ps))
    if int(slots[0]) < 0 or int(slots[-1]) >= n_slots:
        outside = times[0] if int(slots[0]) < 0 else times[-1]
        raise ValueError(f"a time tag at {int(outside)} ps lies outside the block's {n_slots} slots")
    if receiver.gate_ps:
        kept = 2 * np.abs(offset) * (clock.divisor / clock.multiplier) <= receiver.gate_ps
        slots, offset, channels = slots[kept], offset[kept], channels[kept]
    bits = np.uint64(1) << channels.astype(np.uint64)
    return slots.astype(np.uint64), bits, np.clip(np.rint(offset * 256), -128, 127).astype(np.int64)


def _merged(slots: U64, bits: U64, arrival: I64, receiver: Receiver, random: np.random.Generator) -> U64:
    """Return one event for each different slot."""
    if not len(slots):
        return np.zeros(0, np.uint64)
    starts = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])
    clicked = np.bitwise_or.reduceat(bits, starts)
    values, bases = (_decided(clicked, meaning, random) for meaning in (receiver.values, receiver.bases))
    multiple = (np.bitwise_count(clicked) > 1).astype(np.uint64)
    early = (arrival[starts] & 0xFF).astype(np.uint64)
    flags = clicked << np.uint64(Detections.DETECTOR_SHIFT) | multiple << np.uint64(2) | bases << np.uint64(1) | values
    events: U64 = slots[starts] << np.uint64(Detections.SLOT_SHIFT) | early << np.uint64(Detections.ARRIVAL_SHIFT)
    events |= flags
    return events


def _decided(clicked: U64, meaning: tuple[int, ...], random: np.random.Generator) -> U64:
    """Return 0 or 1 for each set of clicked detectors, at random where they disagree."""
    ones = np.uint64(sum(1 << channel for channel, value in enumerate(meaning) if value))
    zeros = np.uint64(sum(1 << channel for channel, value in enumerate(meaning) if not value))
    coin = random.integers(0, 2, len(clicked), dtype=np.uint64)
    said_one, said_zero = (clicked & ones) != 0, (clicked & zeros) != 0
    decided: U64 = np.where(said_one & said_zero, coin, said_one.astype(np.uint64))
    return decided
