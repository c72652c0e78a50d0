"""What relays ask of the key store beside deposits and claims: is a block here, and what must go.

Functions on a store; each returns a future, as the store's own methods do.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import ColumnElement, Connection, delete, select, update

from noclone.kms.answers import Answer
from noclone.kms.pools import CLOSED, LEFT, provenance_of
from noclone.kms.store import Store
from noclone.kms.tables import block, piece
from noclone.records import Provenance


def find_block(store: Store, link: str, number: int) -> Answer[Provenance | None]:
    """Return the record of a block that is or was here and may still become key; None if there is none."""

    def find(connection: Connection) -> Provenance | None:
        query = select(block.c.provenance).where(block.c.link == link, block.c.number == number)
        text = connection.execute(query).scalar()
        return None if text is None else provenance_of(text)

    return store.commits.submit(find)


def discard_held(store: Store, before_s: float) -> Answer[int]:
    """Erase relayed blocks that came before a time and that the other end has never said to hold; return how many.

    Such a block is what a crash in the middle of a relay leaves at one end. No key of it was promised to anybody: that
    takes a block that is ready at both ends.
    """

    return store.discard_held(before_s)


def discard_profiles(store: Store, allows: Callable[[str], bool]) -> Answer[int]:
    """Erase every block whose profile is not allowed any more; return how many. What was promised stays promised."""

    def discard(connection: Connection) -> int:
        waiting = block.c.state.in_(("held", "ready"))
        profiles = connection.execute(select(block.c.profile).where(waiting).distinct()).scalars().all()
        refused = [profile for profile in profiles if not allows(profile)]
        if not refused:
            return 0
        count = _discard(connection, waiting & block.c.profile.in_(refused))
        store.session.journal.note("discarded", blocks=count, profiles=refused)
        return count

    return store.commits.submit(discard)


def discard_block(store: Store, link: str, number: int) -> Answer[int]:
    """Erase what is left of one block. What was promised stays promised."""

    def discard(connection: Connection) -> int:
        waiting = block.c.state.in_(("held", "ready"))
        count = _discard(connection, waiting & (block.c.link == link) & (block.c.number == number))
        store.session.journal.note("discarded", blocks=count)
        return count

    return store.commits.submit(discard)


def _discard(connection: Connection, which: ColumnElement[bool]) -> int:
    ids = list(connection.execute(select(block.c.id).where(which).order_by(block.c.id).with_for_update()).scalars())
    for number in ids:
        gone = {block.c.state: "expired", block.c.dek: None, **dict.fromkeys(LEFT, 0), **CLOSED}
        connection.execute(delete(piece).where(piece.c.block_id == number))
        connection.execute(update(block).where(block.c.id == number).values(gone))
    return len(ids)
