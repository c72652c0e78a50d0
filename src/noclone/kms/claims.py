"""The promise, at the master's end: make keys of the oldest ready atoms of our direction.

Functions on a connection, run by `commits`. What is claimed has left the pool for good; the bytes are in memory alone,
for the master is the only one here who gets them.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, bindparam, literal_column, select

from noclone.errors import KeysExhausted, NocloneError, StoreError
from noclone.kms.keyring import Keyring
from noclone.kms.keys import Assignment, Reservation, Span, direction_of, key_id_of, position_of, same_block
from noclone.kms.locks import insert_rows, is_shared
from noclone.kms.naming import name_keys
from noclone.kms.pieces import Pieces, Place
from noclone.kms.pools import LEFT, Pool, provenance_of
from noclone.kms.reservations import cut_keys, key_row, withdraw
from noclone.kms.tables import OPEN, block, key
from noclone.records import Provenance

EXPIRY_MARGIN_S = 5.0  # a master takes no key that the other end, whose clock may be ahead, is about to erase

BLOCKS_AT_ONCE = (1, 8)  # mostly one block has all that is wanted


def _open_blocks_query(direction: int, *, of_profile: bool) -> Select[Any]:
    query = select(
        block.c.id, block.c.link, block.c.number, block.c.dek, block.c.provenance, LEFT[direction].label("left")
    ).where(
        block.c.peer == bindparam("peer"),
        OPEN[direction] == literal_column("1"),  # a literal, or SQLite does not see that the index fits
        block.c.expires_s > bindparam("after"),
        block.c.id > bindparam("above"),
    )
    if of_profile:
        query = query.where(block.c.profile == bindparam("profile"))
    return query.order_by(block.c.id).limit(bindparam("many"))


OPEN_BLOCKS = {
    (direction, of_profile): _open_blocks_query(direction, of_profile=of_profile)
    for direction in (0, 1)
    for of_profile in (False, True)
}
FREE_BLOCKS = {what: query.with_for_update(skip_locked=True) for what, query in OPEN_BLOCKS.items()}
OUR_BLOCKS = {what: query.with_for_update() for what, query in OPEN_BLOCKS.items()}
LAST_RUN = (
    select(key.c.key_id, key.c.number, key.c.ranges)
    .where(key.c.key_id <= bindparam("last"))
    .order_by(key.c.key_id.desc())
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Want:
    """What one request of a master asks of a pool."""

    request: str
    master: str
    slaves: tuple[str, ...]
    number: int
    size_bits: int


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims, from which part of a pool: of blocks that live longer than that."""

    keyring: Keyring
    pool: Pool
    worker: int
    after_s: float


@dataclass(frozen=True, slots=True)
class _Hand:
    """A block to take atoms from: its row, what is read of it, and which runs are to be taken."""

    row: Any
    pieces: Pieces
    runs: Sequence[tuple[int, int]]


@dataclass(slots=True)
class _Run:
    """Atoms out of the pool that stood one after another, and how many of them have been cut off so far."""

    link: str
    block: int
    first: int
    count: int
    data: bytes = field(repr=False)
    provenance: Provenance
    cut: int = 0

    def next(self, count: int) -> tuple[Span, bytes]:
        """Cut off some more atoms."""
        each, begin = len(self.data) // self.count, self.cut
        self.cut += count
        return Span(self.link, self.block, self.first + begin, count), self.data[begin * each : self.cut * each]


def claim(
    connection: Connection, claimant: Claimant, wants: Sequence[Want], now_s: float, expires_s: float
) -> list[list[Reservation] | NocloneError]:
    """Make keys of the oldest ready atoms of our direction: for each request all that it wants, or nothing.

    An atom whose key id has a row here already, which only a damaged store has, is burned, so that it blocks nobody.
    """
    pool = claimant.pool
    direction = direction_of(pool.kme, pool.peer)
    needs = [want.number * _atoms_each(want, pool) for want in wants]
    while True:
        chosen, available = _choose(connection, pool, direction, sum(needs), claimant.after_s)
        granted, spare = [], available
        for need in needs:
            granted.append(need <= spare)
            spare -= need if granted[-1] else 0
        hands = _reach(connection, claimant, direction, chosen, available - spare)
        if not sum(_burn_known(connection, direction, hand) for hand in hands):
            break
    runs = deque(run for hand in hands for run in _take(connection, direction, hand))
    out: list[list[Reservation] | NocloneError] = [
        _make_keys(runs, want, pool, direction) if yes else _exhausted(pool, need, spare)
        for want, need, yes in zip(wants, needs, granted, strict=True)
    ]
    made = [reservation.assignment for answer in out if isinstance(answer, list) for reservation in answer]
    if made:
        rows = [
            {**key_row(promise, pool.peer, "master", now_s, expires_s), "worker": claimant.worker} for promise in made
        ]
        insert_rows(connection, key, rows)
    return out


def _reach(
    connection: Connection, claimant: Claimant, direction: int, chosen: Sequence[tuple[Any, int]], count: int
) -> list[_Hand]:
    """Read the first `count` atoms of the chosen blocks."""
    pool, hands = claimant.pool, []
    for row, left in chosen:
        share = min(left, count)
        if not share:
            break
        opener = claimant.keyring.block(row.dek, pool.kme, pool.peer, row.link, row.number)
        pieces = Pieces(connection, Place(row.id, direction, pool.unit_bits // 8, opener))
        runs = pieces.load_first(share)
        if sum(length for _, length in runs) != share:
            raise StoreError(f"the key store lost atoms of block {row.number} of {row.link}", hint="it is damaged")
        hands.append(_Hand(row, pieces, runs))
        count -= share
    return hands


def _take(connection: Connection, direction: int, hand: _Hand) -> list[_Run]:
    """Take what was read out of the pool."""
    row, provenance = hand.row, provenance_of(hand.row.provenance)
    runs = [
        _Run(row.link, row.number, first, count, hand.pieces.take(first, count), provenance)
        for first, count in hand.runs
    ]
    withdraw(connection, row.id, direction, hand.pieces)
    return runs


def _burn_known(connection: Connection, direction: int, hand: _Hand) -> bool:
    """Burn those atoms in hand that belong to keys which have rows here; return whether there were any."""
    row, burned = hand.row, False
    for first, count in hand.runs:
        last = key_id_of(Span(row.link, row.number, first + count - 1, 1), direction)
        found = connection.execute(LAST_RUN, {"last": last}).first()
        if found is None or not same_block(found.key_id, last):
            continue
        atoms = json.loads(found.ranges)[0][3]
        begin = position_of(found.key_id)
        if begin + atoms > first:
            hand.pieces.take_all(max(first, begin), min(first + count, begin + atoms))
            burned = True
    if burned:
        withdraw(connection, row.id, direction, hand.pieces)
    return burned


def _atoms_each(want: Want, pool: Pool) -> int:
    return -(-want.size_bits // pool.unit_bits)


def _exhausted(pool: Pool, need: int, spare: int) -> KeysExhausted:
    kinds = "" if pool.profiles is None else f" of {', '.join(pool.profiles) or 'no profile'}"
    return KeysExhausted(
        f"the pool with {pool.peer} holds {spare * pool.unit_bits} bits of key{kinds} for masters here; "
        f"{need * pool.unit_bits} were asked for",
        hint="wait until the link has distilled more, or ask for less",
    )


def _choose(
    connection: Connection, pool: Pool, direction: int, count: int, after_s: float
) -> tuple[list[tuple[Any, int]], int]:
    """Return the blocks to take `count` atoms from, with how many each has, and how many that makes in all.

    With other workers on the same store we take the blocks that none of them is at work on; if these do not hold
    enough we let them go and wait for the others, in the order of the blocks, so that nobody waits in a circle.
    """
    if is_shared(connection):
        savepoint = connection.begin_nested()
        chosen, available = _gather(_blocks(connection, pool, direction, after_s, FREE_BLOCKS), count)
        if available >= count:
            savepoint.commit()
            return chosen, available
        savepoint.rollback()
    return _gather(_blocks(connection, pool, direction, after_s, OUR_BLOCKS), count)


def _gather(blocks: Iterator[Any], count: int) -> tuple[list[tuple[Any, int]], int]:
    chosen: list[tuple[Any, int]] = []
    available = 0
    for row in blocks:
        chosen.append((row, row.left))
        available += row.left
        if available >= count:
            break
    return chosen, available


def _blocks(
    connection: Connection, pool: Pool, direction: int, after_s: float, queries: Mapping[tuple[int, bool], Select[Any]]
) -> Iterator[Any]:
    """Yield the blocks that have atoms for us: of the first profile, the oldest first, then of the next."""
    for profile in pool.profiles if pool.profiles is not None else (None,):
        which = (direction, profile is not None)
        place = {"peer": pool.peer, "after": after_s, "above": 0, "many": BLOCKS_AT_ONCE[0]}
        if profile is not None:
            place["profile"] = profile
        while True:
            rows = connection.execute(queries[which], place).all()
            yield from rows
            place["many"] = BLOCKS_AT_ONCE[1]
            if rows:
                place["above"] = rows[-1].id
            elif queries is FREE_BLOCKS or connection.execute(OPEN_BLOCKS[which], place).first() is None:
                break  # else the ones that we waited for were used up meanwhile, and there are more


def _make_keys(runs: deque[_Run], want: Want, pool: Pool, direction: int) -> list[Reservation]:
    """Make the keys of a request from the runs in front: as many of a run as it holds, or one across several."""
    each, left = _atoms_each(want, pool), want.number
    out = []
    while left:
        number = max(1, min(left, (runs[0].count - runs[0].cut) // each))
        missing, spans, parts, origins = number * each, [], [], []
        while missing:
            run = runs[0]
            span, data = run.next(min(missing, run.count - run.cut))
            missing -= span.count
            spans.append(span)
            parts.append(data)
            origins.append(run.provenance)
            if run.cut == run.count:
                runs.popleft()
        name = key_id_of(spans[0], direction)
        promise = Assignment(name, want.request, want.master, want.slaves, want.size_bits, tuple(spans), number)
        values = cut_keys(parts, number, want.size_bits // 8)
        values = name_keys(values, promise, pool.kme, pool.peer, origins)
        out.append(Reservation(promise, values, tuple(dict.fromkeys(origins)) if len(origins) > 1 else (origins[0],)))
        left -= number
    return out
