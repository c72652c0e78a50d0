"""A key store of version 2, made as the program of that version made it: raw SQL, and sealing spelled out.

Nothing here calls the program's own sealing or tables, so a migration that both forgot would not go unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

STORE_ID = "00000000-0000-4000-8000-00000000002a"
SCHEMA = """
CREATE TABLE meta (name VARCHAR NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name));
CREATE TABLE block (
    id INTEGER NOT NULL, peer VARCHAR NOT NULL, link VARCHAR NOT NULL, number INTEGER NOT NULL, state VARCHAR NOT NULL,
    atoms INTEGER NOT NULL, left_0 INTEGER NOT NULL, left_1 INTEGER NOT NULL, seen_0 INTEGER NOT NULL,
    seen_1 INTEGER NOT NULL, salt BLOB NOT NULL, provenance VARCHAR NOT NULL, created_s FLOAT NOT NULL,
    expires_s FLOAT NOT NULL, PRIMARY KEY (id), UNIQUE (link, number)
);
CREATE INDEX block_by_state ON block (peer, state, id);
CREATE TABLE atom (
    block_id INTEGER NOT NULL, direction INTEGER NOT NULL, position INTEGER NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (block_id, direction, position)
) WITHOUT ROWID;
CREATE TABLE "key" (
    key_id VARCHAR NOT NULL, peer VARCHAR NOT NULL, role VARCHAR NOT NULL, master VARCHAR NOT NULL,
    request VARCHAR NOT NULL, size_bits INTEGER NOT NULL, ranges VARCHAR NOT NULL, state VARCHAR NOT NULL, sealed BLOB,
    created_s FLOAT NOT NULL, expires_s FLOAT NOT NULL, ended_s FLOAT, PRIMARY KEY (key_id)
) WITHOUT ROWID;
CREATE INDEX key_by_state ON "key" (state, expires_s);
CREATE TABLE delivery (
    key_id VARCHAR NOT NULL, recipient VARCHAR NOT NULL, delivered_s FLOAT, PRIMARY KEY (key_id, recipient)
) WITHOUT ROWID;
CREATE TABLE voided (
    peer VARCHAR NOT NULL, key_id VARCHAR NOT NULL, created_s FLOAT NOT NULL, PRIMARY KEY (peer, key_id)
) WITHOUT ROWID;
CREATE TABLE link_state (
    link VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL, last_block INTEGER NOT NULL,
    cumulative_epsilon FLOAT NOT NULL, PRIMARY KEY (link)
);
CREATE TABLE segment (
    link VARCHAR NOT NULL, number INTEGER NOT NULL, used_pairs INTEGER NOT NULL, ahead VARCHAR NOT NULL, sealed BLOB,
    PRIMARY KEY (link, number)
);
CREATE TABLE former_secret (
    link VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL, used_pairs INTEGER NOT NULL, ahead VARCHAR NOT NULL,
    PRIMARY KEY (link, fingerprint)
);
"""


def encode(*parts: object) -> bytes:
    out = b""
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        out += len(data).to_bytes(4, "big") + data
    return out


def subkey(kek: bytes, context: bytes) -> bytes:
    return hashlib.blake2b(encode("noclone-seal-1", STORE_ID, context), key=kek, digest_size=32).digest()


def seal(kek: bytes, secret: bytes, *context: object) -> bytes:
    nonce, bound = os.urandom(12), encode(*context)
    return nonce + AESGCM(subkey(kek, bound)).encrypt(nonce, secret, bound)


def build(
    path: Path,
    kek: bytes,
    *,
    name: str = "alder",
    peer: str = "birch",
    ready: bytes = b"",
    held: bytes = b"",
    waiting: dict[str, bytes] | None = None,
    link_secret: bytes = b"",
    refill: bytes = b"",
    lifetime: tuple[float, float] = (1.7e9, 1.8e9),
) -> None:
    """Write a store with a ready block (number 0), a held one (1), slaves' keys (by id), and a link's segments."""
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)
    meta = {"version": b"2", "kme": name.encode(), "unit_bits": b"256", "id": STORE_ID.encode()}
    meta["check"] = seal(kek, b"noclone key store", "check")
    database.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    for number, (state, data) in enumerate((("ready", ready), ("held", held))):
        if not data:
            continue
        salt, context = os.urandom(16), encode(name, peer, "alder-birch", number)
        cipher = AESGCM(subkey(kek, encode("block", salt, name, peer, "alder-birch", number)))
        atoms = [data[i : i + 32] for i in range(0, len(data), 32)]
        provenance = {
            "link": "alder-birch", "alice": "alder", "bob": "birch", "block": number, "protocol": "decoy-bb84",
            "origin": {"kind": "simulated", "seeded": False, "detail": ""}, "proof": "lim2014",
            "statement": "fixed-length", "epsilon": 1e-10, "cumulative_epsilon": 1e-10, "bootstrap": "pre-shared-key",
            "time_s": 1.7e9,
        }  # fmt: skip
        left = ((len(atoms) + 1) // 2, len(atoms) // 2)
        row = (number + 1, peer, "alder-birch", number, state, len(atoms), *left, 0, 0, salt, json.dumps(provenance))
        database.execute(f"INSERT INTO block VALUES ({','.join('?' * 14)})", (*row, *lifetime))
        for i, atom in enumerate(atoms):
            nonce = (i % 2).to_bytes(4, "big") + (i // 2).to_bytes(8, "big")
            sealed = cipher.encrypt(nonce, atom, context)
            database.execute("INSERT INTO atom VALUES (?, ?, ?, ?)", (number + 1, i % 2, i // 2, sealed))
    for key_id, value in (waiting or {}).items():
        sealed = seal(kek, value, "key", key_id, peer, "slave")
        ranges = json.dumps([["alder-birch", 0, 900, 1]])
        row = (key_id, peer, "slave", "sae-b", "r", 8 * len(value), ranges, "reserved", sealed, *lifetime, None)
        database.execute(f"INSERT INTO key VALUES ({','.join('?' * 12)})", row)
        database.execute("INSERT INTO delivery VALUES (?, 'sae-a', NULL)", (key_id,))
    if link_secret:
        name_of_secret = hashlib.blake2b(link_secret[-64:], key=subkey(kek, b"fingerprint"), digest_size=16).hexdigest()
        database.execute("INSERT INTO link_state VALUES ('alder-birch', ?, 7, 2e-10)", (name_of_secret,))
        database.execute("INSERT INTO segment VALUES ('alder-birch', 0, 3, '[]', NULL)")
        sealed = seal(kek, bytes(64) + refill[64:], "segment", "alder-birch", 6)  # its spent pair is wiped
        database.execute("INSERT INTO segment VALUES ('alder-birch', 6, 1, '[]', ?)", (sealed,))
    database.commit()
    database.close()
