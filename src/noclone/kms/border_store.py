"""What the border asks of the key store: keys on their way between two domains, each with its state.

Functions on a store; each returns a future, as the store's own methods do. A key's row stays, so that nothing that
came once can come again. Terminal states never go back:

    out   drawn -> sent -> relayed, or failed;  drawn, sent -> voiding -> void
    in    accepted -> relayed, or failed;  accepted, relayed -> voiding -> void
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Row, select, update

from noclone.kms.answers import Answer
from noclone.kms.journal import ids as names_of
from noclone.kms.locks import Among, insert_rows
from noclone.kms.store import Store
from noclone.kms.tables import border_key

Direction = Literal["out", "in"]
BATCH = 1024
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BorderKey:
    """A key on its way, with its value only where it waits to be relayed."""

    key_id: str
    domain: str
    site: str
    request: str  # in: a fingerprint of the value, by which the same key is known when it comes again
    initiator: str
    targets: tuple[str, ...]
    size_bits: int
    state: str
    ack: str | None
    callback: str
    value: bytes = field(default=b"", repr=False)

    @property
    def parties(self) -> tuple[str, str, tuple[str, ...], str]:
        """What keys must have alike to be dealt with together."""
        return self.site, self.initiator, self.targets, self.callback


def _read(store: Store, row: Row[Any]) -> BorderKey:
    keyring = store.session.keyring
    value = b""
    if row.sealed is not None:
        value = keyring.open(row.sealed, row.data_key, "border", row.key_id, row.domain)
    return BorderKey(
        row.key_id,
        row.domain,
        row.site,
        row.request,
        row.initiator,
        tuple(json.loads(row.targets)),
        row.size_bits,
        row.state,
        row.ack,
        row.callback,
        value,
    )


def _submit(store: Store, work: Callable[[Connection], T]) -> Answer[T]:
    return store.commits.submit(work)


def enter(store: Store, direction: Direction, keys: Sequence[BorderKey]) -> Answer[list[BorderKey]]:
    """Take in keys that are new; the future returns those of the same ids that were here before."""

    def work(connection: Connection) -> list[BorderKey]:
        known = _known(connection, store, direction, [key.key_id for key in keys])
        taken = {key.key_id for key in known}
        rows = [_row(store, direction, key) for key in keys if key.key_id not in taken]
        if rows:
            insert_rows(connection, border_key, rows)
            one = rows[0]
            parties = {"domain": one["domain"], "initiator": one["initiator"], "targets": keys[0].targets}
            store.session.journal.note(
                "border", way=direction, state=one["state"], **parties, keys=names_of([row["key_id"] for row in rows])
            )
        return known

    return _submit(store, work)


def _row(store: Store, direction: Direction, key: BorderKey) -> dict[str, Any]:
    sealed, number = None, None
    if key.value:
        sealed, number = store.session.keyring.seal(key.value, "border", key.key_id, key.domain)
    now_s = store.clock.now_s()
    return {
        "direction": direction,
        "key_id": key.key_id,
        "domain": key.domain,
        "site": key.site,
        "request": key.request,
        "initiator": key.initiator,
        "targets": json.dumps(key.targets),
        "size_bits": key.size_bits,
        "state": key.state,
        "ack": key.ack,
        "callback": key.callback,
        "sealed": sealed,
        "data_key": number,
        "created_s": now_s,
        "ended_s": None,
    }


def _known(connection: Connection, store: Store, direction: Direction, ids: Sequence[str]) -> list[BorderKey]:
    query = select(border_key).where(border_key.c.direction == direction, Among(border_key.c.key_id))
    return [_read(store, row) for row in connection.execute(query, {"ids": list(ids)})]


def find(store: Store, direction: Direction, key_ids: Sequence[str]) -> Answer[list[BorderKey]]:
    """Return those of some keys that are known."""
    return _submit(store, lambda connection: _known(connection, store, direction, key_ids))


def of_request(store: Store, request: str) -> Answer[list[BorderKey]]:
    """Return the keys that were drawn for a request."""

    def work(connection: Connection) -> list[BorderKey]:
        query = select(border_key).where(border_key.c.direction == "out", border_key.c.request == request)
        return [_read(store, row) for row in connection.execute(query)]

    return _submit(store, work)


def between(store: Store, domain: str, initiator: str, targets: Sequence[str]) -> Answer[list[BorderKey]]:
    """Return the keys that came for a set of applications and may still be delivered."""

    def work(connection: Connection) -> list[BorderKey]:
        query = select(border_key).where(
            border_key.c.direction == "in",
            border_key.c.domain == domain,
            border_key.c.state.in_(("accepted", "relayed")),
            border_key.c.initiator == initiator,
            border_key.c.targets == json.dumps(list(targets)),
        )
        return [_read(store, row) for row in connection.execute(query.limit(BATCH))]

    return _submit(store, work)


def waiting(store: Store, direction: Direction, states: Sequence[str], domain: str) -> Answer[list[BorderKey]]:
    """Return keys in some states that come from a domain or go there, the oldest first, no more than a batch."""

    def work(connection: Connection) -> list[BorderKey]:
        query = select(border_key).where(
            border_key.c.direction == direction, border_key.c.state.in_(states), border_key.c.domain == domain
        )
        rows = connection.execute(query.order_by(border_key.c.created_s, border_key.c.key_id).limit(BATCH))
        return [_read(store, row) for row in rows]

    return _submit(store, work)


def unacknowledged(store: Store, domain: str) -> Answer[list[BorderKey]]:
    """Return keys that came from a domain, which is still to be told what became of them."""

    def work(connection: Connection) -> list[BorderKey]:
        query = select(border_key).where(
            border_key.c.direction == "in", border_key.c.ack.is_not(None), border_key.c.domain == domain
        )
        return [_read(store, row) for row in connection.execute(query.order_by(border_key.c.key_id).limit(BATCH))]

    return _submit(store, work)


def turn(
    store: Store,
    direction: Direction,
    key_ids: Sequence[str],
    before: Sequence[str],
    state: str,
    ack: str | None = None,
) -> Answer[set[str]]:
    """Bring keys from one of some states into another; the future returns those that are in it then.

    Args:
        ack: What the other domain is to be told of them, from now on.
    """
    over = state in ("relayed", "failed", "void")

    def work(connection: Connection) -> set[str]:
        values: dict[str, Any] = {"state": state}
        if over:
            values |= {"sealed": None, "data_key": None, "ended_s": store.clock.now_s()}
        if ack is not None:
            values["ack"] = ack
        change = (
            update(border_key)
            .where(border_key.c.direction == direction, Among(border_key.c.key_id), border_key.c.state.in_(before))
            .values(**values)
        )
        there = select(border_key.c.key_id).where(
            border_key.c.direction == direction, Among(border_key.c.key_id), border_key.c.state == state
        )
        changed = connection.execute(change, {"ids": list(key_ids)}).rowcount
        done = set(connection.execute(there, {"ids": list(key_ids)}).scalars())
        if changed:
            store.session.journal.note("border", way=direction, state=state, keys=names_of(sorted(done)))
        return done

    return _submit(store, work)


def tell_again(store: Store, key_ids: Sequence[str], words: dict[str, str]) -> Answer[None]:
    """Have the other domain told once more what became of keys that came twice; `words` are by state."""

    def work(connection: Connection) -> None:
        for state, word in words.items():
            change = update(border_key).where(
                border_key.c.direction == "in", Among(border_key.c.key_id), border_key.c.state == state
            )
            connection.execute(change.values(ack=word), {"ids": list(key_ids)})

    return _submit(store, work)


def acknowledged(store: Store, key_ids: Sequence[str], what: str) -> Answer[None]:
    """Note that the other domain was told something of keys."""

    def work(connection: Connection) -> None:
        change = update(border_key).where(
            border_key.c.direction == "in", Among(border_key.c.key_id), border_key.c.ack == what
        )
        connection.execute(change.values(ack=None), {"ids": list(key_ids)})

    return _submit(store, work)
