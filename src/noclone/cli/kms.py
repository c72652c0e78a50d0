"""`noclone kms`: the upkeep of a key store: another key-encryption key, backups, the audit log."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from noclone.cli.terminal import Json, grouped, show

if TYPE_CHECKING:
    from noclone.kms.store import Store

kms = App(name="kms", help="Keep a key store: another key-encryption key, backups, the audit log.")

Kek = Annotated[Path, Parameter(name="--kek", help="The file of its key-encryption key.")]
Prepare = Annotated[bool, Parameter(negative=())]


@kms.command(name="rotate-kek")
def rotate_kek(store: str, /, *, kek: Kek, prepare: Prepare = False, as_json: Json = False) -> int:
    """Seal a key store under a new key-encryption key; the old one opens nothing of it afterwards.

    The new one is written to FILE.next, and takes FILE's place when the store is sealed with it. A crash at any
    moment leaves a store that one of the two opens; the next start goes on with the right one. On SQLite the KME must
    be stopped. On PostgreSQL workers go on, and read the new one from FILE.next beside theirs: with workers on other
    hosts, use --prepare first, and carry FILE.next there.

    Args:
        store: The database's file, or its URL.
        prepare: Only write FILE.next.
    """
    from noclone.kms.kekfile import KekFile

    file = KekFile(kek)
    if prepare:
        file()
        file.prepare()
        show({"prepared": str(file.next)}, [f"{file.next} is ready; carry it to the other workers"], as_json=as_json)
        return 0
    with _open(store, kek) as opened:
        value = file.prepare()
        generation = opened.rotate_kek(value)
        file.settle(value)
    lines = [f"the store is sealed under key-encryption key {generation}, which is in {kek}"]
    show({"generation": generation, "kek": str(kek)}, lines, as_json=as_json)
    return 0


@kms.command
def backup(store: str, output: Path, /, *, kek: Kek, as_json: Json = False) -> int:
    """Write what a KME was and did to a file: no key, so nothing that a restored store could deliver again.

    Args:
        store: The database's file, or its URL.
        output: The backup, a new file.
    """
    with _open(store, kek) as opened:
        rows = opened.back_up(output)
    show({"backup": str(output), "rows": rows}, [f"{output}: {grouped(rows)} rows, no key"], as_json=as_json)
    return 0


@kms.command
def restore(store: str, source: Path, /, *, kek: Kek, as_json: Json = False) -> int:
    """Make a key store from a backup. It has no key: what was ready or reserved is void, and the links make new key.

    Args:
        store: The database's file, or its URL; there must be no store yet.
        source: The backup.
    """
    from noclone.errors import InputError
    from noclone.kms.kekfile import KekFile
    from noclone.kms.store import Store

    if not source.is_file():
        raise InputError(f"there is no backup {source}", hint="give a file that `noclone kms backup` wrote")
    with Store.restore(_place(store), source, kek=KekFile(kek)) as restored:
        name = restored.name
    show({"kme": name, "store": store}, [f"the store of {name} is restored, without key"], as_json=as_json)
    return 0


@kms.command(name="audit-log")
def audit_log(store: str, /, *, kek: Kek, as_json: Json = False) -> int:
    """Check the audit log's chains and print its entries. Ends with 1 if it was altered.

    Args:
        store: The database's file, or its URL.
    """
    with _open(store, kek) as opened:
        verdict, entries = opened.verify_audit(), opened.audit_lines()
    lines = [
        f"{dt.datetime.fromtimestamp(line.time_s, dt.UTC):%Y-%m-%d %H:%M:%S}  {line.worker}/{line.number}  "
        + "  ".join(f"{name}={json.dumps(value)}" for name, value in line.entry.items())
        for line in entries
    ]
    lines.append(f"{grouped(verdict.rows)} rows in {verdict.chains} chains" + ("" if verdict.problems else ": whole"))
    lines.extend(f"NOT WHOLE: {problem}" for problem in verdict.problems)
    data = {
        "rows": verdict.rows,
        "chains": verdict.chains,
        "problems": list(verdict.problems),
        "entries": [
            {"worker": line.worker, "number": line.number, "time_s": line.time_s, **line.entry} for line in entries
        ],
    }
    show(data, lines, as_json=as_json)
    return 1 if verdict.problems else 0


def _open(store: str, kek: Path) -> Store:
    from noclone.errors import InputError
    from noclone.kms.kekfile import KekFile
    from noclone.kms.store import Store

    place = _place(store)
    if isinstance(place, Path) and not place.exists():
        raise InputError(f"there is no key store {store}", hint="give the file or the URL that the KME is run with")
    return Store.open(place, name="", kek=KekFile(kek))


def _place(store: str) -> Path | str:
    return store if "://" in store else Path(store)
