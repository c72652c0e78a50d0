"""Where SQLite and PostgreSQL differ: many ids or rows in one statement, and locks that rows cannot give.

SQLite has one worker, which holds the whole database: there every lock here is nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, ClassVar

from sqlalchemy import BindParameter, ColumnElement, Connection, Dialect, String, Table, bindparam, func, insert, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator, TypeEngine

from noclone.kms.sealing import encode


class IdList(TypeDecorator[list[str]]):
    """Many ids in one parameter, so that a statement is the same for any number of them."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return ARRAY(String()) if dialect.name == "postgresql" else String()

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return list(value) if dialect.name == "postgresql" else json.dumps(list(value))


class Among(ColumnElement[bool]):
    """A column is one of the ids in the parameter `ids`."""

    inherit_cache = True
    _traverse_internals: ClassVar[Any] = [  # type: ignore[misc]
        ("column", InternalTraversal.dp_clauseelement),
        ("ids", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: ColumnElement[str]) -> None:
        self.column = column
        self.ids: BindParameter[list[str]] = bindparam("ids", type_=IdList())


@compiles(Among, "sqlite")
def _among_json(element: Among, compiler: Any, **options: Any) -> str:
    column, ids = compiler.process(element.column, **options), compiler.process(element.ids, **options)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608


@compiles(Among, "postgresql")
def _among_array(element: Among, compiler: Any, **options: Any) -> str:
    column, ids = compiler.process(element.column, **options), compiler.process(element.ids, **options)
    return f"{column} = ANY({ids})"


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert many rows that have all columns of their table, by the shortest way to the driver."""
    if is_shared(connection):
        connection.execute(insert(table), list(rows))
        return
    statement, values = _insert_statement(table)
    connection.exec_driver_sql(statement, [values(row) for row in rows])


@lru_cache(maxsize=64)
def _insert_statement(table: Table) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    names = [column.name for column in table.c]
    marks = ", ".join("?" * len(names))
    return f'INSERT INTO "{table.name}" ({", ".join(names)}) VALUES ({marks})', itemgetter(*names)  # noqa: S608


def is_shared(connection: Connection) -> bool:
    """Say whether other workers may be at work on the same store."""
    return connection.dialect.name == "postgresql"


def number_of(*what: str | int) -> int:
    """Return the number of an advisory lock: 63 bits of a hash of what it is about."""
    return int.from_bytes(hashlib.sha256(encode("noclone-lock-1", *what)).digest()[:8], "big") >> 1


def lock(connection: Connection, *what: str | int, alone: bool) -> None:
    """Wait for a lock until the transaction's end: alone, or with others who do not ask to be alone."""
    if is_shared(connection):
        take = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
        connection.execute(select(take(number_of(*what))))
