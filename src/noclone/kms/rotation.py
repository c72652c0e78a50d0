"""Rotation of the key-encryption key (KEK): everything sealed anew, in one transaction.

In: a store at work, and a new KEK.  Out: the same store under the new one. What is sealed anew are data keys; what they
seal stays as it is. The old KEK then opens nothing of this database; an old copy of it, that is another matter.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, update

from noclone.errors import StoreError
from noclone.kms import failpoints
from noclone.kms.keyring import kek_fingerprint
from noclone.kms.locks import lock
from noclone.kms.operations import Desk
from noclone.kms.tables import block
from noclone.kms.workers import STORE

NEW_DEK = update(block).where(block.c.id == bindparam("which")).values(dek=bindparam("new"))


def rotate(connection: Connection, desk: Desk, value: bytes) -> int:
    """Seal all data keys under a new KEK; return its generation.

    Raises:
        StoreError: It is the one in use.
    """
    session = desk.session
    lock(connection, STORE, session.store_id, alone=True)
    old = session.keyring
    if value == old.kek:
        raise StoreError("this key-encryption key is in use already")
    new = old.rotated(connection, value, desk.now_s())
    blocks = select(block.c.id, block.c.peer, block.c.link, block.c.number, block.c.dek).where(block.c.dek.is_not(None))
    rows = [
        {"which": row.id, "new": old.rewrap(new, row.dek, desk.name, row.peer, row.link, row.number)}
        for row in connection.execute(blocks)
    ]
    failpoints.reach("while the KEK is rotated")
    if rows:
        connection.execute(NEW_DEK, rows)
    session.journal.note(
        "kek rotated", generation=new.generation, fingerprint=kek_fingerprint(value, session.store_id), blocks=len(rows)
    )
    session.turn_to(new)
    return new.generation
