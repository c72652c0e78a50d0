"""Key ids swapped: Eve, an application too, puts the id of a key that she knows in place of another's.

In: two sessions of one master, one of them with Eve.  Out: whether the other's slave can be made to use Eve's key, or
two sessions to use one key (dependent keys: Hövelmanns, Planken, Schaffner, Verschoor, arXiv:2509.12478). A KME gives
a key only to the applications that its master's request named, and once.
"""

from __future__ import annotations

import asyncio

from noclone.kms.requests import KeyRequest
from noclone.redteam.rows import Row
from noclone.redteam.stage import stage
from noclone.redteam.stolen_sae_certificate import ask


async def _trial() -> Row:
    async with stage([("a", "z"), ("a", "c")]) as one:
        await one.fill()
        one_key = KeyRequest.model_validate({"number": 2})
        theirs = [key.key_id for key in (await one.kmes["a"].enc_keys("sae-a", "sae-z", one_key)).keys]
        hers = [key.key_id for key in (await one.kmes["a"].enc_keys("sae-a", "sae-c", one_key)).keys]
        known, _ = await ask(one, "sae-c", "sae-a", hers)
        swapped, refused = await ask(one, "sae-z", "sae-a", hers)  # what Eve put into the message to z
        other, refused_too = await ask(one, "sae-c", "sae-a", theirs)
        right, _ = await ask(one, "sae-z", "sae-a", theirs)
        again, refused_again = await ask(one, "sae-z", "sae-a", theirs[:1])
        wrong = len(swapped) + len(other) + len(again)
        assert len(right) == len(theirs)
        assert not set(right.values()) & set(known.values())
        reasons = [*refused, *refused_too, *refused_again]
        return Row(
            "key-id-swap",
            True,
            0.0,
            256 * len(right),
            256.0 * wrong,
            "broken" if wrong else "held",
            detected_after=1,
            unit="requests",
            noticed_by=tuple(dict.fromkeys(reasons)),
            note="swapped and repeated ids are refused; the right ones still give the right keys",
        )


def trial(_seed: bytes, defended: bool, _strength: float) -> Row | None:
    """Swap ids between two sessions; there is no KME here that does not bind them."""
    return asyncio.run(_trial()) if defended else None
