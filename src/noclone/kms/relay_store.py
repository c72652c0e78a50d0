"""What relays ask of the key store beside deposits and claims: is a block here, and what must go.

Functions on a store; each returns a future, as the store's own methods do.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from noclone.kms.answers import Answer
from noclone.kms.pools import provenance_of
from noclone.kms.store import Store
from noclone.kms.tables import block
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
