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
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from noclone.kms.keys import Assignment, direction_of, key_id_of
from noclone.kms.pools import LEFT, SEEN
from noclone.kms.sealing import Sealer
from noclone.kms.tables import atom, block, delivery, key

ONE_BLOCK = tuple(
    select(block.c.id, block.c.state, block.c.salt, seen.label("seen")).where(
        block.c.peer == bindparam("peer"), block.c.link == bindparam("link"), block.c.number == bindparam("number")
    )
    for seen in SEEN
)
IN_RUN = (
    atom.c.block_id == bindparam("block"),
    atom.c.direction == bindparam("way"),
    atom.c.position >= bindparam("low"),
    atom.c.position < bindparam("high"),
)
SOME_ATOMS = select(atom.c.position, atom.c.sealed).where(*IN_RUN)
REMOVE_ATOMS = delete(atom).where(*IN_RUN)
COUNT_DOWN = tuple(
    update(block).where(block.c.id == bindparam("block")).values({left: left - bindparam("count")}) for left in LEFT
)
SEE = tuple(
    update(block).where(block.c.id == bindparam("block"), seen < bindparam("top")).values({seen: bindparam("top")})
    for seen in SEEN
)
SPEND = (
    update(block)
    .where(block.c.id == bindparam("block"), block.c.state == "ready", block.c.left_0 + block.c.left_1 == 0)
    .values(state="spent")
)
KNOWN_KEYS = select(key.c.key_id, key.c.request, key.c.peer, key.c.state).where(
    key.c.key_id.in_(bindparam("ids", expanding=True))
)
NEW_KEYS, NEW_DELIVERIES = insert(key), insert(delivery)


@dataclass(frozen=True, slots=True)
class Pool:
    """Which pool, seen from which end."""

    kme: str
    peer: str
    unit_bits: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an assignment was not accepted.

    Args:
        reason: `unknown-block`, `already-assigned` or `malformed`.
        seen: For `already-assigned`: this end has seen every position of that block below this one.
    """

    reason: str
    seen: int = 0


def remove(connection: Connection, block_id: int, direction: int, positions: Sequence[int]) -> None:
    """Delete atoms, in rising order of position, and keep the block's counters true."""
    for low, high in _runs(positions):
        connection.execute(REMOVE_ATOMS, {"block": block_id, "way": direction, "low": low, "high": high})
    connection.execute(COUNT_DOWN[direction], {"block": block_id, "count": len(positions)})
    connection.execute(SEE[direction], {"block": block_id, "top": positions[-1] + 1})
    connection.execute(SPEND, {"block": block_id})


def _runs(positions: Iterable[int]) -> list[tuple[int, int]]:
    """Return rising numbers as ranges, the end excluded."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and runs[-1][1] == position:
            runs[-1] = (runs[-1][0], position + 1)
        else:
            runs.append((position, position + 1))
    return runs


def key_row(
    promise: Assignment, peer: str, role: str, sealed: bytes | None, created_s: float, expires_s: float
) -> dict[str, Any]:
    return {
        "key_id": promise.key_id,
        "peer": peer,
        "role": role,
        "master": promise.master,
        "request": promise.request,
        "size_bits": promise.size_bits,
        "ranges": json.dumps([span.to_json() for span in promise.spans]),
        "state": "reserved",
        "sealed": sealed,
        "created_s": created_s,
        "expires_s": expires_s,
        "ended_s": None,
    }


@dataclass(frozen=True, slots=True)
class _Block:
    """A block that promises speak about, with those of its atoms that they want and that are here."""

    id: int
    seen: int
    usable: bool
    salt: bytes
    atoms: dict[int, bytes]


def assign(
    connection: Connection,
    sealer: Sealer,
    pool: Pool,
    promises: Sequence[Assignment],
    now_s: float,
    expires_s: float,
) -> dict[str, Refusal]:
    """Take in what a peer promised its masters; return the refused ones. The same promise twice counts once."""
    direction = direction_of(pool.peer, pool.kme)
    refused: dict[str, Refusal] = {}
    fresh = _fresh(connection, pool, promises, direction, refused)
    blocks = _blocks(connection, pool, fresh, direction)
    values: dict[str, bytes] = {}
    gone: dict[int, list[int]] = defaultdict(list)
    for promise in fresh:
        problem = _unfit(promise, blocks)
        if problem is not None:
            refused[promise.key_id] = problem
            continue
        parts = []
        for span in promise.spans:
            here = blocks[span.link, span.block]
            opener = sealer.block(here.salt, pool.kme, pool.peer, span.link, span.block)
            for position in range(span.first, span.first + span.count):
                parts.append(opener.open(direction, position, here.atoms.pop(position)))
                gone[here.id].append(position)
        values[promise.key_id] = b"".join(parts)[: promise.size_bits // 8]
    for block_id, positions in gone.items():
        remove(connection, block_id, direction, sorted(positions))
    _insert_promises(connection, sealer, pool, [p for p in fresh if p.key_id in values], values, (now_s, expires_s))
    return refused


def _fresh(
    connection: Connection,
    pool: Pool,
    promises: Sequence[Assignment],
    direction: int,
    refused: dict[str, Refusal],
) -> list[Assignment]:
    """Return the promises that are new here and well formed; note the refused ones."""
    ids = [promise.key_id for promise in promises]
    known = {row.key_id: row for row in connection.execute(KNOWN_KEYS, {"ids": ids})}
    fresh: dict[str, Assignment] = {}
    for promise in promises:
        row = known.get(promise.key_id)
        if row is not None:
            if (row.request, row.peer) != (promise.request, pool.peer) or row.state == "void":
                blocks = _blocks(connection, pool, [promise], direction)
                seen = [blocks[span.link, span.block].seen for span in promise.spans[:1]]
                refused[promise.key_id] = Refusal("already-assigned", seen[0])
        elif promise.key_id in fresh or _malformed(promise, direction, pool.unit_bits):
            refused[promise.key_id] = Refusal("malformed")
        else:
            fresh[promise.key_id] = promise
    return list(fresh.values())


def _malformed(promise: Assignment, direction: int, unit_bits: int) -> bool:
    atoms = sum(span.count for span in promise.spans)
    return (
        promise.key_id != key_id_of(promise.spans[0], direction)
        or promise.size_bits % 8 != 0
        or not (atoms - 1) * unit_bits < promise.size_bits <= atoms * unit_bits
        or len(set(promise.slaves)) != len(promise.slaves)
    )


def _blocks(
    connection: Connection, pool: Pool, promises: Sequence[Assignment], direction: int
) -> dict[tuple[str, int], _Block]:
    """Look up the blocks that promises speak about, and the atoms that they want."""
    wanted: dict[tuple[str, int], set[int]] = defaultdict(set)
    for promise in promises:
        for span in promise.spans:
            wanted[span.link, span.block].update(range(span.first, span.first + span.count))
    out = {}
    for (link, number), positions in wanted.items():
        place = {"peer": pool.peer, "link": link, "number": number}
        row = connection.execute(ONE_BLOCK[direction], place).first()
        if row is None:
            out[link, number] = _Block(0, 0, False, b"", {})
            continue
        atoms: dict[int, bytes] = {}
        for low, high in _runs(sorted(positions)):
            run = {"block": row.id, "way": direction, "low": low, "high": high}
            atoms.update((position, sealed) for position, sealed in connection.execute(SOME_ATOMS, run))
        out[link, number] = _Block(row.id, row.seen, row.state not in ("held", "expired"), row.salt, atoms)
    return out


def _unfit(promise: Assignment, blocks: Mapping[tuple[str, int], _Block]) -> Refusal | None:
    """Say why a promise cannot be kept from what is here, or None."""
    places = set()
    for span in promise.spans:
        here = blocks[span.link, span.block]
        if not here.usable:
            return Refusal("unknown-block")
        for position in range(span.first, span.first + span.count):
            if position not in here.atoms:
                return Refusal("already-assigned", here.seen)
            places.add((span.link, span.block, position))
    return None if len(places) == sum(span.count for span in promise.spans) else Refusal("malformed")


def _insert_promises(
    connection: Connection,
    sealer: Sealer,
    pool: Pool,
    promises: Sequence[Assignment],
    values: Mapping[str, bytes],
    life: tuple[float, float],
) -> None:
    if not promises:
        return
    rows = []
    for promise in promises:
        sealed = sealer.seal(values[promise.key_id], "key", promise.key_id, pool.peer, "slave")
        rows.append(key_row(promise, pool.peer, "slave", sealed, *life))
    connection.execute(NEW_KEYS, rows)
    waiting = [
        {"key_id": promise.key_id, "recipient": slave, "delivered_s": None}
        for promise in promises
        for slave in promise.slaves
    ]
    connection.execute(NEW_DELIVERIES, waiting)


def give_up(
    connection: Connection,
    kme: str,
    key_ids: Sequence[str],
    refused: Sequence[tuple[Assignment, Refusal]],
    now_s: float,
) -> None:
    """Void reserved keys of our masters. Burn what the peer has seen before; ask again about what it does not hold."""
    connection.execute(
        update(key)
        .where(key.c.key_id.in_(key_ids), key.c.role == "master", key.c.state == "reserved")
        .values(state="void", ended_s=now_s)
    )
    for promise, refusal in refused:
        for span in promise.spans:
            row = connection.execute(select(block).where(block.c.link == span.link, block.c.number == span.block)).one()
            if refusal.reason == "already-assigned":
                _burn_below(connection, row.id, direction_of(kme, row.peer), refusal.seen)
            elif refusal.reason == "unknown-block" and row.state == "ready":
                connection.execute(update(block).where(block.c.id == row.id).values(state="held"))


def _burn_below(connection: Connection, block_id: int, direction: int, seen: int) -> None:
    """Delete atoms that the peer saw promised before us: this store is older than what it once said."""
    place = {"block": block_id, "way": direction, "low": 0, "high": seen}
    positions = sorted(connection.execute(SOME_ATOMS, place).scalars())
    if positions:
        remove(connection, block_id, direction, positions)


def undelivered(connection: Connection, peer: str) -> list[tuple[str, str]]:
    """Return key id and request of what was reserved for masters here and never given to them."""
    found = select(key.c.key_id, key.c.request).where(
        key.c.peer == peer, key.c.role == "master", key.c.state == "reserved"
    )
    return [(row.key_id, row.request) for row in connection.execute(found)]


def void(connection: Connection, peer: str, key_ids: Sequence[str], now_s: float) -> None:
    """Void keys that a peer's masters never got. One that is not here yet gets a row, so that it is refused later."""
    known = {row.key_id for row in connection.execute(KNOWN_KEYS, {"ids": list(key_ids)})}
    connection.execute(
        update(key)
        .where(key.c.key_id.in_(key_ids), key.c.peer == peer, key.c.role == "slave", key.c.state == "reserved")
        .values(state="void", sealed=None, ended_s=now_s)
    )
    never = Assignment("", "", "", (), 0, ())
    rows = [
        {**key_row(never, peer, "slave", None, now_s, now_s), "key_id": key_id, "state": "void", "ended_s": now_s}
        for key_id in dict.fromkeys(key_ids)
        if key_id not in known
    ]
    if rows:
        connection.execute(NEW_KEYS, rows)
