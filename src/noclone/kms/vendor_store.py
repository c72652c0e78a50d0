"""What drawing from a vendor's system asks of the key store: which block came last, and that no id is used twice.

Functions on a store; each returns a future, as the store's own methods do.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from noclone.errors import KmeError
from noclone.kms.answers import Answer
from noclone.kms.locks import Among
from noclone.kms.pools import provenance_of
from noclone.kms.store import Store
from noclone.kms.tables import block, vendor_claim
from noclone.records import Provenance


class ClaimedBefore(KmeError):
    """A vendor gave a key id that it gave before."""


def last_block(store: Store, link: str) -> Answer[Provenance | None]:
    """Return the record of a link's newest block, whatever became of it; None if it had none."""

    def find(connection: Connection) -> Provenance | None:
        query = select(block.c.provenance).where(block.c.link == link).order_by(block.c.number.desc()).limit(1)
        text = connection.execute(query).scalar()
        return None if text is None else provenance_of(text)

    return store.commits.submit(find)


def claim_ids(store: Store, link: str, number: int, key_ids: Sequence[str]) -> Answer[None]:
    """Note, durably, that a vendor's keys are used for a block; the same note twice counts once.

    Raises (in the future):
        ClaimedBefore: One was used for another block, or is there twice: none of these may be used.
    """
    ids = list(key_ids)

    def claim(connection: Connection) -> None:
        query = select(vendor_claim.c.key_id, vendor_claim.c.block).where(
            vendor_claim.c.link == link, Among(vendor_claim.c.key_id)
        )
        known = {row.key_id: row.block for row in connection.execute(query, {"ids": ids})}
        if len(set(ids)) != len(ids) or set(known.values()) - {number}:
            raise ClaimedBefore(f"the vendor's system of link {link} gave a key id that it gave before")
        fresh = [{"link": link, "key_id": key_id, "block": number} for key_id in ids if key_id not in known]
        if fresh:
            connection.execute(insert(vendor_claim), fresh)
            store.session.journal.note("drew from a vendor", block=[link, number], keys=len(fresh))

    return store.commits.submit(claim)
