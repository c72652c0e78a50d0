"""Operators: one who means harm, and one who is careless.

In: a network's secrets and its operator's door.  Out: `Row`s. Malicious, undefended: the operator runs the machine of a
site, and so has its store and what opens it. Defended: he holds the token of the operator's door alone, and asks it for
everything that it answers. Careless: he leaves a secret where others can read it, and the node does not start on it.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import secrets
import socket
from typing import Any

from noclone.errors import PkiError
from noclone.kms.key_records import find_among
from noclone.kms.requests import KeyRequest
from noclone.network.control import Control, open_control
from noclone.network.identities import load_kme
from noclone.redteam.rows import Row
from noclone.redteam.stage import Stage, stage
from noclone.redteam.stolen_database import keys_of

NUMBER = 8
READABLE = 0o644


async def _asked(one: Stage, key_ids: list[str]) -> bytes:
    """Return all that the operator's door says to who holds its token."""

    async def find(key_id: str) -> dict[str, Any] | None:
        return await find_among({name: (kme.store, one.notaries[name]) for name, kme in one.kmes.items()}, key_id)

    token, host = secrets.token_hex(32), "127.0.0.1"
    with socket.create_server((host, 0)) as free:
        port = free.getsockname()[1]
    door = await open_control(Control("trial", True, {}, one.log, find), token, host, port)

    def ask(path: str) -> bytes:
        connection = http.client.HTTPConnection(host, port, timeout=10.0)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            assert response.status == 200, path
            return response.read()
        finally:
            connection.close()

    try:
        paths = ["/api/state", "/api/events", *(f"/api/keys/{key_id}" for key_id in key_ids)]
        return b"".join([await asyncio.to_thread(ask, path) for path in paths])
    finally:
        await door.stop()


async def _malicious(defended: bool) -> Row:
    async with stage([("a", "z")]) as one:
        await one.fill()
        hers = b"" if defended else keys_of(one, "a", one.keks["a"], NUMBER)[0]
        got = (await one.kmes["a"].enc_keys("sae-a", "sae-z", KeyRequest.model_validate({"number": NUMBER}))).keys
        if defended:
            hers = await _asked(one, [key.key_id for key in got])
    known = sum(_is_in(key.value, hers) for key in got)
    return Row(
        "malicious-operator",
        defended,
        known / NUMBER,
        256 * NUMBER,
        256.0 * known,
        "broken" if known else "held",
        unit="keys",
        note=f"the operator's door gave {len(hers)} bytes, and no key" if defended else "he runs the machine of a site",
    )


def _is_in(key: bytes, said: bytes) -> bool:
    """Look for a key as it is, in base64, and in hexadecimal of either kind."""
    forms = (key, base64.b64encode(key), key.hex().encode(), key.hex().upper().encode())
    return any(form in said for form in forms)


async def _careless() -> Row:
    async with stage([("a", "z")]) as one:
        kek = load_kme(one.folder / "pki", "a").kek
        kek.chmod(READABLE)
        try:
            load_kme(one.folder / "pki", "a")
            refused = ""
        except PkiError as error:
            refused = error.message.partition(":")[0]
    return Row(
        "careless-operator",
        True,
        0.0 if refused else 1.0,
        0 if refused else 256,
        0.0 if refused else 256.0,
        "refused" if refused else "broken",
        detected_after=1 if refused else None,
        unit="starts",
        noticed_by=("private-files",) if refused else (),
        note=refused or "the node starts on a secret that others can read",
    )


def malicious(_seed: bytes, defended: bool, _strength: float) -> Row:
    """Look for keys as an operator; defended, as one who has nothing but the token of his door."""
    return asyncio.run(_malicious(defended))


def careless(_seed: bytes, defended: bool, _strength: float) -> Row | None:
    """Leave a key-encryption key where others can read it; there is no node that would start on it."""
    return asyncio.run(_careless()) if defended else None
