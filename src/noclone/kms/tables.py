"""The tables of the key store, and how its database is opened.

In: a path or a database URL.  Out: one SQLAlchemy connection, set to what the delivery rules need.
SQLite runs in WAL with `synchronous=FULL`: with NORMAL every `kill -9` test passes and a power cut still brings
delivered keys back. `locking_mode=EXCLUSIVE` keeps a second process out of the store.

The life of key material: `atom` (ready) -> `key` (reserved, one `delivery` for each recipient) -> erased, expired or
void. Rows of `block` and `key` stay, without key bytes, as the record of what was; terminal states never go back.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from noclone.errors import StoreError

VERSION = 3

metadata = MetaData()

meta = Table("meta", metadata, Column("name", String, primary_key=True), Column("value", LargeBinary, nullable=False))

block = Table(
    "block",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("peer", String, nullable=False),
    Column("profile", String, nullable=False, server_default="link"),  # what policies choose key by
    Column("link", String, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("state", String, nullable=False),  # held (by us), ready (by both), spent, expired
    Column("atoms", Integer, nullable=False),
    Column("left_0", Integer, nullable=False),  # atoms of direction 0 that are still here
    Column("left_1", Integer, nullable=False),
    Column("open_0", Integer, nullable=False, server_default="0"),  # 1: ready, with atoms of direction 0 left
    Column("open_1", Integer, nullable=False, server_default="0"),
    Column("seen_0", Integer, nullable=False),  # one above the highest position ever reserved, by direction
    Column("seen_1", Integer, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("provenance", String, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    UniqueConstraint("link", "number"),
    Index("block_by_state", "peer", "state", "id"),
)

# A claim looks at blocks that have something for it, oldest first, and at no others: however many there are.
OPEN = (block.c.open_0, block.c.open_1)
OPEN_INDEXES = tuple(
    Index(f"block_{name}_{way}", *columns, block.c.id, sqlite_where=is_open == 1, postgresql_where=is_open == 1)
    for way, is_open in enumerate(OPEN)
    for name, columns in (("open", (block.c.peer,)), ("open_by_profile", (block.c.peer, block.c.profile)))
)

atom = Table(
    "atom",
    metadata,
    Column("block_id", Integer, primary_key=True),
    Column("direction", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

key = Table(
    "key",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("peer", String, nullable=False),
    Column("role", String, nullable=False),  # master or slave: whose SAE is served here
    Column("master", String, nullable=False),
    Column("request", String, nullable=False),
    Column("size_bits", Integer, nullable=False),
    Column("ranges", String, nullable=False),  # JSON: [[link, block, first position, count], ...]
    Column("state", String, nullable=False),  # reserved, erased, expired, void
    Column("sealed", LargeBinary),
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    Column("ended_s", Float),
    Index("key_by_state", "state", "expires_s"),
    sqlite_with_rowid=False,
)

delivery = Table(
    "delivery",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("recipient", String, primary_key=True),
    Column("delivered_s", Float),  # null: not yet
    sqlite_with_rowid=False,
)

voided = Table(  # ids that a peer took back before their promise came; it is refused when it comes
    "voided",
    metadata,
    Column("peer", String, primary_key=True),
    Column("key_id", String, primary_key=True),
    Column("created_s", Float, nullable=False),
    sqlite_with_rowid=False,
)

link_state = Table(
    "link_state",
    metadata,
    Column("link", String, primary_key=True),
    Column("fingerprint", String, nullable=False),  # which initial secret the marks of segment 0 speak about
    Column("last_block", BigInteger, nullable=False),
    Column("cumulative_epsilon", Float, nullable=False),
)

segment = Table(
    "segment",
    metadata,
    Column("link", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("used_pairs", Integer, nullable=False),
    Column("ahead", String, nullable=False),  # spent pairs beyond the first unspent one: JSON
    Column("sealed", LargeBinary),  # null for the initial secret, which has its own file
)

former_secret = Table(
    "former_secret",
    metadata,
    Column("link", String, primary_key=True),
    Column("fingerprint", String, primary_key=True),
    Column("used_pairs", Integer, nullable=False),
    Column("ahead", String, nullable=False),
)


def open_engine(path: Path | str, creator: Callable[[], Any] | None = None) -> tuple[Engine, Connection]:
    """Open the database, and return a connection to it that is ready to work.

    Args:
        path: A file, or a database URL.
        creator: Makes the database connection instead, for tests that cut the power.

    Raises:
        StoreError: It cannot be opened, is in use, or is no key store.
    """
    url = path if isinstance(path, str) and "://" in path else f"sqlite:///{path}"
    if url.startswith("sqlite") and creator is None:
        _make_private(Path(url.removeprefix("sqlite:///")))
    arguments: dict[str, Any] = {"poolclass": StaticPool}
    if creator is not None:
        arguments["creator"] = creator
    elif url.startswith("sqlite"):
        arguments["connect_args"] = {"check_same_thread": False, "timeout": 1.0}
    engine = create_engine(url, **arguments)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    try:
        connection = engine.connect()
        with connection.begin():
            connection.execute(select(1))  # says now what cannot work
        return engine, connection
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        raise store_error("the key store cannot be opened", error) from None


def store_error(what: str, error: Exception) -> StoreError:
    """Say in one line, without any bound value, what the database refused."""
    cause = str(getattr(error, "orig", None) or error).splitlines()[0]
    hint = "look at the disk and at the folder's permissions"
    if "locked" in cause:
        hint = "another process has this store open; one KME, one store"
    elif "not a database" in cause or "malformed" in cause:
        hint = "the file is damaged or is no key store; keys in it are lost, distil anew"
    elif "full" in cause:
        hint = "the disk is full; free some space: nothing was changed"
    return StoreError(f"{what}: {cause}", hint=hint)


def _make_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"the key store {path} cannot be opened ({error.strerror})") from None


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    for pragma in (
        "locking_mode=EXCLUSIVE",
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
        "trusted_schema=OFF",
        "temp_store=MEMORY",
    ):
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA {pragma}")
        cursor.fetchall()
        cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
