"""Keys that a border made, or let in, on their way through our own domain: to the KME that serves the application.

In: keys, the KME at the border (the gate), the KME of the application (the site).  Out: the same keys in the site's
store, waiting for those that they are for. Between the two they travel as one-time-pad ciphertext with a one-time tag,
under a pad that both cut from their pool, whether a fibre fills it or relays do. Where gate and site are one KME they
go straight into its store. The same message twice is answered alike and done once.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from sqlalchemy import Connection, insert, select, update

from noclone.combined import CombinedProvenance
from noclone.crypto.one_time_pad import KEY_BYTES, OneTimePad, erase, pad_bytes
from noclone.crypto.wegman_carter import TAG_BYTES, forgery_bound
from noclone.errors import KmeError, StoreError
from noclone.kms import failpoints
from noclone.kms.answers import Answer
from noclone.kms.journal import ids as names_of
from noclone.kms.keys import Assignment, Refused, Span, StoredKey
from noclone.kms.kme import Kme
from noclone.kms.locks import Among, insert_rows
from noclone.kms.pools import provenance_of
from noclone.kms.relay_calls import Calls
from noclone.kms.relay_messages import PAD_BITS_MAX, canonical, internal, is_name
from noclone.kms.reservations import key_row
from noclone.kms.store import Store
from noclone.kms.tables import block, delivery, key
from noclone.records import BlockProvenance
from noclone.relayed import BorderProvenance, RelayProvenance

OPERATION = "border-carry"
KEYS_MAX = 1024
SAE_MAX = 64


@dataclass(frozen=True, slots=True)
class Cargo:
    """Which keys are carried, and for whom.

    Args:
        role: Whether the site's application is their master, and waits for them, or a slave, and will ask by their ids.
        request: Of the master, which the site knows it by.
        size_bits: Of each key.
    """

    gate: str
    site: str
    domain: str
    peer: str
    role: Literal["master", "slave"]
    request: str
    master: str
    slaves: tuple[str, ...]
    size_bits: int
    key_ids: tuple[str, ...]
    time_s: float

    def __post_init__(self) -> None:
        names = (self.gate, self.site, self.domain, self.peer)
        if not all(map(is_name, names)) or self.role not in ("master", "slave"):
            raise ValueError("a cargo names KMEs that cannot be")
        if not 1 <= len(self.key_ids) <= KEYS_MAX or len(set(self.key_ids)) != len(self.key_ids):
            raise ValueError("a cargo is 1 to 1024 keys, none twice")
        if any(str(uuid.UUID(key_id)) != key_id for key_id in (*self.key_ids, self.request)):
            raise ValueError("keys and requests are named by UUIDs")
        if not 1 <= len(self.slaves) <= SAE_MAX or not all(
            0 < len(sae) <= SAE_MAX for sae in (self.master, *self.slaves)
        ):
            raise ValueError("a cargo is for applications that cannot be")
        if self.size_bits % 8 or self.size_bits <= 0 or 8 * pad_bytes(self.n_bytes) > PAD_BITS_MAX:
            raise ValueError("a cargo is too large")
        if not 0 <= self.time_s < 1e12:
            raise ValueError("a number is out of range")

    @property
    def n_bytes(self) -> int:
        """Of all keys together."""
        return len(self.key_ids) * self.size_bits // 8

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "gate": self.gate,
            "site": self.site,
            "domain": self.domain,
            "peer": self.peer,
            "role": self.role,
            "request": self.request,
            "master": self.master,
            "slaves": list(self.slaves),
            "size_bits": self.size_bits,
            "key_ids": list(self.key_ids),
            "time_s": self.time_s,
        }

    @classmethod
    def from_json(cls, data: Any) -> Cargo:
        """Check and rebuild what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case {
                "gate": str(gate),
                "site": str(site),
                "domain": str(domain),
                "peer": str(peer),
                "role": "master" | "slave" as role,
                "request": str(request),
                "master": str(master),
                "slaves": [*slaves],
                "size_bits": int(size_bits),
                "key_ids": [*key_ids],
                "time_s": int(time_s) | float(time_s),
            } if all(isinstance(text, str) and len(text) <= SAE_MAX for text in (*slaves, *key_ids)):
                if isinstance(size_bits, bool) or isinstance(time_s, bool):
                    raise ValueError("a number is a truth value")
                return cls(
                    gate,
                    site,
                    domain,
                    peer,
                    role,
                    request,
                    master,
                    tuple(slaves),
                    size_bits,
                    tuple(key_ids),
                    float(time_s),
                )
        raise ValueError("a cargo lacks a field, or has one of the wrong type")

    def provenance(self, pad: StoredKey | None) -> BorderProvenance:
        """Return what the keys stand on, as far as our domain knows."""
        own = () if pad is None else pad.provenance
        inner = tuple(one for one in own if isinstance(one, BlockProvenance | RelayProvenance | CombinedProvenance))
        if len(inner) != len(own):
            raise KmeError("a pad for a border's keys was cut from something else than key of our own")
        return BorderProvenance(
            f"{self.site}+{self.gate}+{self.domain}",
            uuid.UUID(self.key_ids[0]).int >> 66,
            self.site,
            self.gate,
            self.domain,
            self.peer,
            inner,
            0.0 if pad is None else forgery_bound(self.n_bytes + 65_536),
            self.time_s,
        )


@dataclass(frozen=True, slots=True)
class Sealed:
    """A cargo, sealed for its site."""

    cargo: Cargo
    pad_id: str
    ciphertext: bytes = field(repr=False)
    tag: bytes

    def bound(self) -> bytes:
        """Return what the tag covers beside the ciphertext."""
        return bound(self.cargo, self.pad_id)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values. They hold ciphertext only."""
        data = base64.b64encode(self.ciphertext).decode("ascii")
        return {"cargo": self.cargo.to_json(), "pad": self.pad_id, "data": data, "tag": self.tag.hex()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sealed:
        """Check and rebuild what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case {"cargo": cargo, "pad": str(pad), "data": str(text), "tag": str(tag)} if len(tag) == 2 * TAG_BYTES:
                checked = Cargo.from_json(cargo)
                try:
                    ciphertext = base64.b64decode(text, validate=True)
                except binascii.Error:
                    raise ValueError("a ciphertext is no base64") from None
                if len(ciphertext) != checked.n_bytes or len(pad) != 36:
                    raise ValueError("a cargo has the wrong length")
                return cls(checked, pad, ciphertext, bytes.fromhex(tag))
        raise ValueError("a carried message lacks a field, or has one of the wrong type")


def bound(cargo: Cargo, pad_id: str) -> bytes:
    """Return what a one-time tag binds a cargo's ciphertext to."""
    return canonical(["noclone-border-carry-1", cargo.to_json(), pad_id])


async def carry(calls: Calls, cargo: Cargo, values: Sequence[bytes]) -> None:
    """Bring keys to their site; they are durable there once this returns.

    Raises:
        Refused: 503, there is no key for a pad, or the site cannot be reached; nothing was sent.
        PeerRefused: The site does not want them.
        KmeError: Nobody knows whether the site has them.
    """
    kme = calls.kme
    if cargo.site == kme.name:
        await take_in(kme.store, cargo, values, None)
        return
    if await calls.reach(cargo.site) is None:
        raise Refused(503, "the other KME cannot be reached", "peer-unreachable", detail=cargo.site)
    pad = await kme.pad(cargo.site, pad_bytes(cargo.n_bytes), None)
    plain = bytearray(b"".join(values))
    try:
        ciphertext, tag = OneTimePad(pad.value).seal(bound(cargo, pad.key_id), plain)
    finally:
        erase(plain)
    failpoints.reach("a cargo is sealed")
    await calls.ask(cargo.site, OPERATION, **Sealed(cargo, pad.key_id, ciphertext, tag).to_json())
    failpoints.reach("a cargo has arrived")


async def receive(kme: Kme, peer: str, message: Sealed) -> None:
    """Take a cargo in from the gate; the caller has checked that it may send this one.

    Raises:
        NocloneError: It is not what the gate sealed, or other keys have these ids.
    """
    cargo = message.cargo
    if await is_here(kme.store, cargo):
        return
    (pad,) = await kme.store.collect(internal(kme.name), internal(peer), [message.pad_id])
    if len(pad.value) != KEY_BYTES + cargo.n_bytes:
        raise KmeError("a pad for a cargo has the wrong size")
    plain = OneTimePad(pad.value).open(message.bound(), message.ciphertext, message.tag)
    try:
        size = cargo.size_bits // 8
        values = [bytes(plain[start : start + size]) for start in range(0, len(plain), size)]
        failpoints.reach("a cargo is open")
        await take_in(kme.store, cargo, values, pad)
    finally:
        erase(plain)


def is_here(store: Store, cargo: Cargo) -> Answer[bool]:
    """Say whether a cargo was taken in before.

    Raises (in the future):
        KmeError: Other keys have these ids.
    """
    return store.commits.submit(lambda connection: not _missing(connection, cargo))


def _missing(connection: Connection, cargo: Cargo) -> tuple[str, ...]:
    """Return those keys of a cargo that are not here yet."""
    query = select(key.c.key_id, key.c.role, key.c.request, key.c.peer, key.c.master).where(Among(key.c.key_id))
    known = set()
    for row in connection.execute(query, {"ids": list(cargo.key_ids)}):
        same = (row.role, row.peer, row.master) == (cargo.role, cargo.gate, cargo.master)
        if not same or (cargo.role == "master" and row.request != cargo.request):
            raise KmeError("other keys have these ids")
        known.add(row.key_id)
    return tuple(key_id for key_id in cargo.key_ids if key_id not in known)


def take_in(store: Store, cargo: Cargo, values: Sequence[bytes], pad: StoredKey | None) -> Answer[None]:
    """Put keys into the store of their site, waiting for the application that they are for."""

    def work(connection: Connection) -> None:
        missing = _missing(connection, cargo)
        if not missing:
            return
        record = replace(cargo, key_ids=missing).provenance(pad)
        session, now_s = store.session, store.clock.now_s()
        life = now_s, now_s + store.settings.lifetime_s
        way = {
            "peer": cargo.gate,
            "link": record.link,
            "number": record.block,
            "provenance": json.dumps(record.to_json()),
        }
        none_left = dict.fromkeys(("atoms", "left_0", "left_1", "open_0", "open_1", "seen_0", "seen_1"), 0)
        times = {"created_s": life[0], "expires_s": life[1]}
        connection.execute(insert(block), [{**way, **none_left, **times, "profile": record.profile, "state": "spent"}])
        span = (Span(record.link, record.block, 0, 0),)
        rows = []
        for key_id, value in zip(cargo.key_ids, values, strict=True):
            if key_id not in missing:
                continue
            promise = Assignment(key_id, cargo.request, cargo.master, cargo.slaves, cargo.size_bits, span)
            sealed, number = session.keyring.seal(value, "key", key_id, cargo.gate, "slave")
            worker = session.worker if cargo.role == "master" else None
            row = key_row(promise, cargo.gate, cargo.role, *life)
            rows.append({**row, "sealed": sealed, "data_key": number, "worker": worker})
        insert_rows(connection, key, rows)
        if cargo.role == "slave":
            none = {"delivered_s": None, "collected": None}
            waiting = [{"key_id": i, "recipient": sae, **none} for i in missing for sae in cargo.slaves]
            insert_rows(connection, delivery, waiting)
        session.journal.note(
            "carried in", domain=cargo.domain, role=cargo.role, master=cargo.master, keys=names_of(missing)
        )

    return store.commits.submit(work)


def release(store: Store, request: str, master: str, key_ids: Sequence[str]) -> Answer[list[StoredKey]]:
    """Hand keys that crossed a border to their master here, once.

    Raises (in the future):
        StoreError: One is not here any more, or was given out before.
    """
    ids = list(key_ids)

    def work(connection: Connection) -> list[StoredKey] | StoreError:
        session, now_s = store.session, store.clock.now_s()
        found = select(key).where(Among(key.c.key_id), key.c.role == "master", key.c.state == "reserved")
        rows = {row.key_id: row for row in connection.execute(found.with_for_update(), {"ids": ids})}
        mine = {
            i for i, row in rows.items() if (row.request, row.master) == (request, master) and row.expires_s > now_s
        }
        if mine != set(ids):
            return StoreError("a key was about to be delivered twice, or after its end", hint="ask for new keys")
        where = json.loads(rows[ids[0]].ranges)[0]
        query = select(block.c.provenance).where(block.c.link == where[0], block.c.number == where[1])
        record = (provenance_of(connection.execute(query).scalar_one()),)
        out = [
            StoredKey(
                i, session.keyring.open(rows[i].sealed, rows[i].data_key, "key", i, rows[i].peer, "slave"), record
            )
            for i in ids
        ]
        gone = {"state": "erased", "sealed": None, "ended_s": now_s}
        connection.execute(update(key).where(Among(key.c.key_id)).values(**gone), {"ids": ids})
        insert_rows(
            connection,
            delivery,
            [{"key_id": i, "recipient": master, "delivered_s": now_s, "collected": None} for i in ids],
        )
        session.journal.note("delivered", to=master, role="master", keys=names_of(ids))
        return out

    found = store.commits.submit(work)
    return cast("Answer[list[StoredKey]]", found)  # a refusal becomes the answer's exception


def take_back(store: Store, gate: str, key_ids: Sequence[str]) -> Answer[set[str]]:
    """Void keys that a gate let in; the future returns those that an application has got already."""
    ids = list(key_ids)

    def work(connection: Connection) -> set[str]:
        ours = (Among(key.c.key_id), key.c.peer == gate, key.c.role == "slave")
        got = select(delivery.c.key_id).where(Among(delivery.c.key_id), delivery.c.delivered_s.is_not(None))
        delivered = set(connection.execute(got, {"ids": ids}).scalars())
        here = set(connection.execute(select(key.c.key_id).where(*ours), {"ids": ids}).scalars())
        gone = {"state": "void", "sealed": None, "ended_s": store.clock.now_s()}
        change = update(key).where(*ours, key.c.state == "reserved").values(**gone)
        if connection.execute(change, {"ids": ids}).rowcount:
            store.session.journal.note("voided", role="slave", peer=gate, keys=names_of(ids))
        return delivered & here

    return store.commits.submit(work)
