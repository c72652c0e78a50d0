"""Pools: the blocks that two KMEs share, what is left of them, and their end.

Functions on a connection, run by `commits`. A block is held when this end has it, ready when the other end has it as
well (only then may its key be promised to anybody), spent when its last atom is gone, expired when its time is over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update

from noclone.combined import provenance_from_json
from noclone.kms.keys import direction_of
from noclone.kms.locks import insert_rows
from noclone.kms.tables import OPEN, RESERVED, RESTORED, block, key, meta, piece
from noclone.records import LINK_PROFILE, Provenance

LEFT = (block.c.left_0, block.c.left_1)
SEEN = (block.c.seen_0, block.c.seen_1)
CLOSED = dict.fromkeys(OPEN, 0)
MAKE_READY = (
    update(block)
    .where(block.c.id == bindparam("block"), block.c.state == "held")
    .values(
        {
            block.c.state: "ready",
            **{is_open: case((left > 0, 1), else_=0) for is_open, left in zip(OPEN, LEFT, strict=True)},
        }
    )
)


@dataclass(frozen=True, slots=True)
class Pool:
    """Which pool, seen from which end; None: key of all profiles."""

    kme: str
    peer: str
    unit_bits: int
    profiles: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class BlockName:
    """Which block, and how many atoms it was cut into."""

    link: str
    number: int
    atoms: int

    def to_json(self) -> list[Any]:
        """Return plain JSON values."""
        return [self.link, self.number, self.atoms]

    @classmethod
    def from_json(cls, data: Any) -> BlockName:
        """Check and rebuild what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case [str(link), int(number), int(atoms)] if 0 <= number < 1 << 62 and 0 <= atoms < 1 << 40:
                return cls(link, number, atoms)
        raise ValueError("a block's name is [link, number, atoms]")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A block at the door.

    Args:
        atoms: Into how many atoms it was cut.
        pieces: These, sealed: direction, first position, bytes.
        dek: Its data key, not sealed yet: that is done under the KEK of the moment at which it is let in.
    """

    peer: str
    profile: str
    provenance: Provenance
    atoms: int
    pieces: Sequence[tuple[int, int, bytes]] = field(repr=False)
    dek: bytes = field(repr=False)
    created_s: float
    expires_s: float


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep erased."""

    blocks: int
    keys: int


@dataclass(frozen=True, slots=True)
class Account:
    """Where the atoms of a link are: they add up."""

    deposited_bits: int
    ready_bits: int
    held_bits: int
    promised_bits: int
    delivered_bits: int
    burned_bits: int


@lru_cache(maxsize=1024)
def provenance_of(text: str) -> Provenance:
    """Read a block's provenance as the table keeps it."""
    return provenance_from_json(json.loads(text))


def insert_block(connection: Connection, arrival: Arrival, dek: bytes) -> bool:
    """Take a block in, its data key sealed; return False if it was here before."""
    origin, atoms = arrival.provenance, arrival.atoms
    known = select(block.c.id).where(block.c.link == origin.link, block.c.number == origin.block)
    if connection.execute(known).first() is not None:
        return False
    values = {
        "peer": arrival.peer,
        "profile": arrival.profile,
        "link": origin.link,
        "number": origin.block,
        "state": "held" if atoms else "spent",
        "atoms": atoms,
        "left_0": (atoms + 1) // 2,
        "left_1": atoms // 2,
        "seen_0": 0,
        "seen_1": 0,
        "dek": dek if atoms else None,
        "provenance": json.dumps(origin.to_json()),
        "created_s": arrival.created_s,
        "expires_s": arrival.expires_s,
    }
    block_id = connection.execute(insert(block).returning(block.c.id), [values]).scalar_one()
    if atoms:
        rows = [
            {"block_id": block_id, "direction": way, "first": at, "sealed": sealed}
            for way, at, sealed in arrival.pieces
        ]
        insert_rows(connection, piece, rows)
    return True


def held(connection: Connection, peer: str) -> list[BlockName]:
    """Return blocks that the peer has not acknowledged."""
    rows = connection.execute(
        select(block.c.link, block.c.number, block.c.atoms)
        .where(block.c.peer == peer, block.c.state == "held")
        .order_by(block.c.id)
    )
    return [BlockName(row.link, row.number, row.atoms) for row in rows]


def acknowledge(connection: Connection, peer: str, blocks: Sequence[BlockName]) -> list[BlockName]:
    """Make blocks ready that both ends hold; return those that this end holds, or held."""
    ours = []
    for name in blocks:
        row = connection.execute(
            select(block.c.id, block.c.state).where(
                block.c.peer == peer,
                block.c.link == name.link,
                block.c.number == name.number,
                block.c.atoms == name.atoms,
            )
        ).first()
        if row is None or row.state in ("expired", "void"):
            continue
        if row.state == "held":
            connection.execute(MAKE_READY, {"block": row.id})
        ours.append(name)
    return ours


def totals(connection: Connection, pool: Pool, now_s: float) -> tuple[int, int, int, int]:
    """Return ready bits of both directions, held bits, and the number of reserved keys, these of all profiles."""
    query = select(block.c.state, func.sum(block.c.left_0), func.sum(block.c.left_1)).where(
        block.c.peer == pool.peer, block.c.state.in_(("held", "ready")), block.c.expires_s > now_s
    )
    if pool.profiles is not None:
        query = query.where(block.c.profile.in_(pool.profiles))
    rows = connection.execute(query.group_by(block.c.state))
    left = {state: (int(left_0), int(left_1)) for state, left_0, left_1 in rows}
    ready, waiting = left.get("ready", (0, 0)), left.get("held", (0, 0))
    reserved = connection.execute(
        select(func.coalesce(func.sum(key.c.waiting), 0)).where(RESERVED, key.c.peer == pool.peer)
    ).scalar_one()
    out, unit = direction_of(pool.kme, pool.peer), pool.unit_bits
    return ready[out] * unit, ready[1 - out] * unit, sum(waiting) * unit, int(reserved)


def next_up(connection: Connection, pool: Pool, now_s: float, many: int) -> list[Provenance]:
    """Return the records of blocks that have key for masters here, in the order in which claims take them."""
    way = direction_of(pool.kme, pool.peer)
    query = select(block.c.provenance).where(block.c.peer == pool.peer, OPEN[way] == 1, block.c.expires_s > now_s)
    if pool.profiles is not None:
        query = query.where(block.c.profile.in_(pool.profiles))
    return [provenance_of(text) for text in connection.execute(query.order_by(block.c.id).limit(many)).scalars()]


def is_void(connection: Connection, peer: str) -> bool:
    """Say whether a restore from a backup made what was shared with a peer void, and nothing came since."""
    text = connection.execute(select(meta.c.value).where(meta.c.name == RESTORED)).scalar()
    if text is None:
        return False
    shared = select(func.count()).select_from(block).where(block.c.peer == peer)
    void = connection.execute(shared.where(block.c.state == "void")).scalar_one()
    fresh = connection.execute(shared.where(block.c.created_s >= float(bytes(text)))).scalar_one()
    return bool(void) and not fresh


def discard_held(connection: Connection, before_s: float) -> int:
    """Erase relayed blocks that came before a time and are not ready; return how many."""
    orphans = select(block.c.id).where(
        block.c.state == "held", block.c.profile != LINK_PROFILE, block.c.created_s <= before_s
    )
    ids = list(connection.execute(orphans.order_by(block.c.id).with_for_update()).scalars())
    for number in ids:
        gone = {block.c.state: "expired", block.c.dek: None, **dict.fromkeys(LEFT, 0), **CLOSED}
        connection.execute(delete(piece).where(piece.c.block_id == number))
        connection.execute(update(block).where(block.c.id == number).values(gone))
    return len(ids)


def sweep(connection: Connection, now_s: float) -> Swept:
    """Erase blocks and keys whose time is over; their rows stay."""
    old = [
        row.id
        for row in connection.execute(
            select(block.c.id)
            .where(block.c.state.in_(("held", "ready")), block.c.expires_s <= now_s)
            .order_by(block.c.id)
            .with_for_update(skip_locked=True)  # who is at work on it leaves it to the next sweep
        )
    ]
    for block_id in old:
        connection.execute(delete(piece).where(piece.c.block_id == block_id))
        gone = {block.c.state: "expired", block.c.dek: None, **dict.fromkeys(LEFT, 0), **CLOSED}
        connection.execute(update(block).where(block.c.id == block_id).values(gone))
    ended = connection.execute(
        update(key)
        .where(RESERVED, key.c.expires_s <= now_s)
        .values(state="expired", sealed=None, ended_s=now_s)
        .returning(key.c.waiting)
    )
    return Swept(len(old), sum(ended.scalars()))


def account(connection: Connection, link: str, unit_bits: int) -> Account:
    """Add up where a link's atoms are."""
    deposited = ready = waiting = 0
    for row in connection.execute(select(block).where(block.c.link == link)):
        deposited += row.atoms
        left = row.left_0 + row.left_1
        ready += left if row.state == "ready" else 0
        waiting += left if row.state == "held" else 0
    by_state = {"reserved": 0, "erased": 0}
    for row in connection.execute(select(key.c.ranges, key.c.state)):
        count = sum(span[3] for span in json.loads(row.ranges) if span[0] == link)
        by_state[row.state] = by_state.get(row.state, 0) + count
    burned = deposited - ready - waiting - by_state["reserved"] - by_state["erased"]
    bits = [n * unit_bits for n in (deposited, ready, waiting, by_state["reserved"], by_state["erased"], burned)]
    return Account(*bits)
