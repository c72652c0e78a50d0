"""A stolen key store: a copy of the file, and what can be read in it.

In: the store of a KME with key in it.  Out: the keys that come out of the copy. At rest each key is sealed under a
key-encryption key that is not in the file (`kms.sealing`). Undefended, that lies beside it, and is stolen too.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from noclone.errors import NocloneError
from noclone.kms.requests import KeyRequest
from noclone.kms.store import Store
from noclone.redteam.rows import Row
from noclone.redteam.stage import Stage, stage

NUMBER = 16


def copy_of(one: Stage, node: str, place: Path) -> Path:
    """Copy a store's file, with what waits beside it to be written back."""
    for suffix in ("", "-wal"):
        source = one.folder / f"{node}.db{suffix}"
        if source.exists():
            shutil.copy(source, Path(f"{place}{suffix}"))
    return place


def keys_of(one: Stage, node: str, kek: bytes, number: int) -> tuple[bytes, str]:
    """Return all bytes that a copy of a store gives away with a key-encryption key, and what keeps it shut."""
    stolen = copy_of(one, node, one.folder / "stolen.db")
    hers = b"".join(path.read_bytes() for path in one.folder.glob("stolen.db*"))
    try:
        with Store.open(stolen, name=node, kek=kek, clock=one.clock) as store:
            found = store.claim("z", master="sae-a", slaves=("sae-z",), number=number, size_bits=256).result()
            return hers + b"".join(key.value for reservation in found for key in reservation.keys), ""
    except NocloneError as error:
        return hers, error.message


async def _trial(defended: bool) -> Row:
    async with stage([("a", "z")]) as one:
        await one.fill()
        hers, problem = keys_of(one, "a", os.urandom(32) if defended else one.keks["a"], NUMBER)
        got = await one.kmes["a"].enc_keys("sae-a", "sae-z", KeyRequest.model_validate({"number": NUMBER}))
        known = sum(key.value in hers for key in got.keys)
        bits = 256 * NUMBER
        return Row(
            "stolen-database",
            defended,
            known / NUMBER,
            bits,
            256.0 * known,
            "broken" if known else "held",
            unit="keys",
            note=problem or "the key-encryption key lay beside the store",
        )


def trial(_seed: bytes, defended: bool, _strength: float) -> Row:
    """Steal a store, with its key-encryption key or without."""
    return asyncio.run(_trial(defended))
