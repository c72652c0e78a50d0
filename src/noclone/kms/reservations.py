"""The promise, at the slaves' end: take the atoms that a master was given, and keep them for those that it named.

Functions on a connection, run by `commits`; each decides first and writes afterwards, and does the work of many
requests with few statements. An atom leaves its table in the transaction that promises it, at either end, so nothing
that was promised can be promised again; the end whose applications are slaves is the witness against a master's store
that was restored from a backup.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, bindparam, case, select, update

from noclone.kms.keyring import Keyring
from noclone.kms.keys import Assignment, Span, direction_of, key_id_of
from noclone.kms.locks import Among, insert_rows, is_shared, lock
from noclone.kms.naming import name_keys, needs_naming
from noclone.kms.pieces import Pieces, Place
from noclone.kms.pools import LEFT, SEEN, Pool, provenance_of
from noclone.kms.tables import OPEN, block, delivery, key, voided

GAP = 64  # reading this many atoms that nobody wants costs less than another statement

ONE_BLOCK = tuple(
    select(block.c.id, block.c.state, block.c.dek, block.c.atoms, block.c.profile, seen.label("seen"))
    .where(block.c.peer == bindparam("peer"), block.c.link == bindparam("link"), block.c.number == bindparam("number"))
    .with_for_update()  # nobody takes its atoms until we have decided
    for seen in SEEN
)
COUNT_DOWN = tuple(
    update(block)
    .where(block.c.id == bindparam("block"))
    .values({left: left - bindparam("count"), seen: case((seen < bindparam("top"), bindparam("top")), else_=seen)})
    .returning(block.c.state, *LEFT)
    for left, seen in zip(LEFT, SEEN, strict=True)
)
CLOSE = tuple(update(block).where(block.c.id == bindparam("block")).values({is_open: 0}) for is_open in OPEN)
SPEND = update(block).where(block.c.id == bindparam("block")).values(state="spent", dek=None)
PROVENANCE = select(block.c.provenance).where(block.c.id == bindparam("block"))
KNOWN_KEYS = select(key.c.key_id, key.c.request, key.c.peer, key.c.state, key.c.number, key.c.size_bits).where(
    Among(key.c.key_id)
)
KNOWN_VOIDED = select(voided.c.key_id).where(voided.c.peer == bindparam("peer"), Among(voided.c.key_id))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an assignment was not accepted.

    Args:
        reason: `unknown-block`, `already-assigned` or `malformed`.
        seen: For `already-assigned`: this end has seen every position of that block below this one.
    """

    reason: str
    seen: int = 0


def withdraw(connection: Connection, block_id: int, direction: int, pieces: Pieces) -> None:
    """Write down that atoms were taken out of a block, and keep the block's counters true."""
    if not pieces.taken:
        return
    pieces.write()
    counted = {"block": block_id, "count": pieces.taken, "top": pieces.top}
    state, *left = connection.execute(COUNT_DOWN[direction], counted).one()
    if not left[direction]:
        connection.execute(CLOSE[direction], {"block": block_id})
    if state == "ready" and not any(left):
        connection.execute(SPEND, {"block": block_id})


def known_keys(connection: Connection, key_ids: Sequence[str]) -> dict[str, Any]:
    """Return id, request, peer and state of those keys that have a row here."""
    return {row.key_id: row for row in connection.execute(KNOWN_KEYS, {"ids": key_ids})} if key_ids else {}


def known_voided(connection: Connection, peer: str, key_ids: Sequence[str]) -> set[str]:
    """Return the ids that a peer took back before their promise came."""
    return set(connection.execute(KNOWN_VOIDED, {"peer": peer, "ids": key_ids}).scalars())


def key_row(promise: Assignment, peer: str, role: str, created_s: float, expires_s: float) -> dict[str, Any]:
    """Return the row of a promise, without its keys' bytes."""
    return {
        "key_id": promise.key_id,
        "peer": peer,
        "role": role,
        "master": promise.master,
        "request": promise.request,
        "size_bits": promise.size_bits,
        "number": promise.number,
        "waiting": promise.number,
        "ranges": f"[{', '.join(map(_range, promise.spans))}]",
        "state": "reserved",
        "sealed": None,
        "data_key": None,
        "worker": None,
        "created_s": created_s,
        "expires_s": expires_s,
        "ended_s": None,
    }


def _range(span: Span) -> str:
    return f"[{_quoted(span.link)}, {span.block}, {span.first}, {span.count}]"


@lru_cache(maxsize=1024)
def _quoted(link: str) -> str:
    return json.dumps(link)


@dataclass(frozen=True, slots=True)
class _Block:
    """A block that promises speak about, with those of its atoms that they want and that are here.

    Args:
        positions: How many atoms it was cut into, in the direction of the promises.
        profile: Says whether its key is bound to the key's names.
        pieces: None: no atom is left.
    """

    id: int
    seen: int
    usable: bool
    positions: int
    profile: str
    pieces: Pieces | None


class _Blocks:
    """The blocks of one pool and direction, each looked up once, when somebody asks for it."""

    def __init__(self, connection: Connection, keyring: Keyring, pool: Pool, direction: int) -> None:
        self._connection = connection
        self._keyring = keyring
        self._pool = pool
        self._direction = direction
        self._found: dict[tuple[str, int], _Block] = {}

    def at(self, span: Span) -> _Block:
        """Return the block that a span lies in."""
        if (span.link, span.block) not in self._found:
            self._found[span.link, span.block] = self._look_up(span.link, span.block)
        return self._found[span.link, span.block]

    def _look_up(self, link: str, number: int) -> _Block:
        place = {"peer": self._pool.peer, "link": link, "number": number}
        row = self._connection.execute(ONE_BLOCK[self._direction], place).first()
        if row is None:
            return _Block(0, 0, False, 0, "", None)
        pieces = None
        if row.dek is not None:
            opener = self._keyring.block(row.dek, self._pool.kme, self._pool.peer, link, number)
            pieces = Pieces(self._connection, Place(row.id, self._direction, self._pool.unit_bits // 8, opener))
        positions = (row.atoms + 1 - self._direction) // 2
        return _Block(row.id, row.seen, row.state not in ("held", "expired"), positions, row.profile, pieces)

    def named(self, promise: Assignment, value: bytes) -> bytes:
        """Return the keys that a promise is about, made of the bytes that it names."""
        blocks = list({here.id: here for here in map(self.at, promise.spans) if needs_naming(here.profile)})
        if not blocks:
            return value
        records = [self._connection.execute(PROVENANCE, {"block": number}).scalar_one() for number in blocks]
        return name_keys(value, promise, self._pool.peer, self._pool.kme, map(provenance_of, records))

    def fetch(self, promises: Sequence[Assignment]) -> None:
        """Read the atoms that promises want. Their spans lie within their blocks, so this reads no more than there is.

        Many small spans are read as a few large runs; what nobody wants is read too and left alone.
        """
        ranges: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        for promise in promises:
            for span in promise.spans:
                ranges[span.link, span.block].append((span.first, span.first + span.count))
        for place, wanted in ranges.items():
            pieces = self._found[place].pieces
            if pieces is not None:
                for low, high in _united(wanted):
                    pieces.load(low, high)

    def take(self, promise: Assignment) -> bytes | None:
        """Take all that a promise wants, each key cut to its size; None, and nothing, if an atom of it is not here."""
        wanted = [(self.at(span).pieces, span) for span in promise.spans]
        if any(pieces is None or not pieces.has(span.first, span.count) for pieces, span in wanted):
            return None
        parts = [pieces.take(span.first, span.count) for pieces, span in wanted if pieces is not None]
        return cut_keys(parts, promise.number, promise.size_bits // 8)

    def seen_of(self, promise: Assignment) -> int:
        """Return up to where this end has seen promises of the first block in which one of these atoms is not here."""
        for span in promise.spans:
            here = self.at(span)
            if here.pieces is None or not here.pieces.has(span.first, span.count):
                return here.seen
        return 0

    def write(self) -> None:
        """Write down what was taken."""
        for here in sorted(self._found.values(), key=lambda here: here.id):
            if here.pieces is not None:
                withdraw(self._connection, here.id, self._direction, here.pieces)


def cut_keys(parts: Sequence[bytes], number: int, size: int) -> bytes:
    """Cut each key of a run to its size in bytes: what is over of its last atom is nobody's."""
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    each = len(data) // number
    return data if each == size else b"".join([data[start : start + size] for start in range(0, len(data), each)])


def _united(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that overlap, or are close to each other."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + GAP:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def assign(
    connection: Connection,
    keyring: Keyring,
    pool: Pool,
    promises: Sequence[Assignment],
    now_s: float,
    expires_s: float,
) -> dict[str, Refusal]:
    """Take in what a peer promised its masters; return the refused ones. The same promise twice counts once."""
    lock(connection, "voided", pool.kme, pool.peer, alone=False)
    direction = direction_of(pool.peer, pool.kme)
    refused: dict[str, Refusal] = {}
    blocks = _Blocks(connection, keyring, pool, direction)
    fresh = _fresh(connection, pool, promises, direction, blocks, refused)
    blocks.fetch(fresh)
    values: dict[str, bytes] = {}
    unfit: list[tuple[Assignment, Refusal]] = []
    for promise in fresh:
        taken = blocks.take(promise)
        if taken is None:
            unfit.append((promise, Refusal("already-assigned", blocks.seen_of(promise))))
        else:
            values[promise.key_id] = blocks.named(promise, taken)
    refused.update(_still_unfit(connection, pool, unfit))
    blocks.write()
    _insert_promises(connection, keyring, pool, [p for p in fresh if p.key_id in values], values, (now_s, expires_s))
    return refused


def _fresh(
    connection: Connection,
    pool: Pool,
    promises: Sequence[Assignment],
    direction: int,
    blocks: _Blocks,
    refused: dict[str, Refusal],
) -> list[Assignment]:
    """Return the promises that are new here, well formed, and of atoms that our blocks have or had.

    The others are noted as refused. A span is counted here, and never expanded.
    """
    ids = [promise.key_id for promise in promises]
    known = known_keys(connection, ids)
    taken_back = known_voided(connection, pool.peer, ids)
    fresh: dict[str, Assignment] = {}
    for promise in promises:
        row = known.get(promise.key_id)
        if row is not None:
            taken = _differs(row, promise, pool)
        else:
            taken = promise.key_id in taken_back
        if taken:
            refused[promise.key_id] = Refusal("already-assigned", blocks.at(promise.spans[0]).seen)
        elif row is not None:
            continue  # the same promise again
        elif promise.key_id in fresh or _malformed(promise, direction, pool.unit_bits):
            refused[promise.key_id] = Refusal("malformed")
        elif (problem := _outside(promise, blocks)) is not None:
            refused[promise.key_id] = problem
        else:
            fresh[promise.key_id] = promise
    return list(fresh.values())


def _differs(row: Any, promise: Assignment, pool: Pool) -> bool:
    """Say whether a key that is here is not what is promised."""
    here = (row.request, row.peer, row.number, row.size_bits)
    return here != (promise.request, pool.peer, promise.number, promise.size_bits) or row.state == "void"


def _malformed(promise: Assignment, direction: int, unit_bits: int) -> bool:
    return (
        promise.key_id != key_id_of(promise.spans[0], direction)
        or promise.size_bits <= 0
        or promise.size_bits % 8 != 0
        or promise.atoms != promise.number * -(-promise.size_bits // unit_bits)
        or (promise.number > 1 and len(promise.spans) > 1)
        or len(set(promise.slaves)) != len(promise.slaves)
        or _overlapping(promise.spans)
    )


def _overlapping(spans: Sequence[Span]) -> bool:
    """Say whether an atom is in two spans."""
    rising = sorted(spans, key=lambda span: (span.link, span.block, span.first))
    return any(
        (one.link, one.block) == (two.link, two.block) and one.first + one.count > two.first
        for one, two in pairwise(rising)
    )


def _outside(promise: Assignment, blocks: _Blocks) -> Refusal | None:
    """Say which block of a promise is not here, or is too short for it; look no further than the first one."""
    for span in promise.spans:
        here = blocks.at(span)
        if not here.usable:
            return Refusal("unknown-block")
        if span.first + span.count > here.positions:
            return Refusal("malformed")
    return None


def _still_unfit(connection: Connection, pool: Pool, unfit: Sequence[tuple[Assignment, Refusal]]) -> dict[str, Refusal]:
    """Return the promises that cannot be kept, without those that another worker took in while we waited for it."""
    kept = known_keys(connection, [promise.key_id for promise, _ in unfit]) if is_shared(connection) else {}
    return {
        promise.key_id: refusal
        for promise, refusal in unfit
        if promise.key_id not in kept or _differs(kept[promise.key_id], promise, pool)
    }


def _insert_promises(
    connection: Connection,
    keyring: Keyring,
    pool: Pool,
    promises: Sequence[Assignment],
    values: Mapping[str, bytes],
    life: tuple[float, float],
) -> None:
    if not promises:
        return
    rows = []
    for promise in promises:
        sealed, number = keyring.seal(values[promise.key_id], "key", promise.key_id, pool.peer, "slave")
        rows.append({**key_row(promise, pool.peer, "slave", *life), "sealed": sealed, "data_key": number})
    insert_rows(connection, key, rows)
    waiting = [
        {"key_id": promise.key_id, "recipient": slave, "delivered_s": None, "collected": None}
        for promise in promises
        for slave in promise.slaves
    ]
    insert_rows(connection, delivery, waiting)
