"""A stolen application's certificate: whoever has it is that application, until somebody notices.

In: keys promised to an application.  Out: who gets them. A key is given to each recipient once, so the thief and the
owner cannot both have it: the owner's refusal is what betrays a theft at the receiving end. Defended, the thief has
the certificate of another application, and guesses ids: KMEs bind each key to who was named for it.
"""

from __future__ import annotations

import asyncio
import uuid

from noclone.kms.keys import Refused
from noclone.kms.requests import KeyRequest
from noclone.redteam.rows import Row
from noclone.redteam.stage import Stage, stage

NUMBER = 8


async def ask(one: Stage, caller: str, master: str, ids: list[str]) -> tuple[dict[str, bytes], list[str]]:
    """Collect keys one by one; return what came, and the reasons of what did not."""
    found, refused = {}, []
    for key_id in ids:
        try:
            got = await one.kmes[one.saes[caller]].dec_keys(caller, master, [key_id])
            found[key_id] = got.keys[0].value
        except Refused as refusal:
            refused.append(refusal.reason)
    return found, refused


async def _trial(defended: bool) -> Row:
    async with stage([("a", "z"), ("a", "c")]) as one:
        await one.fill()
        got = await one.kmes["a"].enc_keys("sae-a", "sae-z", KeyRequest.model_validate({"number": NUMBER}))
        real = {key.key_id: key.value for key in got.keys}
        thief = "sae-c" if defended else "sae-z"
        guesses = [str(uuid.uuid4()) for _ in real] if defended else list(real)
        hers, hers_refused = await ask(one, thief, "sae-a", [*real, *guesses] if defended else guesses)
        owners, owners_refused = await ask(one, "sae-z", "sae-a", list(real))
        known = sum(value in hers.values() for value in real.values())
        used = len(owners)
        refused = hers_refused if defended else owners_refused
        return Row(
            "stolen-sae-certificate",
            defended,
            known / NUMBER,
            256 * (used or NUMBER),
            256.0 * known,
            "broken" if known else "held",
            detected_after=1 if refused else None,
            unit="requests",
            noticed_by=tuple(dict.fromkeys(refused)),
            note="the owner's own request is refused, for a key is given once" if known else "no key but her own",
        )


def trial(_seed: bytes, defended: bool, _strength: float) -> Row:
    """Ask for keys with a stolen certificate."""
    return asyncio.run(_trial(defended))
