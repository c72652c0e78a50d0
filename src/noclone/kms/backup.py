"""Backup and restore: what a KME was and did, without a byte of key.

In: a store, or a backup.  Out: a backup, or a store with nothing to deliver. A backup has identities, marks, terminal
states, who got which key id, and the audit log. It has no atom, no key, no authentication key, and no data key that
opens any: so whatever is restored, however old, at one end or at both, cannot deliver what was delivered before. What
was ready or reserved is void at the restored end, which refuses promises of it; so the other end burns it too.

JSON lines: a header, rows, and an end with a keyed hash of all before it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, update

from noclone.errors import StoreError
from noclone.kms import failpoints
from noclone.kms.keyring import SECRETS, Keks, Keyring
from noclone.kms.locks import is_shared, lock
from noclone.kms.opening import read_meta
from noclone.kms.operations import Desk
from noclone.kms.tables import (
    OPEN,
    RESTORED,
    VERSION,
    allowance,
    audit,
    block,
    border_key,
    data_key,
    delivery,
    former_secret,
    kek,
    key,
    link_state,
    meta,
    metadata,
    segment,
    vendor_claim,
    voided,
    worker,
)
from noclone.kms.workers import STORE

FORMAT = 1
SECRET_COLUMNS = {
    column
    for table in (block, key, segment, border_key)
    for column in table.c
    if column.name in ("dek", "sealed", "data_key")
}
TABLES = (
    kek,
    data_key,
    worker,
    block,
    key,
    delivery,
    voided,
    link_state,
    segment,
    former_secret,
    vendor_claim,
    border_key,
    allowance,
    audit,
)
BY_NAME = {table.name: table for table in TABLES}
ROWS_AT_ONCE = 1000
BLOCKS_PER_S = 1.0  # a link that made blocks faster than this since the backup may number some of them twice
BLOCKS_MAX = 900_000  # as far as the other end of a link follows


def write_backup(connection: Connection, desk: Desk, path: Path) -> int:
    """Write a backup to a new file, for its owner's eyes alone; return how many rows it has.

    Raises:
        StoreError: The file is there already, or cannot be written.
    """
    session = desk.session
    lock(connection, STORE, session.store_id, alone=True)
    head = {
        "noclone_kms_backup": FORMAT,
        "version": VERSION,
        "kme": desk.name,
        "unit_bits": desk.unit_bits,
        "id": session.store_id,
        "taken_s": desk.now_s(),
    }
    digest = hashlib.blake2b(key=session.keyring.chain_key())
    rows = 0
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for line in (json.dumps(head), *_rows(connection)):
                data = line.encode() + b"\n"
                digest.update(data)
                file.write(data)
                rows += 1
            file.write(json.dumps({"rows": rows - 1, "digest": digest.hexdigest()}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        hint = "name a new file" if path.exists() else "is there space, and permission?"
        raise StoreError(f"the backup {path} cannot be written ({error.strerror})", hint=hint) from None
    session.journal.note("backed up", rows=rows - 1)
    return rows - 1


def _rows(connection: Connection) -> Iterator[str]:
    for table in TABLES:
        columns = [column for column in table.c if column not in SECRET_COLUMNS]
        query = select(*columns)
        if table is data_key:
            query = query.where(data_key.c.purpose != SECRETS)
        for row in connection.execute(query):
            values = {column.name: _plain(value) for column, value in zip(columns, row, strict=True)}
            yield json.dumps([table.name, values], separators=(",", ":"))


def _plain(value: Any) -> Any:
    return {"hex": bytes(value).hex()} if isinstance(value, bytes | memoryview) else value


def _value(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


def restore_backup(connection: Connection, path: Path, keks: Keks, now_s: float) -> dict[str, Any]:
    """Make a store from a backup, in the caller's transaction; return the backup's header.

    Raises:
        StoreError: There is a store already, the backup is damaged, or no key-encryption key fits.
    """
    lock(connection, "opening", alone=True)
    if read_meta(connection):
        raise StoreError(
            "there is a key store already",
            hint="a store is restored in an empty place; move the old one away, and never bring it back",
        )
    metadata.create_all(connection)
    head = _read_rows(connection, path)
    fields = {"version": str(VERSION), "kme": head["kme"], "unit_bits": str(head["unit_bits"]), "id": head["id"]}
    fields[RESTORED] = repr(now_s)
    connection.execute(insert(meta), [{"name": name, "value": value.encode()} for name, value in fields.items()])
    failpoints.reach("while a backup is restored")
    _go_on_counting(connection)
    keyring = Keyring(keks, head["id"])
    keyring.restore(connection)
    _check_digest(path, keyring)
    _void(connection, now_s)
    _skip_blocks(connection, now_s - float(head["taken_s"]))
    return head


def _read_rows(connection: Connection, path: Path) -> dict[str, Any]:
    """Insert a backup's rows; return its header. Its digest can be checked once its audit key is here."""
    try:
        with path.open(encoding="utf-8") as file:
            head = json.loads(file.readline())
            if head.get("noclone_kms_backup") != FORMAT or head.get("version") != VERSION:
                raise StoreError("this is no backup of a key store of this version")
            waiting: list[dict[str, Any]] = []
            table: Table | None = None
            for line in file:
                entry = json.loads(line)
                if isinstance(entry, dict):
                    break
                of = BY_NAME[entry[0]]
                if waiting and (of is not table or len(waiting) >= ROWS_AT_ONCE):
                    connection.execute(insert(_known(table)), waiting)
                    waiting = []
                table = of
                waiting.append({name: _value(value) for name, value in entry[1].items()})
            if waiting:
                connection.execute(insert(_known(table)), waiting)
    except OSError as error:
        raise StoreError(f"the backup {path} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(f"{path} is no backup of a key store, or a damaged one") from None
    return dict(head)


def _known(table: Table | None) -> Table:
    assert table is not None
    return table


def _check_digest(path: Path, keyring: Keyring) -> None:
    digest, rows, end = hashlib.blake2b(key=keyring.chain_key()), -1, b""
    with path.open("rb") as file:
        for line in file:
            if end:
                digest.update(end)
                rows += 1
            end = line
    try:
        said = json.loads(end)
        whole = said["rows"] == rows and hmac.compare_digest(str(said["digest"]), digest.hexdigest())
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise StoreError(f"the backup {path} was altered, or is not whole", hint="use another one")


def _void(connection: Connection, now_s: float) -> None:
    """End what had not ended when the backup was taken. Nothing of it is here, and nobody may promise it again."""
    gone = {
        "state": "void",
        "left_0": 0,
        "left_1": 0,
        "seen_0": block.c.atoms,  # all of them: the other end burns what it has
        "seen_1": block.c.atoms,
        **{is_open.name: 0 for is_open in OPEN},
    }
    connection.execute(update(block).where(block.c.state.in_(("held", "ready"))).values(gone))
    connection.execute(update(key).where(key.c.state == "reserved").values(state="void", ended_s=now_s))
    # what was on its way into our domain is lost, and its sender is told; what was on its way out is voided there
    came = border_key.c.direction == "in"
    lost = {"state": "failed", "ack": "failed", "ended_s": now_s}
    connection.execute(update(border_key).where(came, border_key.c.state.in_(("accepted", "voiding"))).values(lost))
    connection.execute(
        update(border_key).where(~came, border_key.c.state.in_(("drawn", "sent"))).values(state="voiding")
    )
    connection.execute(update(worker).where(worker.c.state == "working").values(state="fenced"))


def _go_on_counting(connection: Connection) -> None:
    """Let the server number what comes after the rows that we numbered."""
    if is_shared(connection):
        for table in (worker, block, data_key):
            last = select(func.max(table.c.id)).scalar_subquery()
            connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), last)))


def _skip_blocks(connection: Connection, elapsed_s: float) -> None:
    """Leave out the numbers of blocks that were made since the backup; the other end of a link may know better."""
    ahead = min(BLOCKS_MAX, max(1, math.ceil(BLOCKS_PER_S * elapsed_s)))
    connection.execute(update(link_state).values(last_block=link_state.c.last_block + ahead))
