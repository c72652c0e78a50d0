"""Keys for applications at one KME, among themselves, and for one that names itself as its slave.

In: a master and slaves that this KME serves.  Out: fresh keys from the system's generator: no QKD, and no way but the
ETSI 014 hops of one site. The master gets them at once, the slaves by their ids, as always. Their record says so.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence

from sqlalchemy import Connection, insert

from noclone.errors import StoreError
from noclone.kms.answers import Answer
from noclone.kms.demands import Demands, unmet
from noclone.kms.journal import ids as names_of
from noclone.kms.keys import Assignment, Refused, Span, StoredKey
from noclone.kms.locks import insert_rows
from noclone.kms.relay_messages import virtual_link
from noclone.kms.reservations import key_row
from noclone.kms.store import Store
from noclone.kms.tables import block, delivery, key
from noclone.records import LOCAL_PROTOCOL, BlockProvenance, Origin

NUMBER_BITS = 62


async def give(
    store: Store, master: str, slaves: tuple[str, ...], number: int, size_bits: int, demands: Demands
) -> tuple[StoredKey, ...]:
    """Make keys for applications that are all here, an application alone with itself included.

    Raises:
        Refused: 400 for demands, which are about QKD; 503 where the store fails.
    """
    if demands:
        raise unmet("these applications are at one KME: no key of theirs is made by QKD")
    try:
        return await draw(store, master, slaves, number, size_bits)
    except StoreError as error:
        raise Refused(503, "key data access error", "store-failed", detail=error.message) from None


def draw(
    store: Store, master: str, slaves: Sequence[str], number: int, size_bits: int
) -> Answer[tuple[StoredKey, ...]]:
    """Make keys, given to their master from now on, waiting for their slaves."""
    name, request = store.name, uuid.uuid4()
    record = BlockProvenance(
        virtual_link(name, name),
        name,
        name,
        request.int >> (128 - NUMBER_BITS),
        LOCAL_PROTOCOL,
        Origin("local", False, "the operating system's generator"),
        "none",
        "no-proof",
        0.0,
        0.0,
        "none",
        store.clock.now_s(),
    )
    keys = tuple(StoredKey(str(uuid.uuid4()), os.urandom(size_bits // 8), (record,)) for _ in range(number))
    ids = [one.key_id for one in keys]

    def work(connection: Connection) -> tuple[StoredKey, ...]:
        session, now_s = store.session, store.clock.now_s()
        life = now_s, now_s + store.settings.lifetime_s
        way = {"peer": name, "link": record.link, "number": record.block, "profile": "local", "state": "spent"}
        none_left = dict.fromkeys(("atoms", "left_0", "left_1", "open_0", "open_1", "seen_0", "seen_1"), 0)
        times = {"created_s": life[0], "expires_s": life[1], "provenance": json.dumps(record.to_json())}
        connection.execute(insert(block), [{**way, **none_left, **times}])
        span = (Span(record.link, record.block, 0, 0),)
        rows = []
        for one in keys:
            promise = Assignment(one.key_id, str(request), master, tuple(slaves), size_bits, span)
            sealed, data_key = session.keyring.seal(one.value, "key", one.key_id, name, "slave")
            rows.append({**key_row(promise, name, "slave", *life), "sealed": sealed, "data_key": data_key})
        insert_rows(connection, key, rows)
        none = {"delivered_s": None, "collected": None}
        waiting = [{"key_id": i, "recipient": slave, **none} for i in ids for slave in slaves]
        insert_rows(connection, delivery, waiting)
        session.journal.note("made here", master=master, slaves=list(slaves), keys=names_of(ids))
        return keys

    return store.commits.submit(work)
