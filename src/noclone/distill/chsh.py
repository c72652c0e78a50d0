"""The CHSH test of an entangled link: Bob tells what he measured in his further bases, Alice what it was worth.

In: Bob's events that are marked for CHSH, Alice's `Settings`.  Out: `Chsh`, the same at both ends. These outcomes are
public; none of them is a key bit. On the wire:

    told      how many: 4 bytes | slots: 8 bytes each, rising | which basis: one bit each | values: one bit each
    answered  coincidences, then agreements, for each of four settings: 8 bytes each
"""

from __future__ import annotations

import struct

import numpy as np

from noclone.distill.estimation import pack_numbers, unpack_numbers
from noclone.distill.messages import Kind, Misbehaved, Steps
from noclone.distill.side import Side
from noclone.proofs.chsh import SETTINGS, Chsh
from noclone.records import NOTHING, U8, U64, Detections, Settings

COUNT = struct.Struct(">I")
ANSWER_BYTES = 16 * SETTINGS


def alices_part(side: Side, settings: Settings) -> Steps[None]:
    """Hear what Bob measured in his further bases, tell what it is worth."""
    _, data = yield from side.talk.receive(Kind.CHSH, bytes_max=told_bytes_max(side.detections_max))
    side.statistics.chsh = count(data, settings, side.job.n_slots)
    yield from side.talk.send(Kind.CHSH, answer(side.statistics.chsh))


def bobs_part(side: Side, events: U64) -> Steps[None]:
    """Tell what was measured in the further bases; learn the CHSH value."""
    yield from side.talk.send(Kind.CHSH, tell(events))
    _, data = yield from side.talk.receive(Kind.CHSH, bytes_max=ANSWER_BYTES)
    side.statistics.chsh = read_answer(data, len(events))


def told_bytes_max(detections_max: int) -> int:
    """Return the longest that Bob's message may be."""
    return COUNT.size + 8 * detections_max + 2 * ((detections_max + 7) // 8)


def split_events(events: U64) -> tuple[U64, U64]:
    """Return what makes key and test bits, and what is for CHSH."""
    for_chsh = events & np.uint64(Detections.CHSH) != 0
    return events[~for_chsh], events[for_chsh]


def tell(events: U64) -> bytes:
    """Return Bob's message."""
    slots = events >> np.uint64(Detections.SLOT_SHIFT)
    bases, values = (events >> np.uint64(k) & np.uint64(1) for k in (1, 0))
    rows = [np.packbits(row.astype(np.uint8), bitorder="little").tobytes() for row in (bases, values)]
    return b"".join((COUNT.pack(len(events)), slots.astype("<u8").tobytes(), *rows))


def count(told: bytes, settings: Settings, n_slots: int) -> Chsh:
    """Return what Bob's message is worth beside what Alice measured.

    Raises:
        Misbehaved: It is malformed.
    """
    n = COUNT.unpack_from(told)[0] if len(told) >= COUNT.size else 0
    if len(told) != told_bytes_max(n):
        raise Misbehaved("the peer's outcomes for CHSH are truncated")
    slots = np.frombuffer(told, "<u8", n, COUNT.size).astype(np.uint64)
    if n and (int(slots[-1]) >= n_slots or (slots[1:] <= slots[:-1]).any()):
        raise Misbehaved("the peer's outcomes for CHSH name slots that were never sent, or not in order")
    start = COUNT.size + 8 * n
    bases, values = (_bits(told, start + k * ((n + 7) // 8), n) for k in (0, 1))
    codes = settings.at(slots)
    here = codes & NOTHING == 0
    setting = 2 * (codes >> 1 & 1) + bases
    same = here & ((codes & 1) == values)
    counted = [np.bincount(setting[chosen], minlength=SETTINGS) for chosen in (here, same)]
    return Chsh(*(tuple(map(int, row)) for row in counted))


def answer(found: Chsh) -> bytes:
    """Return Alice's message."""
    return pack_numbers(found.counts, found.same)


def read_answer(data: bytes, told: int) -> Chsh:
    """Read Alice's message, where Bob had told so many outcomes.

    Raises:
        Misbehaved: It is impossible.
    """
    counts, same = unpack_numbers(data, 2, SETTINGS)
    try:
        found = Chsh(counts, same)
    except ValueError as error:
        raise Misbehaved(f"the peer's counts for CHSH are impossible: {error}") from None
    if sum(counts) > told:
        raise Misbehaved("the peer counts more coincidences for CHSH than outcomes were told")
    return found


def _bits(data: bytes, start: int, n: int) -> U8:
    row = np.frombuffer(data, np.uint8, (n + 7) // 8, start)
    return np.unpackbits(row, bitorder="little")[:n]
