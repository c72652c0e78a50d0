"""`noclone kms`: what an operator does with a store, as it is typed."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from noclone.cli.main import run_command
from noclone.kms.kekfile import KekFile
from noclone.kms.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    kek = tmp_path / "kek"
    kek.write_text(os.urandom(32).hex())
    kek.chmod(0o600)
    Store.open(tmp_path / "alder.db", name="alder", kek=KekFile(kek)).close()
    return tmp_path / "alder.db"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = run_command([str(argument) for argument in arguments])
    out, errors = capsys.readouterr()
    return code, out, errors


def test_rotating_backing_up_and_restoring(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kek = store.with_name("kek")
    before = kek.read_text()
    assert run(capsys, "kms", "rotate-kek", store, "--kek", kek, "--prepare")[0] == 0
    following = kek.with_name("kek.next").read_text()
    code, out, _ = run(capsys, "kms", "rotate-kek", store, "--kek", kek, "--json")
    assert (code, json.loads(out)["generation"]) == (0, 2)
    assert kek.read_text() == following != before
    code, out, _ = run(capsys, "kms", "backup", store, store.with_name("backup"), "--kek", kek, "--json")
    assert (code, json.loads(out)["rows"] > 5) == (0, True)
    code, _, errors = run(capsys, "kms", "restore", store, store.with_name("backup"), "--kek", kek)
    assert (code, "there is a key store already" in errors) == (1, True)
    store.unlink()
    code, out, _ = run(capsys, "kms", "restore", store, store.with_name("backup"), "--kek", kek)
    assert (code, "alder" in out) == (0, True)
    code, out, _ = run(capsys, "kms", "audit-log", store, "--kek", kek, "--json")
    whats = [entry["what"] for entry in json.loads(out)["entries"]]
    assert code == 0
    assert [what for what in whats if what != "opened"] == ["kek rotated", "restored"]


def test_an_altered_audit_log_is_told_by_the_exit_code(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = sqlite3.connect(store)
    database.executescript("DROP TRIGGER audit_no_update; UPDATE audit SET time_s = 1")
    database.close()
    code, out, _ = run(capsys, "kms", "audit-log", store, "--kek", store.with_name("kek"))
    assert (code, "NOT WHOLE" in out) == (1, True)


def test_a_restore_that_fails_leaves_nothing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, kek = store.parent / "new", store.with_name("kek")
    place.mkdir()
    code, _, errors = run(capsys, "kms", "restore", place / "birch.db", store.with_name("nowhere"), "--kek", kek)
    assert (code, "there is no backup" in errors) == (2, True)
    code, _, errors = run(capsys, "kms", "restore", place / "birch.db", kek, "--kek", kek)
    assert (code, "is no backup" in errors) == (1, True)
    assert list(place.iterdir()) == []
    run(capsys, "kms", "backup", store, place / "backup", "--kek", kek)
    code, _, errors = run(capsys, "kms", "backup", store, place / "backup", "--kek", kek)
    assert (code, "name a new file" in errors) == (1, True)


def test_a_store_that_is_not_there_is_not_made(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = store.with_name("nowhere.db")
    code, _, errors = run(capsys, "kms", "audit-log", nowhere, "--kek", store.with_name("kek"))
    assert (code, "there is no key store" in errors, nowhere.exists()) == (2, True, False)
    empty = store.with_name("empty.db")
    empty.touch()
    code, _, errors = run(capsys, "kms", "audit-log", empty, "--kek", store.with_name("kek"))
    assert (code, "there is no key store" in errors) == (1, True)
