"""What a KME's store remembers of a key, whatever became of it: for `noclone key explain`. Never the key itself.

In: a store, a key's id.  Out: which blocks it was cut from, who holds it, and whether their relays' signatures hold.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, select

from noclone.combined import provenance_from_json, qkd_blocks
from noclone.errors import NocloneError
from noclone.kms.answers import Answer
from noclone.kms.deliveries import runs_of
from noclone.kms.pools import provenance_of
from noclone.kms.relay_messages import Header
from noclone.kms.relay_statements import Notary
from noclone.kms.store import Store
from noclone.kms.tables import block, key
from noclone.relayed import RelayProvenance, far_end


def find_key(store: Store, key_id: str) -> Answer[dict[str, Any] | None]:
    """Return a key's record as JSON values; None if this store never had it."""

    def find(connection: Connection) -> dict[str, Any] | None:
        place = runs_of(connection, [key_id]).get(key_id)
        if place is None:
            return None
        row = connection.execute(select(key).where(key.c.key_id == place[0])).one()
        places = dict.fromkeys((link, number) for link, number, _, _ in json.loads(row.ranges))
        blocks = []
        for link, number in places:
            query = select(block.c.provenance).where(block.c.link == link, block.c.number == number)
            blocks.append(provenance_of(connection.execute(query).scalar_one()).to_json())
        border = next((data["domain"] for data in blocks if data.get("kind") == "border"), None)
        far = row.peer if border is None else far_end(border)
        ends = (store.name, far) if row.role == "master" else (far, store.name)
        return {
            "key_ID": key_id,
            "kme": store.name,
            "role": row.role,
            "state": row.state,
            "master": row.master,
            "bits": row.size_bits,
            "sites": list(ends),
            "blocks": blocks,
        }

    return store.commits.submit(find)


def check_signatures(record: RelayProvenance, notary: Notary) -> str:
    """Say whether every hop of a relayed block is signed as it should be: "hold", or what does not."""
    paths = tuple((record.initiator, *(hop.receiver for hop in hops)) for hops in record.shares)
    if any(path[-1] != record.target for path in paths):
        return "not checked: a share was lost, so that the header which was signed is not all here"
    try:
        header = Header(
            record.transfer, record.link, record.block, record.threshold, paths, record.n_bytes, record.time_s
        )
        for share, hops in enumerate(record.shares):
            notary.check_hops(header, share, hops)
    except (NocloneError, ValueError) as error:
        return error.message if isinstance(error, NocloneError) else str(error)
    return "hold"


async def find_among(stores: dict[str, tuple[Store, Notary]], key_id: str) -> dict[str, Any] | None:
    """Look for a key in several stores; return the first record, with what its signatures are worth."""
    for store, notary in stores.values():
        found = await find_key(store, key_id)
        if found is not None:
            return {**found, "signatures": signatures_of(found, notary)}
    return None


def signatures_of(found: dict[str, Any], notary: Notary) -> dict[str, str]:
    """Say of each relayed block of a record what its signatures are worth."""
    blocks = qkd_blocks(map(provenance_from_json, found["blocks"]))
    relayed = [block for block in blocks if isinstance(block, RelayProvenance)]
    return {f"{record.link} #{record.block}": check_signatures(record, notary) for record in relayed}
