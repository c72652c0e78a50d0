"""Key exhaustion: one application takes all key that two sites have, and others get none.

In: two pairs of applications on one pool.  Out: whether the second is still served. Eve learns nothing but the keys
that are hers. Defended, a policy gives each pair a quota (`kms.policies`).
"""

from __future__ import annotations

import asyncio

from noclone.kms.keys import Refused
from noclone.kms.policies import Policies, Policy
from noclone.kms.requests import KeyRequest
from noclone.records import LINK_PROFILE
from noclone.redteam.rows import Row
from noclone.redteam.stage import stage

MOST = 64


async def _trial(defended: bool) -> Row:
    greedy = Policy(("sae-a", "sae-z"), LINK_PROFILE, quota_bits=16_384)
    policies = Policies([greedy]) if defended else None
    async with stage([("a", "z")], policies) as one:
        await one.fill(8192)
        one.saes["sae-z2"] = "z"
        for kme in one.kmes.values():
            kme.saes["sae-z2"] = "z"
        taken, reasons = 0, []
        for _ in range(20):
            try:
                got = await one.kmes["a"].enc_keys("sae-a", "sae-z", KeyRequest.model_validate({"number": MOST}))
                taken += len(got.keys)
            except Refused as refusal:
                if defended:
                    reasons.append(refusal.reason)
                    break
                reasons.append(refusal.reason)
        served = 0
        try:
            served = len((await one.kmes["a"].enc_keys("sae-a", "sae-z2", KeyRequest.model_validate({}))).keys)
        except Refused as refusal:
            reasons.append(refusal.reason)
        return Row(
            "key-exhaustion",
            defended,
            0.0,
            256 * served,
            0.0,
            "service" if served else "no service",
            detected_after=1 if reasons else None,
            unit="requests",
            noticed_by=tuple(dict.fromkeys(reasons)),
            note=f"{taken} keys were taken; the other pair gets {served or 'none'}",
        )


def trial(_seed: bytes, defended: bool, _strength: float) -> Row:
    """Take all key that there is."""
    return asyncio.run(_trial(defended))
