"""The promise, at the master's end: make keys of the oldest ready atoms of our direction.

Functions on a connection, run by `commits`. What is claimed has left the pool for good; the bytes are in memory alone,
for the master is the only one here who gets them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, literal_column, select

from noclone.errors import KeysExhausted, NocloneError, StoreError
from noclone.kms.keyring import Keyring
from noclone.kms.keys import Assignment, Reservation, Span, StoredKey, direction_of, key_id_of
from noclone.kms.locks import insert_rows, is_shared
from noclone.kms.naming import name_key
from noclone.kms.pools import LEFT, Pool, provenance_of
from noclone.kms.reservations import key_row, known_keys, remove
from noclone.kms.tables import OPEN, atom, block, key
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
FIRST_ATOMS = (
    select(atom.c.position, atom.c.sealed)
    .where(atom.c.block_id == bindparam("block"), atom.c.direction == bindparam("way"))
    .order_by(atom.c.position)
    .limit(bindparam("count"))
)
POSITIONS = (
    select(atom.c.position)
    .where(atom.c.block_id == bindparam("block"), atom.c.direction == bindparam("way"))
    .order_by(atom.c.position)
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
class _Taken:
    """One atom out of the pool."""

    link: str
    block: int
    position: int
    value: bytes
    provenance: Provenance


def claim(
    connection: Connection, claimant: Claimant, wants: Sequence[Want], now_s: float, expires_s: float
) -> list[list[Reservation] | NocloneError]:
    """Make keys of the oldest ready atoms of our direction: for each request all that it wants, or nothing.

    An atom whose key id has a row here already, which only a damaged store has, is burned, so that it blocks nobody.
    """
    keyring, pool = claimant.keyring, claimant.pool
    direction = direction_of(pool.kme, pool.peer)
    needs = [want.number * _atoms_each(want, pool) for want in wants]
    while True:
        chosen, available = _choose(connection, pool, direction, sum(needs), claimant.after_s)
        out, removals = _grant(connection, keyring, pool, wants, needs, chosen, available)
        made = [reservation.assignment for answer in out if isinstance(answer, list) for reservation in answer]
        if not known_keys(connection, [promise.key_id for promise in made]):
            break
        _burn_known(connection, direction, chosen)
    for block_id, positions in removals:
        remove(connection, block_id, direction, positions)
    if made:
        rows = [
            {**key_row(promise, pool.peer, "master", now_s, expires_s), "worker": claimant.worker} for promise in made
        ]
        insert_rows(connection, key, rows)
    return out


def _grant(
    connection: Connection,
    keyring: Keyring,
    pool: Pool,
    wants: Sequence[Want],
    needs: Sequence[int],
    chosen: Sequence[tuple[Any, int]],
    available: int,
) -> tuple[list[list[Reservation] | NocloneError], list[tuple[int, list[int]]]]:
    """Decide who gets what of the chosen blocks; return the answers, and which atoms leave which block."""
    direction = direction_of(pool.kme, pool.peer)
    granted, spare = [], available
    for need in needs:
        granted.append(need <= spare)
        spare -= need if granted[-1] else 0
    taken, removals = _read(connection, keyring, pool, direction, chosen, available - spare)
    out: list[list[Reservation] | NocloneError] = []
    start = 0
    for want, need, yes in zip(wants, needs, granted, strict=True):
        if not yes:
            out.append(_exhausted(pool, need, spare))
            continue
        out.append(_make_keys(taken[start : start + need], want, pool, direction))
        start += need
    return out, removals


def _burn_known(connection: Connection, direction: int, chosen: Sequence[tuple[Any, int]]) -> None:
    """Delete those atoms of the chosen blocks whose key ids have rows here."""
    for row, _ in chosen:
        positions = connection.execute(POSITIONS, {"block": row.id, "way": direction}).scalars()
        ids = {key_id_of(Span(row.link, row.number, position, 1), direction): position for position in positions}
        known = known_keys(connection, list(ids))
        if known:
            remove(connection, row.id, direction, sorted(ids[key_id] for key_id in known))


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


def _read(
    connection: Connection,
    keyring: Keyring,
    pool: Pool,
    direction: int,
    chosen: Sequence[tuple[Any, int]],
    count: int,
) -> tuple[list[_Taken], list[tuple[int, list[int]]]]:
    """Read the first `count` atoms of the chosen blocks; return them, and which atoms of which block they are."""
    taken: list[_Taken] = []
    removals: list[tuple[int, list[int]]] = []
    for row, left in chosen:
        share = min(left, count - len(taken))
        if not share:
            break
        atoms = connection.execute(FIRST_ATOMS, {"block": row.id, "way": direction, "count": share}).all()
        if len(atoms) != share:
            raise StoreError(f"the key store lost atoms of block {row.number} of {row.link}", hint="it is damaged")
        opener = keyring.block(row.dek, pool.kme, pool.peer, row.link, row.number)
        provenance = provenance_of(row.provenance)
        taken += [
            _Taken(row.link, row.number, position, opener.open(direction, position, sealed), provenance)
            for position, sealed in atoms
        ]
        removals.append((row.id, [position for position, _ in atoms]))
    return taken, removals


def _make_keys(taken: Sequence[_Taken], want: Want, pool: Pool, direction: int) -> list[Reservation]:
    """Make keys: atoms joined, and cut to the size that was asked for."""
    each = _atoms_each(want, pool)
    out = []
    for start in range(0, len(taken), each):
        atoms = taken[start : start + each]
        spans = _spans(atoms)
        promise = Assignment(
            key_id_of(spans[0], direction), want.request, want.master, want.slaves, want.size_bits, spans
        )
        value = b"".join([one.value for one in atoms])[: want.size_bits // 8]
        origins = tuple({(one.link, one.block): one.provenance for one in atoms}.values())
        value = name_key(value, promise, pool.kme, pool.peer, origins)
        out.append(Reservation(promise, StoredKey(promise.key_id, value, origins)))
    return out


def _spans(atoms: Sequence[_Taken]) -> tuple[Span, ...]:
    spans: list[Span] = []
    for one in atoms:
        last = spans[-1] if spans else None
        if last and (last.link, last.block, last.first + last.count) == (one.link, one.block, one.position):
            spans[-1] = Span(last.link, last.block, last.first, last.count + 1)
        else:
            spans.append(Span(one.link, one.block, one.position, 1))
    return tuple(spans)
