"""Opening a store: whose it is, which version, and whether the key-encryption key fits.

Functions on a connection, run by `commits` in one transaction: a store is opened as it was or as this program wants it,
and never half way between.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, insert, inspect, select

from noclone.errors import StoreError
from noclone.kms.keyring import Keks, Keyring
from noclone.kms.locks import lock
from noclone.kms.migrations import Opening, migrate
from noclone.kms.tables import VERSION, meta, metadata


@dataclass(frozen=True, slots=True)
class Opened:
    """What a store is, and what opens its secrets."""

    name: str
    unit_bits: int
    store_id: str
    keyring: Keyring


def open_tables(connection: Connection, name: str, unit_bits: int, keks: Keks, now_s: float) -> Opened:
    """Make the tables of a new store, or check an old one and bring it to this version.

    Args:
        connection: To its database.
        name: Of the KME; empty: whatever an existing store says, and its size of an atom too.
        unit_bits: Size of an atom.
        keks: What returns the KEKs that may fit.
        now_s: The time.

    Raises:
        StoreError: It is another KME's, of a newer version, or no key-encryption key fits.
    """
    lock(connection, "opening", alone=True)  # two workers may be the first at once
    known = read_meta(connection)
    fresh = not known
    if not name and fresh:
        raise StoreError("there is no key store", hint="give the file or the URL that the KME is run with")
    if not name:
        name, unit_bits = known["kme"], int(known["unit_bits"])
    if fresh:
        known = {"version": str(VERSION), "kme": name, "unit_bits": str(unit_bits), "id": str(uuid.uuid4())}
        metadata.create_all(connection)
        rows = [{"name": field, "value": value.encode()} for field, value in known.items()]
        connection.execute(insert(meta), rows)
    _compare(known, {"kme": name, "unit_bits": str(unit_bits)})
    keyring = Keyring(keks, known["id"])
    if fresh:
        keyring.create(connection, now_s)
    else:
        migrate(connection, known["version"], Opening(name, known["id"], tuple(keks()), keyring, now_s))
        keyring.load(connection)
    return Opened(name, unit_bits, known["id"], keyring)


def read_meta(connection: Connection) -> dict[str, str]:
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
