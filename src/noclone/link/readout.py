"""Second half of the light: detectors with a memory. Dead time, afterpulses, the gate, several clicks in one slot.

In: a segment's would-be clicks in order of time.  Out: events as `records.Detections` defines them. What a detector
remembers is carried from segment to segment, so the cuts leave no trace.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noclone.link.aes import aes256_keys
from noclone.link.aes_simd import AES, MULTIPLE
from noclone.link.choices import BATCH, basis_limits, write_bases
from noclone.link.detectors import (
    FINISHED,
    FRONT,
    KEPT,
    KEPT_ROOM,
    NEVER,
    PENDING,
    POSITION,
    STATE_SIZE,
    UNTIL,
    WAITING,
    read_out,
)
from noclone.link.devices import Clocked
from noclone.link.hits import JITTER_SIGMAS
from noclone.link.sampling import TICK_BITS, TICKS

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


class Readout:
    """Bob's detectors during one block: give it the segments in order, take events."""

    def __init__(
        self,
        *,
        detector_key: bytes,
        bob_key: bytes,
        bob_limit: int | None,
        dead_time_periods: float,
        gate_fraction: float,
        jitter_ticks: float,
        afterpulse_probability: float,
        afterpulse_lifetime_periods: float,
    ) -> None:
        """Start with all detectors alive.

        Args:
            detector_key: For afterpulses and several clicks in a slot.
            bob_key: For Bob's bases; not used with a passive receiver.
            bob_limit: The key basis's share of 2^32; None for a passive receiver.
        """
        self._keys = aes256_keys(detector_key)
        self._bob_keys = aes256_keys(bob_key)
        self._bob_limits = None if bob_limit is None else basis_limits(bob_limit)
        self._passive = int(bob_limit is None)
        self._dead_ticks = round(dead_time_periods * TICKS)
        self._half_gate = round(gate_fraction * TICKS / 2)
        self._overlap = int(JITTER_SIGMAS * jitter_ticks) + 1 if jitter_ticks > 0 else 0
        p = afterpulse_probability
        self._until_mean = float(-1 / np.log1p(-p)) if p > 0 else 0.0
        self._lifetime_ticks = afterpulse_lifetime_periods * TICKS
        self._state = np.zeros(STATE_SIZE, np.int64)
        self._state[UNTIL] = -1
        self._dead_until = np.full(4, -NEVER, np.int64)
        self._pending = np.zeros(64, np.int64)
        self._afterpulses = np.full(MULTIPLE, np.uint64((1 << 64) - 1)), np.empty((2, MULTIPLE))
        self._kept = np.full(KEPT_ROOM, -NEVER, np.int64)
        self._several = np.empty(0, np.int64)
        self._carried = np.zeros(0, np.int64)

    @classmethod
    def of(cls, clocked: Clocked, *, detector_key: bytes, bob_key: bytes, bob_limit: int | None) -> Readout:
        """Return the detectors of a receiver, all alive."""
        return cls(
            detector_key=detector_key,
            bob_key=bob_key,
            bob_limit=bob_limit,
            dead_time_periods=clocked.dead_time_periods,
            gate_fraction=clocked.gate_fraction,
            jitter_ticks=clocked.jitter_periods * TICKS,
            afterpulse_probability=clocked.receiver.afterpulse_probability,
            afterpulse_lifetime_periods=clocked.afterpulse_lifetime_periods,
        )

    def segment(self, clicks: I64, first_slot: int, n_slots: int, *, last: bool) -> U64:
        """Return the events that are certain after this segment."""
        if first_slot == 0:  # clicks before the block's first slot are outside of it
            clicks = clicks[np.searchsorted(clicks, 0) :]
        end = n_slots << TICK_BITS
        bound = (end if last else end - self._overlap) << 2
        parts: list[U64] = []
        carried = self._carried
        if len(carried):  # from before the cut, among this segment's first few
            latest = int(carried[-1])
            among = int(np.searchsorted(clicks, latest, side="right"))
            early = np.sort(np.concatenate([carried, clicks[:among]]))
            clicks = clicks[among:]
            carried = self._play(early, first_slot, min(bound, latest + 1), parts, last=False)
        self._carried = np.concatenate([carried, self._play(clicks, first_slot, bound, parts, last=last)]) - (end << 2)
        self._dead_until = np.maximum(self._dead_until - (end << 2), -NEVER)
        self._kept[FRONT : FRONT + self._state[WAITING]] -= end << 2
        self._pending[: self._state[PENDING]] -= end << 2
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _play(self, clicks: I64, first_slot: int, bound: int, parts: list[U64], *, last: bool) -> I64:
        """Add the events of clicks and afterpulses before the bound to parts; return the clicks that are left."""
        self._state[POSITION] = 0
        while True:
            room = len(clicks) - int(self._state[POSITION]) + KEPT + BATCH
            events = np.empty(room, np.uint64)
            if len(self._several) < room:
                self._several = np.empty(room, np.int64)
            n = read_out(
                AES,
                self._keys,
                clicks,
                first_slot,
                bound,
                last,
                self._passive,
                self._dead_ticks,
                self._half_gate,
                self._until_mean,
                self._lifetime_ticks,
                self._state,
                self._dead_until,
                self._pending,
                *self._afterpulses,
                self._kept,
                events,
                self._several,
            )
            parts.append(self._with_bases(events, n))
            if self._state[FINISHED]:
                return clicks[self._state[POSITION] :]
            if self._state[PENDING] == len(self._pending):
                self._pending = np.concatenate([self._pending, np.zeros_like(self._pending)])

    def _with_bases(self, events: U64, n: int) -> U64:
        if self._bob_limits is not None:
            write_bases(AES, self._bob_keys, self._bob_limits, events, n)
        return events[:n]
