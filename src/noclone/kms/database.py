"""How a store's database is opened, and what its errors mean.

In: a path or a database URL.  Out: one SQLAlchemy connection, set to what the delivery rules need.
SQLite runs in WAL with `synchronous=FULL`: with NORMAL every `kill -9` test passes and a power cut still brings
delivered keys back. `locking_mode=EXCLUSIVE` keeps a second process out of the store. PostgreSQL, which several workers
share, must keep its `fsync`; each commit waits for its disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from noclone.errors import StoreError
from noclone.extras import how_to_install

FORM = "write postgresql+psycopg://USER@HOST/DATABASE"
BUSY_TIMEOUT_S = 1.0


def open_engine(path: Path | str, creator: Callable[[], Any] | None = None) -> tuple[Engine, Connection]:
    """Open the database, and return a connection to it that is ready to work.

    Args:
        path: A file, or a database URL.
        creator: Makes the database connection instead, for tests that cut the power.

    Raises:
        StoreError: It cannot be opened, is in use, or is no key store.
    """
    url = path if isinstance(path, str) and "://" in path else f"sqlite:///{path}"
    engine = _postgres_engine(url) if url.startswith("postgresql") else _sqlite_engine(url, creator)
    try:
        connection = engine.connect()
        with connection.begin():
            connection.execute(select(1))  # says now what cannot work
        return engine, connection
    except Exception as error:
        engine.dispose()
        if not is_database_error(error):
            raise
        raise store_error("the key store cannot be opened", error) from None


def _sqlite_engine(url: str, creator: Callable[[], Any] | None) -> Engine:
    if creator is not None:
        engine = create_engine(url, poolclass=StaticPool, creator=creator)
    else:
        _make_private(Path(url.removeprefix("sqlite:///")))
        engine = create_engine(
            url, poolclass=StaticPool, connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S}
        )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _postgres_engine(url: str) -> Engine:
    try:
        engine = create_engine(url, poolclass=NullPool, isolation_level="READ COMMITTED")
    except ImportError as error:
        raise StoreError(
            f"the database's driver {error.name} is not installed", hint=f"{FORM}; {how_to_install('postgres')}"
        ) from None
    except SQLAlchemyError as error:
        raise StoreError(f"the database URL cannot be used ({type(error).__name__})", hint=FORM) from None
    event.listen(engine, "connect", _set_up_postgres)
    return engine


def is_database_error(error: BaseException) -> bool:
    """Say whether an error comes from a database or its driver."""
    driver = type(error).__module__.partition(".")[0]
    return isinstance(error, SQLAlchemyError | sqlite3.Error) or driver == "psycopg"


def store_error(what: str, error: Exception) -> StoreError:
    """Say in one line, without any bound value, what the database refused."""
    cause = str(getattr(error, "orig", None) or error).splitlines()[0]
    hint = "look at the disk and at the folder's permissions"
    if "connection" in cause or "terminating" in cause:
        hint = "is the database server running, and may this user connect?"
    elif "locked" in cause:
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


def _set_up_postgres(connection: Any, _record: Any) -> None:
    """Make a commit mean what it says, whatever the server's defaults are."""
    with connection.cursor() as cursor:
        for setting in ("fsync", "full_page_writes"):
            cursor.execute(f"SHOW {setting}")
            if cursor.fetchone()[0] != "on":
                raise StoreError(
                    f"the database server runs with {setting} off: a power cut would bring delivered keys back",
                    hint=f"set {setting} = on in postgresql.conf",
                )
        cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
