"""Versioned migrations: a store that an older program made is brought to this program's version when it is opened.

In: a connection, in the transaction of its opening, and the version that the store says.  Out: the tables of `tables`.
All steps and the new version are one transaction: after a crash the store is the old one or the new one. There is no
way back: a store that is newer than the program is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, update

from noclone.errors import StoreError
from noclone.kms.tables import OPEN_INDEXES, VERSION, meta


def migrate(connection: Connection, found: str) -> None:
    """Bring a store from the version that it says to this one.

    Raises:
        StoreError: There is no way from there.
    """
    version = int(found) if found.isascii() and found.isdigit() else 0
    if version > VERSION:
        raise StoreError(
            f"this key store has version {found}, and this program knows {VERSION} at most",
            hint="use the newer noclone that made it; there is no way back",
        )
    if version < min(STEPS):
        raise StoreError(f"this key store has version {found}, which cannot be brought to {VERSION}")
    for step in range(version, VERSION):
        STEPS[step](connection)
    if version < VERSION:
        connection.execute(update(meta).where(meta.c.name == "version").values(value=str(VERSION).encode()))


def _add_profiles(connection: Connection) -> None:
    """2 to 3: blocks say what policies choose them by, and which directions have something to claim."""
    _run(
        connection,
        "ALTER TABLE block ADD COLUMN profile VARCHAR NOT NULL DEFAULT 'link'",
        "ALTER TABLE block ADD COLUMN open_0 INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE block ADD COLUMN open_1 INTEGER NOT NULL DEFAULT 0",
        "UPDATE block SET open_0 = 1 WHERE state = 'ready' AND left_0 > 0",
        "UPDATE block SET open_1 = 1 WHERE state = 'ready' AND left_1 > 0",
    )
    for index in OPEN_INDEXES:
        index.create(connection, checkfirst=True)


def _run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


STEPS: dict[int, Callable[[Connection], None]] = {2: _add_profiles}
