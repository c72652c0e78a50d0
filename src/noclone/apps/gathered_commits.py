"""Many threads' changes to one SQLite file in few transactions, each change durable before its caller hears of it.

In: pieces of work on the database.  Out: what each returned, once the transaction that it was in is on the disk. To
wait for the disk takes a millisecond, however much is written; who comes while others wait for it goes into the next
transaction, together with all who came meanwhile. A piece that fails takes back its own changes and nobody else's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from noclone.errors import StoreError

Result = TypeVar("Result")
Work = Callable[[Any], Any]


@dataclass(slots=True, eq=False)
class _Piece:
    work: Work
    done: bool = False
    result: Any = None
    error: BaseException | None = None


class GatheredCommits:
    """Works on a database that no other thread touches meanwhile. Other processes may.

    Args:
        database: A connection in autocommit mode, that may be used by any thread, one at a time.
    """

    def __init__(self, database: Any) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._coming = threading.Lock()
        self._waiting: list[_Piece] = []

    def run(self, work: Callable[[Any], Result]) -> Result:
        """Do some work, durably or not at all, and return its result. What it raises is raised here."""
        piece = _Piece(work)
        with self._coming:
            self._waiting.append(piece)
        with self._turn:  # whoever has it works for all who came
            if not piece.done:
                with self._coming:
                    pieces, self._waiting = self._waiting, []
                self._commit(pieces)
        if piece.error is not None:
            raise piece.error
        return cast(Result, piece.result)

    def look(self, query: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """Return what a query finds of what is durable."""
        with self._turn:
            return list(self._database.execute(query, parameters).fetchall())

    def _commit(self, pieces: list[_Piece]) -> None:
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            for piece in pieces:
                self._try(piece, alone=len(pieces) == 1)
            database.execute("COMMIT")
        except BaseException as error:  # nothing of it is durable: nobody is told otherwise
            with contextlib.suppress(Exception):  # there may be nothing left to roll back
                database.execute("ROLLBACK")
            for piece in pieces:
                failed = error if isinstance(error, Exception) else StoreError("the pad book was interrupted")
                piece.result, piece.error = None, piece.error or failed
            if not isinstance(error, Exception):
                raise
        finally:
            for piece in pieces:
                piece.done = True

    def _try(self, piece: _Piece, *, alone: bool) -> None:
        if alone:
            piece.result = piece.work(self._database)
            return
        self._database.execute("SAVEPOINT piece")
        try:
            piece.result = piece.work(self._database)
        except Exception as error:
            piece.error = error
            self._database.execute("ROLLBACK TO piece")
        self._database.execute("RELEASE piece")
