"""Versioned migrations: a store that an older program made is brought to this program's version when it is opened.

In: a connection, in the transaction of its opening, and the version that the store says.  Out: the tables of `tables`.
All steps and the new version are one transaction: after a crash the store is the old one or the new one. There is no
way back: a store that is newer than the program is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select, update

from noclone.errors import StoreError
from noclone.kms.keyring import FINGERPRINTS, Keyring
from noclone.kms.locks import insert_rows, is_shared
from noclone.kms.pieces import PIECE_BYTES, Place
from noclone.kms.sealing import Sealer, encode
from noclone.kms.tables import KEY_RESERVED, OPEN_INDEXES, VERSION, block, key, meta, metadata, piece, segment

CHECK_TEXT = b"noclone key store"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a migration may need: whose store it is, the KEKs on offer, and the keyring that the store is to have."""

    name: str
    store_id: str
    keks: tuple[bytes, ...]
    keyring: Keyring
    now_s: float


def migrate(connection: Connection, found: str, opening: Opening) -> None:
    """Bring a store from the version that it says to this one.

    Raises:
        StoreError: There is no way from there.
    """
    version = int(found) if found.isascii() and found.isdigit() else 0
    if version > VERSION:
        raise StoreError(
            f"this key store has version {found}, and this program knows {VERSION} at most",
            hint="use the newer noclone that made it; there is no way back",
        )
    if version < min(STEPS):
        raise StoreError(f"this key store has version {found}, which cannot be brought to {VERSION}")
    for step in range(version, VERSION):
        STEPS[step](connection, opening)
    if version < VERSION:
        connection.execute(update(meta).where(meta.c.name == "version").values(value=str(VERSION).encode()))


def _add_profiles(connection: Connection, _: Opening) -> None:
    """2 to 3: blocks say what policies choose them by."""
    _run(connection, "ALTER TABLE block ADD COLUMN profile VARCHAR NOT NULL DEFAULT 'link'")


def _open(connection: Connection) -> None:
    """Let blocks say which directions have something to claim."""
    _run(
        connection,
        "ALTER TABLE block ADD COLUMN open_0 INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE block ADD COLUMN open_1 INTEGER NOT NULL DEFAULT 0",
        "UPDATE block SET open_0 = 1 WHERE state = 'ready' AND left_0 > 0",
        "UPDATE block SET open_1 = 1 WHERE state = 'ready' AND left_1 > 0",
    )
    for index in OPEN_INDEXES:
        index.create(connection, checkfirst=True)


def _envelop(connection: Connection, opening: Opening) -> None:
    """3 to 4: what claims look for; data keys between the KEK and the secrets; workers; the audit log."""
    check = connection.execute(select(meta.c.value).where(meta.c.name == "check")).scalar_one_or_none()
    old = next((sealer for kek in opening.keks if (sealer := _fitting(kek, opening.store_id, check))), None)
    if old is None:
        raise StoreError(
            "the key-encryption key does not fit this key store",
            hint="bring the key-encryption key that the store was made with; without it the stored keys are lost",
        )
    _run(
        connection,
        "ALTER TABLE block ADD COLUMN dek BLOB",
        'ALTER TABLE "key" ADD COLUMN data_key INTEGER',
        'ALTER TABLE "key" ADD COLUMN worker INTEGER',
        "ALTER TABLE segment ADD COLUMN data_key INTEGER",
    )
    _open(connection)
    metadata.create_all(connection)
    _run(connection, "DROP INDEX key_by_state")
    KEY_RESERVED.create(connection, checkfirst=True)
    opening.keyring.create(connection, opening.now_s, {FINGERPRINTS: old.subkey(b"fingerprint")})
    _seal_anew(connection, old, opening)
    connection.execute(delete(meta).where(meta.c.name == "check"))
    _run(connection, "ALTER TABLE block DROP COLUMN salt")


def _fitting(kek: bytes, store_id: str, check: bytes | None) -> Sealer | None:
    sealer = Sealer(kek, store_id)
    try:
        return sealer if check is not None and sealer.open(check, "check") == CHECK_TEXT else None
    except StoreError:
        return None


def _seal_anew(connection: Connection, old: Sealer, opening: Opening) -> None:
    """Give blocks the keys that their atoms are under already, as data keys; seal other secrets anew."""
    keyring = opening.keyring
    found = connection.exec_driver_sql(
        "SELECT id, peer, link, number, salt FROM block WHERE state IN ('held', 'ready')"
    ).all()
    for row in found:
        context = (opening.name, row.peer, row.link, row.number)
        dek = keyring.wrap_block(old.subkey(encode("block", bytes(row.salt), *context)), *context)
        connection.execute(update(block).where(block.c.id == row.id).values(dek=dek))
    change = update(key).where(key.c.key_id == bindparam("which"))
    for row in connection.execute(
        select(key.c.key_id, key.c.peer, key.c.sealed).where(key.c.sealed.is_not(None))
    ).all():
        as_what = ("key", row.key_id, row.peer, "slave")
        sealed, number = keyring.seal(old.open(row.sealed, *as_what), *as_what)
        connection.execute(change.values(sealed=sealed, data_key=number), {"which": row.key_id})
    for row in connection.execute(select(segment).where(segment.c.sealed.is_not(None))).all():
        as_segment = ("segment", row.link, row.number)
        sealed, number = keyring.seal(old.open(row.sealed, *as_segment), *as_segment)
        here = update(segment).where(segment.c.link == row.link, segment.c.number == row.number)
        connection.execute(here.values(sealed=sealed, data_key=number))


def _run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def _join(connection: Connection, opening: Opening) -> None:
    """4 to 5: atoms lie in pieces, keys in runs, found by the order of their ids."""
    if is_shared(connection):
        for table in ('"key"', "delivery"):
            _run(connection, f'ALTER TABLE {table} ALTER COLUMN key_id TYPE VARCHAR COLLATE "C"')
    _run(
        connection,
        'ALTER TABLE "key" ADD COLUMN number INTEGER NOT NULL DEFAULT 1',
        'ALTER TABLE "key" ADD COLUMN waiting INTEGER NOT NULL DEFAULT 1',
        f"ALTER TABLE delivery ADD COLUMN collected {'BYTEA' if is_shared(connection) else 'BLOB'}",
    )
    piece.create(connection, checkfirst=True)
    opening.keyring.load(connection)
    unit = int(connection.execute(select(meta.c.value).where(meta.c.name == "unit_bits")).scalar_one()) // 8
    for row in connection.execute(select(block).where(block.c.dek.is_not(None))).all():
        opener = opening.keyring.block(row.dek, opening.name, row.peer, row.link, row.number)
        for way in (0, 1):
            _join_atoms(connection, Place(row.id, way, unit, opener))
    _run(connection, "DROP TABLE atom")


def _join_atoms(connection: Connection, place: Place) -> None:
    """Seal the atoms of one block and direction anew, as pieces."""
    found = connection.exec_driver_sql(
        f"SELECT position, sealed FROM atom WHERE block_id = {place.block_id} AND direction = {place.direction} "  # noqa: S608
        "ORDER BY position"
    )
    runs: list[tuple[int, list[bytes]]] = []
    for position, sealed in found:
        atom = place.opener.open_atom(place.direction, position, bytes(sealed))
        last = runs[-1] if runs else None
        if last and last[0] + len(last[1]) == position and (len(last[1]) + 1) * place.unit_bytes <= PIECE_BYTES:
            last[1].append(atom)
        else:
            runs.append((position, [atom]))
    rows = [
        {
            "block_id": place.block_id,
            "direction": place.direction,
            "first": first,
            "sealed": place.opener.seal(place.direction, first, b"".join(atoms)),
        }
        for first, atoms in runs
    ]
    if rows:
        insert_rows(connection, piece, rows)


def _add_neighbours(connection: Connection, _: Opening) -> None:
    """5 to 6: what was drawn from vendors' systems, and what crosses into other operators' domains."""
    metadata.create_all(connection)


def _add_allowances(connection: Connection, _: Opening) -> None:
    """6 to 7: what pairs have used of their quotas."""
    metadata.create_all(connection)


STEPS: dict[int, Callable[[Connection, Opening], None]] = {
    2: _add_profiles,
    3: _envelop,
    4: _join,
    5: _add_neighbours,
    6: _add_allowances,
}
