"""The tables of the key store. `opening` makes them, `migrations` brings older ones here.

The life of key material: atoms in a `piece` (ready) -> a run in `key` (reserved, one `delivery` for each slave) ->
erased, expired or void. Rows of `block` and `key` stay, without key bytes, as the record of what was; terminal states
never go back. A row of `key` is one promise: one key, or a run of keys of one span.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    event,
    literal_column,
)

VERSION = 7

RESTORED = "restored_s"  # in meta, where the store was restored from a backup: when

metadata = MetaData()

meta = Table("meta", metadata, Column("name", String, primary_key=True), Column("value", LargeBinary, nullable=False))

block = Table(
    "block",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("peer", String, nullable=False),
    Column("profile", String, nullable=False, server_default="link"),  # what policies choose key by
    Column("link", String, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("state", String, nullable=False),  # held (by us), ready (by both), spent, expired, void
    Column("atoms", Integer, nullable=False),
    Column("left_0", Integer, nullable=False),  # atoms of direction 0 that are still here
    Column("left_1", Integer, nullable=False),
    Column("open_0", Integer, nullable=False, server_default="0"),  # 1: ready, with atoms of direction 0 left
    Column("open_1", Integer, nullable=False, server_default="0"),
    Column("seen_0", Integer, nullable=False),  # one above the highest position ever reserved, by direction
    Column("seen_1", Integer, nullable=False),
    Column("dek", LargeBinary),  # what its atoms are sealed under, itself under the KEK; null: no atom is left
    Column("provenance", String, nullable=False),
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    UniqueConstraint("link", "number"),
    Index("block_by_state", "peer", "state", "id"),
)

# A claim looks at blocks that have something for it, oldest first, and at no others: however many there are.
OPEN = (block.c.open_0, block.c.open_1)
OPEN_INDEXES = tuple(
    Index(f"block_{name}_{way}", *columns, block.c.id, sqlite_where=is_open == 1, postgresql_where=is_open == 1)
    for way, is_open in enumerate(OPEN)
    for name, columns in (("open", (block.c.peer,)), ("open_by_profile", (block.c.peer, block.c.profile)))
)

piece = Table(  # a run of atoms of one block and direction, sealed as one
    "piece",
    metadata,
    Column("block_id", Integer, primary_key=True),
    Column("direction", Integer, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

KeyId = String().with_variant(String(collation="C"), "postgresql")  # runs are found by the order of their ids' bytes

key = Table(
    "key",
    metadata,
    Column("key_id", KeyId, primary_key=True),  # of the first key of the run
    Column("peer", String, nullable=False),
    Column("role", String, nullable=False),  # master or slave: whose SAE is served here
    Column("master", String, nullable=False),
    Column("request", String, nullable=False),
    Column("size_bits", Integer, nullable=False),
    Column("number", Integer, nullable=False, server_default="1"),  # how many keys
    Column("waiting", Integer, nullable=False, server_default="1"),  # how many of them have not all been collected
    Column("ranges", String, nullable=False),  # JSON: [[link, block, first position, count], ...]
    Column("state", String, nullable=False),  # reserved, erased, expired, void
    Column("sealed", LargeBinary),
    Column("data_key", Integer),  # which data key sealed it
    Column("worker", Integer),  # for masters: whose request it is in
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    Column("ended_s", Float),
    sqlite_with_rowid=False,
)

# Keys that wait for somebody are few; those that ended are many, and nobody looks for them by their state.
RESERVED = key.c.state == literal_column("'reserved'")  # a literal, or SQLite does not see that the index fits
KEY_RESERVED = Index(
    "key_reserved", key.c.peer, key.c.role, key.c.expires_s, sqlite_where=RESERVED, postgresql_where=RESERVED
)

delivery = Table(  # which slaves a promise names; for its master there was a row as well until version 4
    "delivery",
    metadata,
    Column("key_id", KeyId, primary_key=True),
    Column("recipient", String, primary_key=True),
    Column("delivered_s", Float),  # null: not all of the run yet
    Column("collected", LargeBinary),  # which keys of a run it has had, a bit for each; null: none, or all
    sqlite_with_rowid=False,
)

voided = Table(  # ids that a peer took back before their promise came; it is refused when it comes
    "voided",
    metadata,
    Column("peer", String, primary_key=True),
    Column("key_id", String, primary_key=True),
    Column("created_s", Float, nullable=False),
    sqlite_with_rowid=False,
)

link_state = Table(
    "link_state",
    metadata,
    Column("link", String, primary_key=True),
    Column("fingerprint", String, nullable=False),  # which initial secret the marks of segment 0 speak about
    Column("last_block", BigInteger, nullable=False),
    Column("cumulative_epsilon", Float, nullable=False),
)

segment = Table(
    "segment",
    metadata,
    Column("link", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("used_pairs", Integer, nullable=False),
    Column("ahead", String, nullable=False),  # spent pairs beyond the first unspent one: JSON
    Column("sealed", LargeBinary),  # null for the initial secret, which has its own file
    Column("data_key", Integer),
)

former_secret = Table(
    "former_secret",
    metadata,
    Column("link", String, primary_key=True),
    Column("fingerprint", String, primary_key=True),
    Column("used_pairs", Integer, nullable=False),
    Column("ahead", String, nullable=False),
)

vendor_claim = Table(  # ids of a vendor's keys that were used here: none is used twice, whatever the vendor says
    "vendor_claim",
    metadata,
    Column("link", String, primary_key=True),
    Column("key_id", String, primary_key=True),
    Column("block", BigInteger, nullable=False),  # for which block
    sqlite_with_rowid=False,
)

border_key = Table(  # keys that cross into another operator's domain, or came from there
    "border_key",
    metadata,
    Column("direction", String, primary_key=True),  # out or in, seen from here
    Column("key_id", String, primary_key=True),
    Column("domain", String, nullable=False),  # the other operator's
    Column("site", String, nullable=False),  # our KME that serves the applications on this side
    Column("request", String, nullable=False),  # out: the one that it was drawn for; in: a fingerprint of the value
    Column("initiator", String, nullable=False),
    Column("targets", String, nullable=False),  # JSON
    Column("size_bits", Integer, nullable=False),
    Column("state", String, nullable=False),  # out: drawn, sent; in: accepted; both: voiding, relayed, failed, void
    Column("ack", String),  # in: what the other domain is still to be told
    Column("callback", String, nullable=False),  # in: where
    Column("sealed", LargeBinary),  # in: until it is relayed
    Column("data_key", Integer),
    Column("created_s", Float, nullable=False),
    Column("ended_s", Float),
    Index("border_by_state", "direction", "state"),
    sqlite_with_rowid=False,
)

allowance = Table(  # what pairs of applications have used of their quotas and rates
    "allowance",
    metadata,
    Column("pair", String, primary_key=True),  # JSON: two ids, sorted
    Column("given", String, nullable=False),  # JSON: [[begin of ten minutes, bits], ...] of the last day
    Column("bucket_bits", Float),  # what the rate left
    Column("filled_s", Float, nullable=False),  # when
    sqlite_with_rowid=False,
)

kek = Table(  # which key-encryption keys this store has had; the last one is in use
    "kek",
    metadata,
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("fingerprint", String, nullable=False),
    Column("since_s", Float, nullable=False),
    Column("retired_s", Float),
)

data_key = Table(  # what everything but atoms is sealed under, each itself under the KEK
    "data_key",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("purpose", String, nullable=False),  # secrets, fingerprints, audit
    Column("sealed", LargeBinary, nullable=False),
)

worker = Table(  # who has worked on this store; one at a time on SQLite
    "worker",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("state", String, nullable=False),  # working, ended, fenced
    Column("started_s", Float, nullable=False),
)

audit = Table(  # one chain for each worker; each link is one transaction
    "audit",
    metadata,
    Column("worker", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time_s", Float, nullable=False),
    Column("entries", String, nullable=False),  # JSON
    Column("digest", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

APPEND_ONLY = {
    "sqlite": tuple(
        f"CREATE TRIGGER audit_no_{what} BEFORE {what} ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END"
        for what in ("update", "delete")
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$",
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "EXECUTE FUNCTION audit_is_append_only()",
    ),
}
for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        event.listen(audit, "after_create", DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]
