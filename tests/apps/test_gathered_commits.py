"""Many threads' work in few transactions: each durable before its caller hears, and nobody harmed by another's."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from noclone.apps.gathered_commits import GatheredCommits


class Counting:
    """A database that counts its commits, and fails some if told to."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE one (value INTEGER UNIQUE)")
        self.commits, self.fails = 0, False

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        if sql == "COMMIT":
            self.commits += 1
            if self.fails:
                self.connection.execute("ROLLBACK")
                raise sqlite3.OperationalError("disk I/O error")
        return self.connection.execute(sql, parameters)

    def values(self) -> list[int]:
        return [value for (value,) in self.connection.execute("SELECT value FROM one ORDER BY value")]


def insert(value: int) -> Any:
    def work(database: Any) -> int:
        database.execute("INSERT INTO one VALUES (?)", (value,))
        return value

    return work


def at_once(commits: GatheredCommits, works: list[Any]) -> list[Any]:
    """Run work in threads that all wait while another thread has its turn; return results and errors in order."""
    out: list[Any] = [None] * len(works)

    def run(index: int) -> None:
        try:
            out[index] = commits.run(works[index])
        except Exception as error:
            out[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    with commits._turn:
        for thread in threads:
            thread.start()
        while len(commits._waiting) < len(works):
            pass
    for thread in threads:
        thread.join()
    return out


def test_who_waits_together_shares_one_commit(tmp_path: Path) -> None:
    database = Counting(tmp_path / "db")
    commits = GatheredCommits(database)
    assert at_once(commits, [insert(value) for value in range(20)]) == list(range(20))
    assert database.commits == 1
    assert database.values() == list(range(20))
    assert commits.run(insert(99)) == 99
    assert commits.look("SELECT max(value) FROM one") == [(99,)]
    database.connection.close()


def test_a_piece_that_fails_takes_back_its_own_changes_alone(tmp_path: Path) -> None:
    database = Counting(tmp_path / "db")

    def fails(connection: Any) -> None:
        connection.execute("INSERT INTO one VALUES (1000)")
        raise KeyError("half way")

    out = at_once(GatheredCommits(database), [insert(1), fails, insert(2), insert(1)])
    assert [type(each) for each in out].count(KeyError) == 1
    assert [type(each) for each in out].count(sqlite3.IntegrityError) == 1
    assert database.values() == [1, 2]
    database.connection.close()


def test_nobody_is_told_of_what_the_disk_refused(tmp_path: Path) -> None:
    database = Counting(tmp_path / "db")
    commits = GatheredCommits(database)
    database.fails = True
    out = at_once(commits, [insert(1), insert(2)])
    assert all(isinstance(each, sqlite3.OperationalError) for each in out)
    database.fails = False
    assert database.values() == []
    assert commits.run(insert(3)) == 3
    database.connection.close()


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    database = Counting(tmp_path / "db")
    commits = GatheredCommits(database)

    def interrupted(connection: Any) -> None:
        connection.execute("INSERT INTO one VALUES (7)")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commits.run(interrupted)
    assert database.values() == []
    assert commits.run(insert(8)) == 8
    database.connection.close()
