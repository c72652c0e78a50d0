"""What a store does in its transactions, each deed with its entry in the audit log.

In: a connection, and who is at work.  Out: answers. Run by `commits` in its thread; what is decided and what is written
down are one transaction, so nothing is done unseen. The log names a run of keys by the id of its first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection

from noclone.errors import NocloneError
from noclone.kms import allowances, claims, deliveries, pools, reservations, voids
from noclone.kms.journal import ids
from noclone.kms.keys import Assignment, Refused, Reservation, StoredKey
from noclone.kms.workers import Session


@dataclass(frozen=True, eq=False)
class Desk:
    """Who is at work, on which store."""

    name: str
    unit_bits: int
    lifetime_s: float
    session: Session

    def now_s(self) -> float:
        """Return the time."""
        return self.session.clock.now_s()

    def pool(self, peer: str, profiles: tuple[str, ...] | None = None) -> pools.Pool:
        """Name a pool, or a part of it."""
        return pools.Pool(self.name, peer, self.unit_bits, profiles)


@dataclass(frozen=True)
class Claims:
    """Claims on one pool, done together."""

    desk: Desk
    peer: str
    profiles: tuple[str, ...] | None
    left_s: float

    def __call__(
        self, connection: Connection, items: Sequence[claims.Want]
    ) -> Sequence[list[Reservation] | NocloneError]:
        desk, session, now_s = self.desk, self.desk.session, self.desk.now_s()
        after_s = now_s + max(self.left_s, claims.EXPIRY_MARGIN_S)
        who = claims.Claimant(session.keyring, desk.pool(self.peer, self.profiles), session.worker, after_s)
        answers = claims.claim(connection, who, items, now_s, now_s + desk.lifetime_s)
        for want, answer in zip(items, answers, strict=True):
            asked = {"request": want.request, "peer": self.peer, "master": want.master, "size_bits": want.size_bits}
            if isinstance(answer, NocloneError):
                session.journal.note("claim refused", **asked, number=want.number, why=type(answer).__name__)
            else:
                names = ids([reservation.assignment.key_id for reservation in answer])
                session.journal.note("claimed", **asked, number=want.number, slaves=want.slaves, keys=names)
        return answers


@dataclass(frozen=True)
class Handovers:
    """Deliveries to masters, done together."""

    desk: Desk

    def __call__(self, connection: Connection, items: Sequence[deliveries.Handover]) -> Sequence[NocloneError | None]:
        session = self.desk.session
        answers = deliveries.deliver_to_masters(connection, items, self.desk.now_s(), session.worker)
        for handover, refusal in zip(items, answers, strict=True):
            what = "delivered" if refusal is None else "delivery refused"
            session.journal.note(what, to=handover.master, role="master", keys=ids(handover.key_ids))
        return answers


def deposit(connection: Connection, desk: Desk, arrival: pools.Arrival) -> bool:
    """Take a block in, its data key under the KEK of this moment."""
    origin = arrival.provenance
    dek = desk.session.keyring.wrap_block(arrival.dek, desk.name, arrival.peer, origin.link, origin.block)
    if not pools.insert_block(connection, arrival, dek):
        return False
    desk.session.journal.note(
        "deposited", peer=arrival.peer, profile=arrival.profile, block=[origin.link, origin.block, arrival.atoms]
    )
    return True


def spend(connection: Connection, desk: Desk, limits: Sequence[allowances.Limit], n_bits: int) -> float | NocloneError:
    """Count what pairs are about to get and return when that was, or say which has used up what it may have."""
    now_s = desk.now_s()
    try:
        allowances.spend(connection, desk.session.store_id, limits, n_bits, now_s)
    except Refused as refused:
        desk.session.journal.note("claim refused", pair=refused.detail, bits=n_bits, why=refused.reason)
        return refused
    return now_s


def put_back(
    connection: Connection, desk: Desk, limits: Sequence[allowances.Limit], n_bits: int, then_s: float
) -> None:
    """Count no more what was not given after all."""
    allowances.put_back(connection, desk.session.store_id, limits, n_bits, then_s)


def assign(
    connection: Connection, desk: Desk, peer: str, promises: Sequence[Assignment]
) -> dict[str, reservations.Refusal]:
    """Take in a peer's promises."""
    now_s = desk.now_s()
    refused = reservations.assign(
        connection, desk.session.keyring, desk.pool(peer), promises, now_s, now_s + desk.lifetime_s
    )
    for request, group in groupby(promises, key=lambda promise: promise.request):
        kept = [promise for promise in group if promise.key_id not in refused]
        if kept:
            one, names = kept[0], ids([promise.key_id for promise in kept])
            number = sum(promise.number for promise in kept)
            desk.session.journal.note(
                "promised", request=request, peer=peer, master=one.master, number=number, slaves=one.slaves, keys=names
            )
    if refused:
        reasons = sorted({refusal.reason for refusal in refused.values()})
        desk.session.journal.note("promise refused", peer=peer, why=reasons, keys=ids(list(refused)))
    return refused


def collect(
    connection: Connection, desk: Desk, recipient: str, master: str, key_ids: Sequence[str]
) -> list[StoredKey] | NocloneError:
    """Hand keys to a slave, or say why not."""
    asked = {"to": recipient, "role": "slave", "master": master, "keys": ids(key_ids)}
    try:
        found = deliveries.collect(connection, desk.session.keyring, recipient, master, key_ids, desk.now_s())
    except Refused as refused:
        desk.session.journal.note("delivery refused", **asked, why=refused.reason)
        return refused
    desk.session.journal.note("delivered", **asked)
    return found


def give_up(
    connection: Connection,
    desk: Desk,
    key_ids: Sequence[str],
    refused: Sequence[tuple[Assignment, reservations.Refusal]],
) -> None:
    """Void keys of our masters."""
    voids.give_up(connection, desk.session.keyring, desk.pool(""), key_ids, refused, desk.now_s())
    if key_ids:
        desk.session.journal.note("voided", role="master", keys=ids(key_ids))


def undelivered(connection: Connection, desk: Desk, peer: str) -> list[tuple[str, str]]:
    """Fence who is gone, and return what was promised to masters here and will not be given to them by anybody."""
    desk.session.fence_the_dead(connection)
    return voids.undelivered(connection, peer, desk.session.worker)


def void(connection: Connection, desk: Desk, peer: str, key_ids: Sequence[str]) -> None:
    """Void keys of a peer's masters."""
    voids.void(connection, desk.name, peer, key_ids, desk.now_s())
    if key_ids:
        desk.session.journal.note("voided", role="slave", peer=peer, keys=ids(key_ids))


def discard_held(connection: Connection, desk: Desk, before_s: float) -> int:
    """Erase relayed blocks that the other end has never said to hold."""
    count = pools.discard_held(connection, before_s)
    if count:
        desk.session.journal.note("discarded", blocks=count)
    return count


def sweep(connection: Connection, desk: Desk) -> pools.Swept:
    """Erase what has outlived its time."""
    swept = pools.sweep(connection, desk.now_s())
    if swept.blocks or swept.keys:
        desk.session.journal.note("expired", blocks=swept.blocks, keys=swept.keys)
    return swept
