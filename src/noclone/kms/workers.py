"""Workers: who may write to a store, one process on SQLite, several on PostgreSQL; and who is known to be gone.

Every opening of a store is a worker with a number of its own, never used again: its epoch. On PostgreSQL a worker holds
an advisory lock with its number for as long as its session lives. Its transactions run in that session and in no other,
and it is fenced only by one who has got its lock, and so knows that the session is over. Hence a fenced worker can
change nothing any more, and what it had under way can be voided. A worker whose session broke comes back as another.
On SQLite the exclusive lock on the file says as much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from noclone.clock import Clock
from noclone.kms import failpoints
from noclone.kms.journal import Journal
from noclone.kms.keyring import Keyring
from noclone.kms.locks import is_shared, lock, number_of
from noclone.kms.tables import worker

STORE = "store"  # shared by all transactions; who changes the KEK takes it alone


class Session:
    """This process at work on a store: what each transaction begins and ends with. Used by the committing thread."""

    def __init__(self, store_id: str, keyring: Keyring, clock: Clock) -> None:
        self.store_id = store_id
        self.keyring = keyring
        self.journal = Journal(keyring)
        self.clock = clock
        self.worker = 0
        self._then: list[Callable[[], None]] = []
        self._of: Any = None  # the database's session in which this worker holds its lock

    def enter(self, connection: Connection) -> None:
        """Make sure, before a transaction, that this worker may write in this session."""
        session = connection.connection.dbapi_connection
        connection.rollback()
        if self._of is session:
            return
        self._of = None
        with connection.begin():
            self._register(connection)
            self.journal.begin(connection, self.worker, "opened", kek=self.keyring.generation)
            self.journal.write(connection, self.clock.now_s())
            failpoints.reach("before a worker is known")
        self.journal.committed()
        self._of = session

    def done(self) -> None:
        """The transaction is durable: what hangs on it comes true."""
        self.journal.committed()
        for change in self._then:
            change()
        self._then.clear()

    def undone(self) -> None:
        """The transaction came to nothing."""
        self.journal.forget()
        self._then.clear()

    def turn_to(self, keyring: Keyring) -> None:
        """Go on with another keyring as soon as the transaction under way is durable."""

        def turn() -> None:
            self.keyring = self.journal.keyring = keyring

        self._then.append(turn)

    def begun(self, connection: Connection) -> None:
        """First thing in a transaction: nobody changes the KEK before its end."""
        if is_shared(connection):
            lock(connection, STORE, self.store_id, alone=False)
            self.keyring.refresh(connection)

    def ending(self, connection: Connection) -> None:
        """Last thing in a transaction: what it did is written down, or it is undone."""
        self.journal.write(connection, self.clock.now_s())

    def leave(self, connection: Connection) -> None:
        """Say that this worker has ended, in the caller's transaction."""
        connection.execute(update(worker).where(worker.c.id == self.worker).values(state="ended"))
        if is_shared(connection):
            connection.execute(select(func.pg_advisory_unlock(self._lock(self.worker))))

    def fence_the_dead(self, connection: Connection) -> None:
        """Fence workers that are gone, in the caller's transaction; until its end they cannot come back either."""
        if not is_shared(connection):
            return
        working = select(worker.c.id).where(worker.c.state == "working", worker.c.id != self.worker)
        for number in connection.execute(working.order_by(worker.c.id)).scalars().all():
            if connection.execute(select(func.pg_try_advisory_xact_lock(self._lock(number)))).scalar():
                connection.execute(update(worker).where(worker.c.id == number).values(state="fenced"))
                self.journal.note("fenced", worker=number)

    def _register(self, connection: Connection) -> None:
        new = {"state": "working", "started_s": self.clock.now_s()}
        if not is_shared(connection):  # who has the file for itself is the only one
            connection.execute(update(worker).where(worker.c.state == "working").values(state="fenced"))
        self.worker = connection.execute(insert(worker).returning(worker.c.id), [new]).scalar_one()
        if is_shared(connection):  # held before anybody can see the row
            connection.execute(select(func.pg_advisory_lock(self._lock(self.worker))))

    def _lock(self, number: int) -> int:
        return number_of("worker", self.store_id, number)
