"""Power cuts under the pad book: whatever the disk keeps of what was not synced, nothing that was used comes back.

The disk is that of the key store's test (tests/kms/test_power_cut.py).
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

from noclone.apps.pad_book import PadBook
from noclone.errors import InputError, StoreError

_spec = importlib.util.spec_from_file_location("kms_power_cut", Path(__file__).parents[1] / "kms" / "test_power_cut.py")
assert _spec is not None
assert _spec.loader is not None
power = sys.modules["kms_power_cut"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(power)


class Lazy:
    """A connection that does not wait for the disk as it should."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        return self.connection.execute(sql.replace("synchronous=FULL", "synchronous=NORMAL"), parameters)

    def close(self) -> None:
        self.connection.close()


def history(folder: Path, *, lazy: bool = False) -> dict[str, list[Any]]:
    """Record two books that are filled, lease, and open, with what the applications were told."""
    disks = {end: power.Disk(f"pads-{end}-{lazy}-{os.getpid()}") for end in "ab"}

    def book(end: str) -> PadBook:
        def connect(path: Path) -> Any:
            connection = apsw.Connection(str(path), vfs=disks[end].vfs)
            return Lazy(connection) if lazy else connection

        return PadBook(folder / end, connect)

    a, b = book("a"), book("b")
    luck = random.Random(1)
    for number in range(24):
        name, value = f"batch{number}", luck.randbytes(luck.choice((300, 3_000)))
        b.add("sae-a", "in", name, value, {})
        disks["b"].record.append(("told", "kept", name))
        a.add("sae-b", "out", name, value, {})
        if number % 2:
            (proposed,) = a.propose("sae-b", 1)
            granted = b.grant("sae-a", [proposed])
            disks["b"].record.append(("told", "granted", proposed))
            (batch,) = a.take("sae-b", [proposed], granted)
            disks["a"].record.append(("told", "used", proposed))
            for start in range(0, len(batch.value), 150):
                b.erase("sae-a", [(proposed, start, 150)])
                disks["b"].record.append(("told", "opened", (proposed, start)))
    together(a, b, disks)
    records = {end: list(disk.record) for end, disk in disks.items()}
    a.close()
    b.close()
    return records


def together(a: PadBook, b: PadBook, disks: dict[str, Any]) -> None:
    """Have eight threads add, grant and take at the same time, so that they share transactions."""

    def one(name: str) -> None:
        b.add("sae-a", "in", name, name.encode(), {})
        disks["b"].record.append(("told", "kept", name))
        a.add("sae-b", "out", name, name.encode(), {})
        granted = b.grant("sae-a", [name])
        disks["b"].record.append(("told", "granted", name))
        (batch,) = a.take("sae-b", [name], granted)
        disks["a"].record.append(("told", "used", name))
        assert batch.value == name.encode()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, [f"shared{number}" for number in range(24)]))


def reopen(folder: Path, end: str, source: Path, files: dict[str, bytes]) -> PadBook | None:
    place = folder / end
    place.mkdir(parents=True)
    (place / "pads.key").write_bytes((source / end / "pads.key").read_bytes())
    (place / "pads.key").chmod(0o600)
    for name, content in files.items():
        (place / name).write_bytes(content)
    try:
        return PadBook(place)
    except StoreError:
        return None


def told(record: list[Any], what: str) -> list[Any]:
    return [entry[2] for entry in record if entry[:2] == ("told", what)]


def cut(records: dict[str, list[Any]], source: Path, folder: Path, count: int) -> int:
    """Cut the power at each end, again and again, and hold what is found against what was told."""
    luck, opened = random.Random(2), 0
    for number in range(count):
        for end, record in records.items():
            moment = luck.randrange(len(record)) + 1
            files = dict(power.after_cut(record, moment, luck))
            book = reopen(folder / str(number), end, source, files)
            if book is None:
                assert not [entry for entry in record[:moment] if entry[0] == "told"]
                continue
            opened += 1
            with book:
                if end == "a":
                    left = set(book.propose("sae-b", 1 << 30))
                    assert not left & set(told(record[:moment], "used")), "a used batch came back"
                else:
                    assert book.grant("sae-a", told(record[:moment], "granted")) == []
                    examine_receiver(book, record[:moment])
    return opened


def examine_receiver(book: PadBook, record: list[Any]) -> None:
    opened = told(record, "opened")
    for name in told(record, "kept"):
        try:
            _, ranges = book.read("sae-a", name)
        except InputError:
            assert any(batch == name for batch, _ in opened) or name == told(record, "granted")[-1], "a batch was lost"
            continue
        for batch, start in opened:
            assert batch != name or any(begin <= start < end for begin, end in ranges), "it could be opened again"


def test_no_power_cut_brings_a_pad_back(tmp_path: Path) -> None:
    records = history(tmp_path / "disk")
    assert cut(records, tmp_path / "disk", tmp_path / "cuts", 60) > 60


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_power_cut_of_a_thousand_does(tmp_path: Path) -> None:
    records = history(tmp_path / "disk")
    assert cut(records, tmp_path / "disk", tmp_path / "cuts", 1000) > 1000


def test_with_less_syncing_pads_come_back(tmp_path: Path) -> None:
    """So the harness bites: synchronous=NORMAL passes every kill -9, and fails here."""
    records = history(tmp_path / "disk", lazy=True)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        cut(records, tmp_path / "disk", tmp_path / "cuts", 200)
