"""What nobody will get: promises in doubt are voided at both ends, and what a peer saw promised before is burned.

Functions on a connection, run by `commits`; each decides first and writes afterwards. Void is an end: no atom returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from noclone.kms.keyring import Keyring
from noclone.kms.keys import Assignment, direction_of
from noclone.kms.locks import Among, lock
from noclone.kms.pieces import Pieces, Place
from noclone.kms.pools import CLOSED, Pool
from noclone.kms.reservations import Refusal, known_keys, known_voided, withdraw
from noclone.kms.tables import RESERVED, block, key, voided, worker


def give_up(
    connection: Connection,
    keyring: Keyring,
    pool: Pool,
    key_ids: Sequence[str],
    refused: Sequence[tuple[Assignment, Refusal]],
    now_s: float,
) -> None:
    """Void runs of keys of our masters. Burn what the peer has seen before; ask again about what it does not hold."""
    connection.execute(
        update(key)
        .where(Among(key.c.key_id), key.c.role == "master", key.c.state == "reserved")
        .values(state="void", sealed=None, ended_s=now_s),
        {"ids": list(key_ids)},
    )
    for promise, refusal in refused:
        for span in promise.spans:
            where = select(block).where(block.c.link == span.link, block.c.number == span.block)
            row = connection.execute(where.with_for_update()).one()
            if refusal.reason == "already-assigned":
                _burn_below(connection, keyring, replace(pool, peer=row.peer), row, refusal.seen)
            elif refusal.reason == "unknown-block" and row.state == "ready":
                waiting = {block.c.state: "held", **CLOSED}
                connection.execute(update(block).where(block.c.id == row.id).values(waiting))


def _burn_below(connection: Connection, keyring: Keyring, pool: Pool, row: Any, seen: int) -> None:
    """Delete atoms that the peer saw promised before us: this store is older than what it once said."""
    if row.dek is None:
        return
    direction = direction_of(pool.kme, pool.peer)
    opener = keyring.block(row.dek, pool.kme, pool.peer, row.link, row.number)
    pieces = Pieces(connection, Place(row.id, direction, pool.unit_bits // 8, opener))
    pieces.take_all(0, seen)
    withdraw(connection, row.id, direction, pieces)


def undelivered(connection: Connection, peer: str, ours: int) -> list[tuple[str, str]]:
    """Return key id and request of what was reserved for masters here and never given to them.

    Only what worker `ours` reserved, or one that is no more: what others have under way is not in doubt.
    """
    at_work = select(worker.c.id).where(worker.c.state == "working", worker.c.id != ours)
    found = select(key.c.key_id, key.c.request).where(
        RESERVED,
        key.c.peer == peer,
        key.c.role == "master",
        or_(key.c.worker.is_(None), key.c.worker.not_in(at_work)),
    )
    return [(row.key_id, row.request) for row in connection.execute(found)]


def void(connection: Connection, kme: str, peer: str, key_ids: Sequence[str], now_s: float) -> None:
    """Void runs of keys that a peer's masters never got. What is not here yet is noted, and its promise refused later.

    A peer speaks of its own masters' keys only: an id of another pool, or of the other direction, changes nothing for
    those whom it belongs to. A key begins at an atom, so no more ids are noted than the pool has had atoms.
    """
    lock(connection, "voided", kme, peer, alone=True)  # a promise of theirs that is under way is here, or comes after
    known = known_keys(connection, key_ids)
    connection.execute(
        update(key)
        .where(Among(key.c.key_id), key.c.peer == peer, key.c.role == "slave", key.c.state == "reserved")
        .values(state="void", sealed=None, ended_s=now_s),
        {"ids": list(key_ids)},
    )
    noted = known_voided(connection, peer, key_ids)
    fresh = [key_id for key_id in dict.fromkeys(key_ids) if key_id not in known and key_id not in noted]
    rows = [{"peer": peer, "key_id": key_id, "created_s": now_s} for key_id in fresh[: _room(connection, peer)]]
    if rows:
        connection.execute(insert(voided), rows)


def _room(connection: Connection, peer: str) -> int:
    """Return how many more ids a peer may have noted."""
    atoms = connection.execute(select(func.coalesce(func.sum(block.c.atoms), 0)).where(block.c.peer == peer))
    noted = connection.execute(select(func.count()).select_from(voided).where(voided.c.peer == peer))
    return max(0, int(atoms.scalar_one()) - int(noted.scalar_one()))
