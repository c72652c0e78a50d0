"""Pieces: a block's atoms at rest, sealed by the run, so that a claim of many keys reads few rows.

In: the atoms of a deposited block, and which of them a transaction takes.  Out: their bytes. What is left of a piece
whose atoms were taken is sealed anew, and the old row deleted, in the same transaction: no row holds an atom that has
been promised.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from sqlalchemy import Connection, bindparam, delete, func, select

from noclone.kms.locks import insert_rows
from noclone.kms.sealing import BlockSealer
from noclone.kms.tables import piece

PIECE_BYTES = 1920  # two rows fit a page of SQLite, and PostgreSQL keeps a row of this size in its page

HERE = (piece.c.block_id == bindparam("block"), piece.c.direction == bindparam("way"))
FIRST_PIECES = select(piece.c.first, piece.c.sealed).where(*HERE).order_by(piece.c.first).limit(bindparam("many"))
# Pieces do not overlap, so the last one that begins at or before `low` is the only one that reaches into it from below.
REACHES_IN = select(func.max(piece.c.first)).where(*HERE, piece.c.first <= bindparam("low")).scalar_subquery()
PIECES_OF_RANGE = (
    select(piece.c.first, piece.c.sealed)
    .where(*HERE, piece.c.first < bindparam("high"), piece.c.first >= func.coalesce(REACHES_IN, bindparam("low")))
    .order_by(piece.c.first)
)
REMOVE = delete(piece).where(*HERE, piece.c.first == bindparam("at"))


def seal_pieces(sealer: BlockSealer, data: bytes, unit_bytes: int) -> list[tuple[int, int, bytes]]:
    """Cut a block into atoms, those of each direction into pieces; return direction, first position, sealed bytes."""
    count = len(data) // unit_bytes
    each = max(1, PIECE_BYTES // unit_bytes)
    out = []
    for way in (0, 1):
        atoms = [data[i * unit_bytes : (i + 1) * unit_bytes] for i in range(way, count, 2)]
        out += [
            (way, first, sealer.seal(way, first, b"".join(atoms[first : first + each])))
            for first in range(0, len(atoms), each)
        ]
    return out


@dataclass(frozen=True, slots=True)
class Place:
    """The atoms of one block in one direction, and what opens them."""

    block_id: int
    direction: int
    unit_bytes: int
    opener: BlockSealer = field(repr=False)


class Pieces:
    """Atoms that a transaction works on: read by the piece, written back once, without those that were taken."""

    def __init__(self, connection: Connection, place: Place) -> None:
        self.taken = 0
        self.top = 0  # one above the highest position that was taken
        self._connection = connection
        self._place = place
        self._read: dict[int, int] = {}  # rows that were read: first position, number of bytes
        self._left: list[tuple[int, bytes]] = []  # runs that are not taken, in rising order

    def load_first(self, count: int) -> list[tuple[int, int]]:
        """Read pieces from the first one on until they hold `count` atoms; return runs of at most that many in all."""
        unit, found = self._place.unit_bytes, 0
        many = count * unit // PIECE_BYTES + 2
        while True:
            rows = self._connection.execute(FIRST_PIECES, {**self._where(), "many": many}).all()
            self._open(rows)
            found = sum(len(data) for _, data in self._left) // unit
            if found >= count or len(rows) < many:
                break
            many *= 4
        runs: list[tuple[int, int]] = []
        for first, data in self._left:
            share = min(count, len(data) // unit)
            if not share:
                break
            count -= share
            if runs and sum(runs[-1]) == first:
                runs[-1] = runs[-1][0], runs[-1][1] + share
            else:
                runs.append((first, share))
        return runs

    def load(self, low: int, high: int) -> None:
        """Read the pieces that hold any of the positions from `low` to below `high`."""
        self._open(self._connection.execute(PIECES_OF_RANGE, {**self._where(), "low": low, "high": high}).all())

    def has(self, first: int, count: int) -> bool:
        """Say whether a run of atoms is among what was read and not taken."""
        return self._where_from(first, count) is not None

    def take(self, first: int, count: int) -> bytes:
        """Take a run of atoms that is here.

        Raises:
            KeyError: It is not.
        """
        unit, end = self._place.unit_bytes, first + count
        index = at = self._where_from(first, count)
        if index is None or at is None:
            raise KeyError(first)
        parts: list[bytes] = []
        rest: list[tuple[int, bytes]] = []
        position = first
        while position < end:
            begin, data = self._left[index]
            until = min(end, begin + len(data) // unit)
            parts.append(data[(position - begin) * unit : (until - begin) * unit])
            if position > begin:
                rest.append((begin, data[: (position - begin) * unit]))
            if until < begin + len(data) // unit:
                rest.append((until, data[(until - begin) * unit :]))
            position, index = until, index + 1
        self._left[at:index] = rest
        self.taken += count
        self.top = max(self.top, end)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_all(self, low: int, high: int) -> None:
        """Take whatever is here from `low` to below `high`, to burn it."""
        self.load(low, high)
        for begin, data in tuple(self._left):
            first, end = max(low, begin), min(high, begin + len(data) // self._place.unit_bytes)
            if first < end:
                self.take(first, end - first)

    def write(self) -> None:
        """Delete the pieces of which something was taken, and seal what is left of them anew."""
        place, left = self._place, dict(self._left)
        gone = [first for first, size in self._read.items() if len(left.get(first, b"")) != size]
        fresh = [(first, data) for first, data in self._left if self._read.get(first) != len(data)]
        if gone:
            self._connection.execute(REMOVE, [{**self._where(), "at": first} for first in gone])
        if fresh:
            rows = [
                {
                    "block_id": place.block_id,
                    "direction": place.direction,
                    "first": first,
                    "sealed": place.opener.seal(place.direction, first, data),
                }
                for first, data in fresh
            ]
            insert_rows(self._connection, piece, rows)

    def _where_from(self, first: int, count: int) -> int | None:
        """Return which of the runs that are left a run begins in, if all of it is here."""
        unit, end = self._place.unit_bytes, first + count
        at = bisect_right(self._left, first, key=itemgetter(0)) - 1
        if at < 0:
            return None
        reached = first
        for begin, data in self._left[at:] if count > 1 else self._left[at : at + 1]:
            if not begin <= reached < begin + len(data) // unit:
                return None
            reached = begin + len(data) // unit
            if reached >= end:
                return at
        return None

    def _where(self) -> dict[str, int]:
        return {"block": self._place.block_id, "way": self._place.direction}

    def _open(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Open rows that were not read yet, and sort them in."""
        place = self._place
        new = [(first, bytes(sealed)) for first, sealed in rows if first not in self._read]
        if not new:
            return
        opened = [(first, place.opener.open(place.direction, first, sealed)) for first, sealed in new]
        self._read.update((first, len(data)) for first, data in opened)
        self._left = sorted(self._left + opened)
