"""The delivery rules: each recipient that was named gets a key once; the last one's leave erases it.

Functions on a connection, run by `commits`; each decides first and writes afterwards. A key is marked as delivered
before it is sent: if the answer is lost on its way, that recipient's copy is burned, never sent twice. A run of keys is
stored as one; who collects a part of it is marked so key by key, and what all have collected is erased from the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from noclone.errors import NocloneError, StoreError
from noclone.kms.keyring import Keyring
from noclone.kms.keys import NOT_FOUND, Refused, StoredKey, index_in_run, values_of
from noclone.kms.locks import Among
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
ERASE = update(key).where(Among(key.c.key_id)).values(state="erased", sealed=None, waiting=0, ended_s=bindparam("now"))
PLACE = (key.c.key_id, key.c.number, key.c.ranges)
EXACT = select(*PLACE).where(Among(key.c.key_id))
BELOW = select(*PLACE).where(key.c.key_id <= bindparam("id")).order_by(key.c.key_id.desc()).limit(1)
RUNS = select(key).where(Among(key.c.key_id)).order_by(key.c.key_id).with_for_update()
NAMED = select(delivery).where(Among(delivery.c.key_id))
DELIVER = (
    update(delivery)
    .where(delivery.c.key_id == bindparam("run"), delivery.c.recipient == bindparam("who"))
    .values(delivered_s=bindparam("when"), collected=bindparam("bits"))
)
KEEP = (
    update(key)
    .where(key.c.key_id == bindparam("run"))
    .values(sealed=bindparam("rest"), data_key=bindparam("by"), waiting=bindparam("left"))
)
PROVENANCE = select(block.c.provenance).where(block.c.link == bindparam("link"), block.c.number == bindparam("number"))


@dataclass(frozen=True, slots=True)
class Handover:
    """Runs of keys that one master is about to get, by their first keys' ids."""

    master: str
    key_ids: tuple[str, ...]


def deliver_to_masters(
    connection: Connection, handovers: Sequence[Handover], now_s: float, worker: int
) -> list[NocloneError | None]:
    """Note that masters get their keys: none may have expired, been voided, or been given out before."""
    ids = [key_id for handover in handovers for key_id in handover.key_ids]
    free = {row.key_id: row.master for row in connection.execute(FOR_MASTER, {"ids": ids, "ours": worker})}
    out: list[NocloneError | None] = []
    given: list[str] = []
    for handover in handovers:
        if all(free.pop(key_id, None) == handover.master for key_id in handover.key_ids):
            given += handover.key_ids
            out.append(None)
        else:
            out.append(StoreError("a key was about to be delivered twice, or after its end", hint="ask for new keys"))
    if given:
        connection.execute(ERASE, {"ids": given, "now": now_s})
    return out


def runs_of(connection: Connection, key_ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return in which run each key is, by the run's first id, and as which of its keys; unknown ids are left out."""
    exact = {row.key_id: row for row in connection.execute(EXACT, {"ids": list(key_ids)})}
    places: dict[str, tuple[str, int]] = {}
    run: Any = None
    for key_id in sorted(key_ids):
        run = exact.get(key_id, run)
        index = None if run is None else index_in_run(key_id, run.key_id, run.number, _step(run))
        if index is None:
            run = connection.execute(BELOW, {"id": key_id}).first()
            index = None if run is None else index_in_run(key_id, run.key_id, run.number, _step(run))
        if run is not None and index is not None:
            places[key_id] = run.key_id, index
    return places


def collect(
    connection: Connection, keyring: Keyring, recipient: str, master: str, key_ids: Sequence[str], now_s: float
) -> list[StoredKey]:
    """Hand keys to a slave, all or none; erase those that nobody else waits for.

    Raises:
        Refused: 401 if it was not named for each (ETSI GS QKD 014, clause 6.3), 400 if one is not here any more.
    """
    wanted = _find(connection, key_ids)
    if any(recipient not in run.had or run.row.role != "slave" for run in wanted):
        raise Refused(401, "this SAE was not named for every key that it asks for", "not-named")
    found = [index for run in wanted for index in run.indices]
    for run in wanted:
        gone = run.row.state != "reserved" or run.row.expires_s <= now_s or run.row.master != master
        if gone or any(run.had[recipient] >> index & 1 for index in run.indices.values()):
            found = []
    if len(found) != len(key_ids):
        raise Refused(400, NOT_FOUND, "not-found", hint="a key is delivered once to each recipient, and expires")
    origins: dict[tuple[str, int], Provenance] = {}
    out: dict[str, StoredKey] = {}
    for run in wanted:
        values = values_of(_open(keyring, run.row), run.row.number)
        provenance = _provenance(connection, run.row, origins)
        out |= {key_id: StoredKey(key_id, values[index], provenance) for key_id, index in run.indices.items()}
        _hand_over(connection, keyring, run, recipient, values, now_s)
    finished = [run.row.key_id for run in wanted if run.waiting == 0]
    if finished:
        connection.execute(ERASE, {"ids": finished, "now": now_s})
    return [out[key_id] for key_id in key_ids]


@dataclass(slots=True)
class _Wanted:
    """A run of keys of which some are asked for.

    Args:
        indices: Which of its keys, by id.
        had: For each recipient that was named, which keys it has had: a bit for each.
    """

    row: Row[Any]
    indices: dict[str, int]
    had: dict[str, int]

    @property
    def finished(self) -> int:
        """Which keys all recipients have had: a bit for each."""
        return reduce(and_, self.had.values())

    @property
    def waiting(self) -> int:
        """How many keys somebody waits for."""
        return int(self.row.number) - self.finished.bit_count()


def _find(connection: Connection, key_ids: Sequence[str]) -> list[_Wanted]:
    """Look up the runs of keys; ids that are in none are left out."""
    places = runs_of(connection, key_ids)
    names = list(dict.fromkeys(name for name, _ in places.values()))
    rows = {row.key_id: row for row in connection.execute(RUNS, {"ids": names})}
    runs = {name: _Wanted(row, {}, {}) for name, row in rows.items()}
    for key_id, (name, index) in places.items():
        runs[name].indices[key_id] = index
    for row in connection.execute(NAMED, {"ids": list(runs)}):
        had = 0 if row.collected is None else int.from_bytes(row.collected, "big")
        runs[row.key_id].had[row.recipient] = had if row.delivered_s is None else _all(rows[row.key_id].number)
    return list(runs.values())


def _hand_over(
    connection: Connection, keyring: Keyring, run: _Wanted, recipient: str, values: list[bytes], now_s: float
) -> None:
    """Mark keys of a run as collected by a recipient, and erase from the rest what nobody waits for."""
    row, before = run.row, run.finished
    run.had[recipient] |= sum(1 << index for index in run.indices.values())
    bits, complete = run.had[recipient], run.had[recipient] == _all(row.number)
    mark = None if complete else bits.to_bytes(-(-row.number // 8), "big")
    changes = {"run": row.key_id, "who": recipient, "when": now_s if complete else None, "bits": mark}
    connection.execute(DELIVER, changes)
    if run.finished != before and run.waiting:
        rest = b"".join(bytes(len(value)) if run.finished >> i & 1 else value for i, value in enumerate(values))
        sealed, number = keyring.seal(rest, "key", row.key_id, row.peer, "slave")
        connection.execute(KEEP, {"run": row.key_id, "rest": sealed, "by": number, "left": run.waiting})


def _all(number: int) -> int:
    return (1 << number) - 1


def _step(row: Row[Any]) -> int:
    """Return how many atoms lie between the beginnings of a run's keys."""
    if row.number == 1:
        return 1
    return int(json.loads(row.ranges)[0][3]) // int(row.number)


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
