"""The delivery rules: each recipient that was named gets a key once; the last one's leave erases it.

Functions on a connection, run by `commits`; each decides first and writes afterwards. A key is marked as delivered
before it is sent: if the answer is lost on its way, that recipient's copy is burned, never sent twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from noclone.errors import NocloneError, StoreError
from noclone.kms.keyring import Keyring
from noclone.kms.keys import NOT_FOUND, Refused, StoredKey
from noclone.kms.locks import Among, insert_rows
from noclone.kms.pools import provenance_of
from noclone.kms.tables import block, delivery, key
from noclone.records import Provenance

FOR_MASTER = (
    select(key.c.key_id, key.c.master)
    .where(
        Among(key.c.key_id),
        key.c.role == "master",
        key.c.state == "reserved",
        key.c.worker == bindparam("ours"),  # what another worker claimed may be voided by now
    )
    .order_by(key.c.key_id)
    .with_for_update()
)
ERASE = update(key).where(Among(key.c.key_id)).values(state="erased", sealed=None, ended_s=bindparam("now"))
KEYS = select(key).where(Among(key.c.key_id)).order_by(key.c.key_id).with_for_update()
PROMISED = select(delivery.c.key_id, delivery.c.delivered_s).where(
    Among(delivery.c.key_id), delivery.c.recipient == bindparam("who")
)
WAITING = select(delivery.c.key_id).where(Among(delivery.c.key_id), delivery.c.delivered_s.is_(None))
DELIVER = (
    update(delivery)
    .where(Among(delivery.c.key_id), delivery.c.recipient == bindparam("who"))
    .values(delivered_s=bindparam("now"))
)
PROVENANCE = select(block.c.provenance).where(block.c.link == bindparam("link"), block.c.number == bindparam("number"))


@dataclass(frozen=True, slots=True)
class Handover:
    """Keys that one master is about to get."""

    master: str
    key_ids: tuple[str, ...]


def deliver_to_masters(
    connection: Connection, handovers: Sequence[Handover], now_s: float, worker: int
) -> list[NocloneError | None]:
    """Note that masters get their keys: none may have expired, been voided, or been given out before."""
    ids = [key_id for handover in handovers for key_id in handover.key_ids]
    free = {row.key_id: row.master for row in connection.execute(FOR_MASTER, {"ids": ids, "ours": worker})}
    out: list[NocloneError | None] = []
    rows = []
    for handover in handovers:
        if all(free.pop(key_id, None) == handover.master for key_id in handover.key_ids):
            rows += [{"key_id": i, "recipient": handover.master, "delivered_s": now_s} for i in handover.key_ids]
            out.append(None)
        else:
            out.append(StoreError("a key was about to be delivered twice, or after its end", hint="ask for new keys"))
    if rows:
        connection.execute(ERASE, {"ids": [row["key_id"] for row in rows], "now": now_s})
        insert_rows(connection, delivery, rows)
    return out


def collect(
    connection: Connection, keyring: Keyring, recipient: str, master: str, key_ids: Sequence[str], now_s: float
) -> list[StoredKey]:
    """Hand keys to a slave, all or none; erase those that nobody else waits for.

    Raises:
        Refused: 401 if it was not named for each (ETSI GS QKD 014, clause 6.3), 400 if one is not here any more.
    """
    ids = list(key_ids)
    rows = {row.key_id: row for row in connection.execute(KEYS, {"ids": ids})}
    promised = {row.key_id: row.delivered_s for row in connection.execute(PROMISED, {"ids": ids, "who": recipient})}
    if any(i in rows and not (i in promised and rows[i].role == "slave") for i in ids):
        raise Refused(401, "this SAE was not named for every key that it asks for", "not-named")
    for i in ids:
        gone = i not in rows or rows[i].state != "reserved" or promised[i] is not None or rows[i].expires_s <= now_s
        if gone or rows[i].master != master:
            raise Refused(400, NOT_FOUND, "not-found", hint="a key is delivered once to each recipient, and expires")
    origins: dict[tuple[str, int], Provenance] = {}
    out = [StoredKey(i, _open(keyring, rows[i]), _provenance(connection, rows[i], origins)) for i in ids]
    connection.execute(DELIVER, {"ids": ids, "who": recipient, "now": now_s})
    waiting = set(connection.execute(WAITING, {"ids": ids}).scalars())
    finished = [i for i in ids if i not in waiting]
    if finished:
        connection.execute(ERASE, {"ids": finished, "now": now_s})
    return out


def _open(keyring: Keyring, row: Row[Any]) -> bytes:
    return keyring.open(row.sealed, row.data_key, "key", row.key_id, row.peer, "slave")


def _provenance(
    connection: Connection, row: Row[Any], known: dict[tuple[str, int], Provenance]
) -> tuple[Provenance, ...]:
    """Return what a key's blocks stand on; `known` are those that were looked up already."""
    blocks = list(dict.fromkeys((link, number) for link, number, _, _ in json.loads(row.ranges)))
    for place in blocks:
        if place not in known:
            found = connection.execute(PROVENANCE, {"link": place[0], "number": place[1]})
            known[place] = provenance_of(found.scalar_one())
    return tuple(known[place] for place in blocks)
