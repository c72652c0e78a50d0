"""Opening a store: whose it is, which version, and whether the key-encryption key fits.

Functions on a connection, run by `commits` in one transaction: a store is opened as it was or as this program wants it,
and never half way between.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, func, insert, inspect, select

from noclone.errors import StoreError
from noclone.kms.migrations import migrate
from noclone.kms.sealing import Sealer
from noclone.kms.tables import VERSION, block, meta, metadata

CHECK_TEXT = b"noclone key store"


def open_tables(connection: Connection, name: str, unit_bits: int, kek: bytes) -> Sealer:
    """Make the tables of a new store, or check an old one and bring it to this version; return what seals its secrets.

    Raises:
        StoreError: It is another KME's, of a newer version, or the key-encryption key does not fit.
    """
    known = _known(connection)
    if known:
        _compare(known, {"kme": name, "unit_bits": str(unit_bits)})
        migrate(connection, known["version"])
    metadata.create_all(connection)
    if not known:
        known = {"version": str(VERSION), "kme": name, "unit_bits": str(unit_bits), "id": str(uuid.uuid4())}
        rows = [{"name": field, "value": value.encode()} for field, value in known.items()]
        connection.execute(insert(meta), rows)
    sealer = Sealer(kek, known["id"])
    _check_kek(connection, sealer)
    return sealer


def _known(connection: Connection) -> dict[str, str]:
    """Return what a store says of itself; nothing if it is new."""
    if not inspect(connection).has_table(meta.name):
        return {}
    fields = ("version", "kme", "unit_bits", "id")
    rows = connection.execute(select(meta).where(meta.c.name.in_(fields)))
    return {row.name: row.value.decode() for row in rows}


def _compare(known: dict[str, str], ours: dict[str, str]) -> None:
    for field, value in ours.items():
        if known.get(field) != value:
            raise StoreError(
                f"this key store was made for {field} = {known.get(field)}, not {value}",
                hint="give each KME a store of its own; the key size cannot change in an existing store",
            )


def _check_kek(connection: Connection, sealer: Sealer) -> None:
    sealed = connection.execute(select(meta.c.value).where(meta.c.name == "check")).scalar()
    if sealed is None:
        if connection.execute(select(func.count()).select_from(block)).scalar():
            raise StoreError("this key store lost its check value", hint="the file is damaged; distil anew")
        connection.execute(insert(meta), [{"name": "check", "value": sealer.seal(CHECK_TEXT, "check")}])
        return
    try:
        sealer.open(sealed, "check")
    except StoreError:
        raise StoreError(
            "the key-encryption key does not fit this key store",
            hint="bring the key-encryption key that the store was made with; without it the stored keys are lost",
        ) from None
