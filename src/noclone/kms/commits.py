"""Group commit: many operations, one thread, one transaction, one sync of the disk.

In: operations (functions on a connection).  Out: their results, each only after the commit that made it durable.
An operation decides first and writes afterwards: one that refuses (a NocloneError, but no StoreError) has written
nothing, and the others in its transaction go on. If anything else goes wrong the whole transaction is rolled back and
each operation is tried in one of its own, so that one bad operation cannot take the others down. What other workers on
the same database caused is tried again; all operations bear being done twice, for a commit whose answer was lost.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from noclone.errors import NocloneError, StoreError
from noclone.kms import failpoints
from noclone.kms.answers import Answer, give
from noclone.kms.database import is_database_error, store_error
from noclone.kms.workers import Session

T = TypeVar("T")
Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)
Operation = Callable[[Connection], T]

BATCH_MAX = 256
GATHER_S = 0.001  # where several came at once the last time, wait so long for more: fewer transactions, and less work
RETRY_S = (0.0, 0.02, 0.2, 1.0)
PASSING = ("40001", "40P01", "23505")  # SQLSTATE: serialization, deadlock, somebody else was first


class Group(Protocol[Item_contra, T_co]):
    """Does the work of many requests of one kind with few statements. Equal groups are one group."""

    def __call__(self, connection: Connection, items: Sequence[Item_contra]) -> Sequence[T_co | NocloneError]:
        """Return an answer, or a refusal, for each item."""
        ...

    def __hash__(self) -> int: ...


Queued = tuple[Operation[Any] | tuple[Group[Any, Any], Any], Answer[Any]]


class Commits:
    """Run operations on one connection in one thread.

    `session`, once it is set, has the first and the last word in every transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self.session: Session | None = None
        self.transactions = 0
        self._connection = connection
        self._queue: queue.SimpleQueue[Queued | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="key-store", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T]) -> Answer[T]:
        """Queue an operation; its result comes when it is durable."""
        future: Answer[T] = Answer()
        self._put(operation, future)
        return future

    def join(self, group: Group[Item, T], item: Item) -> Answer[T]:
        """Queue an item for a group: all items of equal groups that are queued together are done in one call."""
        future: Answer[T] = Answer()
        self._put((group, item), future)
        return future

    def run(self, operation: Operation[T]) -> T:
        """Run an operation and wait until it is durable."""
        return self.submit(operation).result()

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _put(self, work: Operation[Any] | tuple[Group[Any, Any], Any], future: Answer[Any]) -> None:
        with self._lock:
            if self._closed:
                raise StoreError("the key store is closed")
            self._queue.put((work, future))

    def _work(self) -> None:
        open_for_work, crowded = True, False
        while open_for_work:
            item = self._queue.get()
            if crowded:
                time.sleep(GATHER_S)
            batch = []
            while item is not None:
                batch.append(item)
                if len(batch) >= BATCH_MAX:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            open_for_work, crowded = item is not None, len(batch) > 1
            if batch:
                self._do(batch)

    def _do(self, batch: list[Queued]) -> None:
        """Do a batch in one transaction, or each of it in one of its own."""
        error = self._commit(batch)
        if error is not None and len(batch) > 1:
            for single in batch:
                self._do([single])
        elif error is not None:
            for pause_s in RETRY_S:
                if error is None or not _may_pass(error):
                    break
                time.sleep(pause_s)
                error = self._commit(batch)
            if error is not None:
                give([(batch[0][1], None, _as_refusal(error))])

    def _commit(self, batch: list[Queued]) -> Exception | None:
        """Run a batch in one transaction; return what went wrong, or None: every operation has its answer."""
        session, connection = self.session, self._connection
        try:
            if session is not None:
                session.enter(connection)
            with connection.begin():
                if session is not None:
                    session.begun(connection)
                outcomes = self._run(batch)
                if session is not None:
                    session.ending(connection)
                failpoints.reach("before the commit")
            failpoints.reach("after the commit")
        except Exception as error:
            if session is not None:
                session.undone()
            return error
        if session is not None:
            session.done()
        self.transactions += 1
        give([(to, None, got) if isinstance(got, NocloneError) else (to, got, None) for to, got in outcomes])
        return None

    def _run(self, batch: list[Queued]) -> list[tuple[Answer[Any], Any]]:
        """Run operations and groups; return their answers and refusals."""
        outcomes: list[tuple[Answer[Any], Any]] = []
        groups: dict[Group[Any, Any], list[tuple[Any, Answer[Any]]]] = {}
        for work, future in batch:
            if isinstance(work, tuple):
                groups.setdefault(work[0], []).append((work[1], future))
                continue
            try:
                outcomes.append((future, work(self._connection)))
            except StoreError:
                raise  # it may come in the middle of writing
            except NocloneError as refusal:
                outcomes.append((future, refusal))
        for group, members in groups.items():
            answers = group(self._connection, [item for item, _ in members])
            outcomes += [(future, answer) for (_, future), answer in zip(members, answers, strict=True)]
        return outcomes


def _may_pass(error: Exception) -> bool:
    """Say whether it may go better next time."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in PASSING
    return is_database_error(error) and not isinstance(error, SQLAlchemyError | sqlite3.Error)  # no connection


def _as_refusal(error: Exception) -> Exception:
    if is_database_error(error):
        return store_error("the key store could not do what it must; nothing was changed", error)
    return error
