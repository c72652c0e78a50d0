"""A spoofed application: a caller who names another master, or whose certificate is no application's.

In: requests of an application that is not who it says.  Out: what it gets. Who calls is what the certificate says,
never what the request says; over TLS a KME's own certificate is no application's.
"""

from __future__ import annotations

import asyncio

from noclone.kms.keys import Refused
from noclone.kms.requests import KeyRequest
from noclone.redteam.rows import Row
from noclone.redteam.stage import stage
from noclone.redteam.stolen_sae_certificate import ask


async def _trial() -> Row:
    async with stage([("a", "z")]) as one:
        await one.fill()
        got = await one.kmes["a"].enc_keys("sae-a", "sae-z", KeyRequest.model_validate({"number": 2}))
        real = [key.key_id for key in got.keys]
        found, refused = await ask(one, "sae-a", "sae-a", real)  # the master poses as the slave
        reasons = list(refused)
        for caller, slave in (("sae-nobody", "sae-z"), ("sae-z", "sae-z")):
            try:
                await one.kmes["a"].enc_keys(caller, slave, KeyRequest.model_validate({}))
                found[caller] = b""
            except Refused as refusal:
                reasons.append(refusal.reason)
        right, _ = await ask(one, "sae-z", "sae-a", real)
        return Row(
            "spoofed-sae",
            True,
            0.0,
            256 * len(right),
            256.0 * len(found),
            "broken" if found else "held",
            detected_after=1,
            unit="requests",
            noticed_by=tuple(dict.fromkeys(reasons)),
            note="none of these callers gets a key; the right one does",
        )


def trial(_seed: bytes, defended: bool, _strength: float) -> Row | None:
    """Ask for keys in another's name; a KME that believed names is not built here."""
    return asyncio.run(_trial()) if defended else None
