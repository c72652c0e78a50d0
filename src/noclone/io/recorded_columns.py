"""The columns of one recorded block: Alice's settings and Bob's detections, checked row by row.

In: the groups `alice` and `bob` of a recording.  Out: `Settings` and events as `records.Detections` has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import h5py
import numpy as np

from noclone.errors import RecordingError
from noclone.io.hdf5 import Checked, reading
from noclone.io.time_tags import Receiver, assemble
from noclone.records import U8, U64, Detections, Settings

CHUNK = 1 << 20
EVENTS_MAX = 1 << 34


@dataclass(frozen=True, slots=True)
class SlotSettings:
    """Alice's settings at the slots where something was detected."""

    slots: U64
    codes: U8 = field(repr=False)
    where: str

    def at(self, slots: U64) -> U8:
        """Return one code per slot.

        Raises:
            RecordingError: The recording does not hold that slot.
        """
        found = np.searchsorted(self.slots, slots)
        missing = (
            np.flatnonzero(self.slots[np.minimum(found, len(self.slots) - 1)] != slots) if len(self.slots) else slots
        )
        if len(missing):
            raise RecordingError(
                f"{self.where}: Alice's settings are missing for {len(missing)} detected slots",
                hint="record her settings at every slot that Bob reports, or at all slots",
            )
        return self.codes[found]


class TableSettings:
    """Alice's settings at every slot, read from the file where they are asked for."""

    def __init__(self, columns: tuple[h5py.Dataset, h5py.Dataset, h5py.Dataset], where: str, levels: int) -> None:
        self._columns = columns
        self._where = where
        self._levels = levels

    def at(self, slots: U64) -> U8:
        """Return one code per slot, for slots that rise."""
        codes = np.empty(len(slots), np.uint8)
        if not len(slots):
            return codes
        pages = slots // np.uint64(CHUNK)
        starts = np.flatnonzero(np.r_[True, pages[1:] != pages[:-1]])
        for start, stop in zip(starts, [*starts[1:], len(slots)], strict=True):
            first = int(pages[start]) * CHUNK
            inside = (slots[start:stop] - np.uint64(first)).astype(np.int64)
            bit, basis, intensity = (_read(column, first, first + CHUNK, self._where) for column in self._columns)
            page = _codes(bit, basis, intensity, self._levels, self._where)
            codes[start:stop] = page[inside]
        return codes


def read_settings(alice: Checked, n_slots: int, levels: int) -> Settings:
    """Return Alice's settings, from one row for each slot or for each slot that is listed."""
    columns = tuple(alice.column(name, np.uint8, EVENTS_MAX) for name in ("bit", "basis", "intensity"))
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise alice.error("bit, basis and intensity have different lengths")
    (length,) = lengths
    if not alice.has("slot"):
        if length != n_slots:
            raise alice.error(
                f"there are settings for {length} slots, the block has {n_slots}",
                hint="give one for each slot, or add the dataset 'slot' that says which slots they are for",
            )
        return TableSettings((columns[0], columns[1], columns[2]), alice.where, levels)
    slots = _rising(alice, "slot", n_slots)
    if len(slots) != length:
        raise alice.error(f"{len(slots)} slots are listed, but {length} settings")
    codes = np.empty(length, np.uint8)
    for start in range(0, length, CHUNK):
        stop = min(start + CHUNK, length)
        parts = [_read(column, start, stop, alice.where) for column in columns]
        codes[start:stop] = _codes(parts[0], parts[1], parts[2], levels, alice.where)
    return SlotSettings(slots, codes, alice.where)


def read_events(bob: Checked, n_slots: int) -> U64:
    """Return Bob's detections where the file holds slots."""
    slots = _rising(bob, "slot", n_slots)
    events = slots << np.uint64(Detections.SLOT_SHIFT)
    for name, largest, shift in (("value", 1, 0), ("basis", 1, 1), ("multiple", 1, 2), ("detectors", 15, 4)):
        if bob.has(name) or shift < 2:
            _put(events, bob, name, largest, shift)
    if bob.has("arrival"):
        column = _same_length(bob, "arrival", np.int8, len(events))
        for start in range(0, len(events), CHUNK):
            part = _read(column, start, start + CHUNK, bob.where).view(np.uint8).astype(np.uint64)
            events[start : start + CHUNK] |= part << np.uint64(Detections.ARRIVAL_SHIFT)
    return events


def read_tags(bob: Checked, receiver: Receiver, clock_hz: Fraction, n_slots: int, random: np.random.Generator) -> U64:
    """Return Bob's detections where the file holds time tags."""
    times = bob.column("time_ps", np.uint64, EVENTS_MAX)
    channels = _same_length(bob, "channel", np.uint8, len(times))
    start_ps = bob.whole("start_ps", 0, (1 << 62) - 1)

    def chunks() -> Iterator[tuple[U64, U8]]:
        for start in range(0, len(times), CHUNK):
            stop = start + CHUNK
            yield _read(times, start, stop, bob.where), _read(channels, start, stop, bob.where)

    try:
        return assemble(chunks(), receiver, clock_hz=clock_hz, start_ps=start_ps, n_slots=n_slots, random=random)
    except ValueError as error:
        raise bob.error(str(error)) from None


def _codes(bit: U8, basis: U8, intensity: U8, levels: int, where: str) -> U8:
    """Return Alice's settings as codes, after checking each column's range."""
    for name, values, largest in (("bit", bit, 1), ("basis", basis, 1), ("intensity", intensity, levels - 1)):
        if len(values) and int(values.max()) > largest:
            raise RecordingError(f"{where}/{name}: values go from 0 to {largest}, but {int(values.max())} is there")
    codes: U8 = (bit | basis << 1 | intensity << 2).astype(np.uint8)
    return codes


def _put(events: U64, bob: Checked, name: str, largest: int, shift: int) -> None:
    """Put one column's values into the events' flags."""
    column = _same_length(bob, name, np.uint8, len(events))
    for start in range(0, len(events), CHUNK):
        part = _read(column, start, start + CHUNK, bob.where)
        if int(part.max()) > largest:
            raise bob.error(f"'{name}' goes from 0 to {largest}, but {int(part.max())} is there")
        events[start : start + CHUNK] |= part.astype(np.uint64) << np.uint64(shift)


def _rising(group: Checked, name: str, n_slots: int) -> U64:
    """Read a column of slots that rise strictly and lie inside the block."""
    column = group.column(name, np.uint64, EVENTS_MAX)
    slots = np.empty(len(column), np.uint64)
    last = -1
    for start in range(0, len(column), CHUNK):
        part = _read(column, start, start + CHUNK, group.where)
        if int(part[0]) <= last or not bool((part[1:] > part[:-1]).all()):
            raise group.error(f"'{name}' does not rise strictly near row {start}", hint="one row for each slot, sorted")
        if int(part[-1]) >= n_slots:
            raise group.error(f"'{name}' names slot {int(part[-1])}, the block has {n_slots}")
        slots[start : start + len(part)] = part
        last = int(part[-1])
    return slots


def _same_length(group: Checked, name: str, dtype: Any, length: int) -> h5py.Dataset:
    column = group.column(name, dtype, EVENTS_MAX)
    if len(column) != length:
        raise group.error(f"'{name}' has {len(column)} rows where there should be {length}")
    return column


def _read(column: h5py.Dataset, start: int, stop: int, where: str) -> Any:
    with reading(f"{where}, rows {start} to {stop}"):
        return column[start:stop]
