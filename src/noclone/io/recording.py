"""Recordings of detections: HDF5 files in the layout "noclone-detections", version 1.

In: Alice's settings and Bob's detections of some blocks, from the simulator or from a lab.  Out: the same, as the
records that `distill` takes. Layout, with an example for labs: docs/recordings.md.
A recording comes from anywhere, so nothing in it is believed: every attribute and dataset is checked for presence,
type, size and range; links out of the file, virtual or external data, and filters that load code are refused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import h5py
import numpy as np

from noclone.errors import RecordingError
from noclone.io.hdf5 import Checked, reading
from noclone.io.recorded_columns import CHUNK, read_events, read_settings, read_tags
from noclone.io.time_tags import Receiver
from noclone.process import held_interrupts
from noclone.records import MAX_SLOTS, DecoyBB84, Detections, Origin, Settings

FORMAT = "noclone-detections"
VERSION = 1
BLOCKS_MAX = 1_000_000
KINDS = ("simulated", "recorded", "hardware")
NAME_CHARS_MAX = 256
ROW_BYTES = 24  # of one detection, both parties' columns together, should nothing compress
SPACE_MARGIN_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class RecordedBlock:
    """One block of a recording."""

    settings: Settings
    detections: Detections


@dataclass(frozen=True, slots=True)
class RecordingHead:
    """What a recording says about all its blocks.

    Args:
        clock_hz: Slots per second, exactly.
        devices: For people: what sent and what detected.
        receiver: How time tags become slots; None where the file holds slots already.
    """

    link: str
    alice: str
    bob: str
    protocol: DecoyBB84
    clock_hz: Fraction
    origin: Origin
    devices: str = ""
    receiver: Receiver | None = None


class Recording:
    """An open recording. Use it as a context manager; settings may be read from the file until it is closed."""

    def __init__(self, path: Path, file: h5py.File, head: RecordingHead, names: list[str], double_click_seed: bytes):
        self.path = path
        self.head = head
        self._file = file
        self._names = names
        self._seed = double_click_seed

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._names)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def blocks(self) -> Iterator[RecordedBlock]:
        """The blocks, in order, each read and checked when it is reached."""
        for name in self._names:
            with reading(f"{self.path}:/blocks/{name}"):
                block = self._block(name)
            yield block

    def _block(self, name: str) -> RecordedBlock:
        group = Checked(self.path, self._file, "/").group("blocks").group(name)
        number = group.whole("block", 0, (1 << 62) - 1)
        n_slots = group.whole("n_slots", 1, MAX_SLOTS)
        head, bob = self.head, group.group("bob")
        if not bob.has("time_ps"):
            events = read_events(bob, n_slots)
        elif head.receiver is not None:
            random = np.random.Generator(np.random.Philox(key=int.from_bytes(self._seed[:8], "little") ^ number))
            events = read_tags(bob, head.receiver, head.clock_hz, n_slots, random)
        else:
            raise bob.error("there are time tags, but no group 'receiver' says which detector means what")
        settings = read_settings(group.group("alice"), n_slots, len(head.protocol.intensities))
        detections = Detections(head.link, number, n_slots, float(head.clock_hz), events, head.origin)
        return RecordedBlock(settings, detections)


def open_recording(path: str | Path, *, double_click_seed: bytes | None = None) -> Recording:
    """Open a recording and check everything but the rows of its blocks, which are checked when they are read.

    Args:
        double_click_seed: Decides the value of double clicks among time tags; None draws it from the system.

    Raises:
        RecordingError: It is no recording, or a malformed one; the message names file and dataset.
    """
    path = Path(path)
    if not path.is_file():
        raise RecordingError(f"{path}: " + ("this is no file" if path.exists() else "there is no such file"))
    if not os.access(path, os.R_OK):  # HDF5 would say so within a page of its own
        raise RecordingError(f"{path}: may not be read", hint="ask its owner for permission")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise RecordingError(
            f"{path}: this is no HDF5 file, or it is cut short ({str(error)[:120]})",
            hint="copy it again; docs/recordings.md shows what a recording looks like",
        ) from None
    try:
        root = Checked(path, file, "/")
        with reading(str(path)):
            head = _read_head(path, root)
            blocks = root.group("blocks")
            names = sorted(blocks.names())
        if not 0 < len(names) <= BLOCKS_MAX:
            raise blocks.error(f"a recording holds 1 to {BLOCKS_MAX} blocks, this one {len(names)}")
    except BaseException:
        file.close()
        raise
    return Recording(path, file, head, names, double_click_seed or os.urandom(16))


def _read_head(path: Path, root: Checked) -> RecordingHead:
    if root.text("format", NAME_CHARS_MAX) != FORMAT:
        raise root.error(f"the attribute 'format' is not '{FORMAT}'", hint="this is another kind of HDF5 file")
    version = root.whole("version", 0, 1 << 31)
    if version != VERSION:
        raise root.error(f"this recording has version {version}; version {VERSION} is what this noclone reads")
    kind = root.text("origin", NAME_CHARS_MAX)
    if kind not in KINDS:
        raise root.error(f"the origin '{kind}' is none of {', '.join(KINDS)}")
    # Light that a device once measured is past data now; simulated light stays simulated.
    origin = Origin("simulated" if kind == "simulated" else "recorded", bool(root.whole("seeded", 0, 1)), path.name)
    clock = Fraction(root.whole("clock_hz_numerator", 1, 1 << 62), root.whole("clock_hz_denominator", 1, 1 << 62))
    try:
        protocol = DecoyBB84(
            root.floats("intensities"),
            root.floats("probabilities"),
            root.number("p_key_alice"),
            root.number("p_key_bob"),
        )
    except ValueError as error:
        raise root.error(f"the protocol is impossible: {error}") from None
    return RecordingHead(
        link=root.text("link", NAME_CHARS_MAX),
        alice=root.text("alice", NAME_CHARS_MAX),
        bob=root.text("bob", NAME_CHARS_MAX),
        protocol=protocol,
        clock_hz=clock,
        origin=origin,
        devices=root.text("devices", 4096) if root.has_attribute("devices") else "",
        receiver=_read_receiver(root.group("receiver")) if root.has("receiver") else None,
    )


def _read_receiver(group: Checked) -> Receiver:
    try:
        return Receiver(
            values=group.wholes("values", 1),
            bases=group.wholes("bases", 1),
            gate_ps=group.whole("gate_ps", 0, 1 << 40),
        )
    except ValueError as error:
        raise group.error(str(error)) from None


def write_recording(path: str | Path, head: RecordingHead, blocks: Iterable[tuple[Settings, Detections]]) -> None:
    """Write blocks that hold slots already, with Alice's settings at the slots where something was detected.

    The file holds both parties' secrets, so only its owner may read it. It appears under its name when it is whole.

    Raises:
        RecordingError: The disk is full, or the blocks do not belong to one recording.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written ({error.strerror})") from None
    os.close(handle)
    temporary = Path(name)
    try:
        # Through a Python file, whose errors are Python's; HDF5's own would be a page long.
        with temporary.open("w+b") as raw:
            with _opened(raw) as file:
                with held_interrupts():
                    _write_head(file, head)
                written = _write_blocks(path, file, head, blocks)
            if not written:
                raise RecordingError(f"{path}: there is no block to record")
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise RecordingError(f"{path}: cannot be written ({reason})", hint="is the disk full?") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _opened(raw: BinaryIO) -> Iterator[h5py.File]:
    """Open a file to write through Python: raised while HDF5 calls back, Ctrl-C would be printed and lost."""
    with held_interrupts():
        file = h5py.File(raw, "w")
    try:
        yield file
    finally:
        with held_interrupts():
            file.close()


def _write_head(file: h5py.File, head: RecordingHead) -> None:
    protocol = head.protocol
    file.attrs.update(
        {
            "format": FORMAT,
            "version": VERSION,
            "link": head.link,
            "alice": head.alice,
            "bob": head.bob,
            "devices": head.devices,
            "origin": head.origin.kind,
            "seeded": int(head.origin.seeded),
            "clock_hz_numerator": head.clock_hz.numerator,
            "clock_hz_denominator": head.clock_hz.denominator,
            "intensities": np.array(protocol.intensities),
            "probabilities": np.array(protocol.probabilities),
            "p_key_alice": protocol.p_key_alice,
            "p_key_bob": protocol.p_key_bob,
        }
    )
    file.create_group("blocks")


def _write_blocks(
    path: Path, file: h5py.File, head: RecordingHead, blocks: Iterable[tuple[Settings, Detections]]
) -> int:
    count = 0
    for settings, detections in blocks:
        if detections.link != head.link or detections.clock_hz != float(head.clock_hz):
            raise RecordingError(f"{path}: block {detections.block} is of another link or clock than the recording")
        _check_space(path, detections)
        with held_interrupts() as interrupted:
            _write_block(file, f"{count:06d}", settings, detections, interrupted)
        count += 1
    return count


def _check_space(path: Path, detections: Detections) -> None:
    """Refuse a block that may not fit the disk: on a full one HDF5 cannot close its file, and crashes at the end."""
    needed = ROW_BYTES * len(detections) + SPACE_MARGIN_BYTES
    free = shutil.disk_usage(path.absolute().parent).free
    if free < needed:
        raise RecordingError(
            f"{path}: block {detections.block} may take {needed >> 20} MB, the disk has {free >> 20} MB left",
            hint="make room, or write somewhere else",
        )


def _write_block(
    file: h5py.File, name: str, settings: Settings, detections: Detections, interrupted: Callable[[], bool]
) -> None:
    """Write one block in chunks; a slot number takes eight bytes, so it is delta-friendly shuffled and compressed."""
    events = detections.events
    n = len(events)
    group = file["blocks"].create_group(name)
    group.attrs.update({"block": detections.block, "n_slots": detections.n_slots})
    rows = max(1, min(CHUNK, n))

    storage = {"chunks": (rows,), "compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}

    def column(party: str, name: str, dtype: str) -> h5py.Dataset:
        return group.require_group(party).create_dataset(name, (n,), dtype, **(storage if n else {}))

    alice = {name: column("alice", name, kind) for name, kind in (("slot", "<u8"), ("bit", "u1"), ("basis", "u1"),
                                                                  ("intensity", "u1"))}  # fmt: skip
    bob = {name: column("bob", name, kind) for name, kind in (("slot", "<u8"), ("value", "u1"), ("basis", "u1"),
                                                              ("multiple", "u1"), ("detectors", "u1"),
                                                              ("arrival", "i1"))}  # fmt: skip
    for start in range(0, n, CHUNK):
        if interrupted():
            raise KeyboardInterrupt
        part = events[start : start + CHUNK]
        here = slice(start, start + len(part))
        slots = part >> np.uint64(Detections.SLOT_SHIFT)
        codes = settings.at(slots)
        alice["slot"][here] = bob["slot"][here] = slots
        alice["bit"][here], alice["basis"][here], alice["intensity"][here] = codes & 1, codes >> 1 & 1, codes >> 2 & 3
        for name, shift, mask in (("value", 0, 1), ("basis", 1, 1), ("multiple", 2, 1), ("detectors", 4, 15)):
            bob[name][here] = (part >> np.uint64(shift) & np.uint64(mask)).astype(np.uint8)
        bob["arrival"][here] = (part >> np.uint64(Detections.ARRIVAL_SHIFT)).astype(np.uint8).view(np.int8)
