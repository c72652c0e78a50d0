"""Broken signatures, against the exchanges that two KMEs sign: broken before a session, while it lasts, and after it.

In: two KMEs that combine key, a forger on the wire.  Out: `Row`s: whether either end talks to her without knowing.

    before   one of two algorithms is known to be broken, as ECDSA will be (Shor 1994): it is a second one, of another
             kind, that keeps her out
    during   both fall while the session lasts: only a QKD key in the combination, which signs as well, keeps her out
    after    both fall when the session is over: she has what was said, and signatures never hid anything

Signatures say who speaks. Whoever forges them in time is a man in the middle (`forgery`); later is too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Literal

from noclone.crypto.combiners import Mode
from noclone.errors import AuthenticationError
from noclone.kms.calls import PeerRefused
from noclone.kms.relay_statements import ECDSA_P256, ML_DSA_65
from noclone.kms.requests import KeyRequest
from noclone.redteam.forgery import Forger
from noclone.redteam.knowledge import Knowledge
from noclone.redteam.rows import Row
from noclone.redteam.stage import Stage, stage
from noclone.trust.formula import Atom
from noclone.trust.provenance import SESSION

BOTH = (ECDSA_P256, ML_DSA_65)
BYTES = 256
SITES = ("a", "z")
When = Literal["before", "during", "after"]


async def _session(one: Stage, mode: Mode, forges: Collection[str]) -> tuple[int, int, str]:
    """Combine key with a forger in the middle; return bits of key at both ends, those she has, and who refused."""
    forger = Forger(one, forges, {})
    one.middle = forger.middle
    try:
        made = await one.exchanges["a"].exchange("z", mode, BYTES, "" if mode == "kem" else "link")
    except (AuthenticationError, PeerRefused) as error:
        return 0, 0, error.message
    finally:
        one.middle = None
    held = [(one.blocks[end][made.exchange], forger.keys[made.exchange, end]) for end in SITES]
    return 8 * sum(len(real) for real, _ in held), 8 * sum(len(real) for real, hers in held if real == hers), ""


def _row(when: When, defended: bool, bits: int, known: int, refused: str, note: str) -> Row:
    return Row(
        f"broken-signature-{when}",
        defended,
        known / bits if bits else 0.0,
        bits,
        float(known),
        "broken" if known else "held" if bits else "refused",
        detected_after=1 if refused else None,
        unit="sessions",
        noticed_by=("authentication",) if refused else (),
        predicted=0.0 if defended else 1.0,
        note=note + (f": {refused}" if refused else ""),
    )


async def _before(defended: bool) -> Row:
    signed = BOTH if defended else (ECDSA_P256,)
    async with stage([SITES], signatures=signed) as one:
        await one.fill()
        found = await _session(one, "kem", [ECDSA_P256])
    return _row("before", defended, *found, f"signed with {' and '.join(signed)}; she forges {ECDSA_P256}")


async def _during(defended: bool) -> Row:
    async with stage([SITES]) as one:
        await one.fill()
        found = await _session(one, "catkdf" if defended else "kem", BOTH)
    what = "a QKD key in the combination, with one-time tags" if defended else "algorithms alone"
    return _row("during", defended, *found, f"{what}; she forges {' and '.join(BOTH)}")


async def _after() -> Row:
    async with stage([SITES]) as one:
        await one.fill()
        await one.exchanges["a"].exchange("z", "kem", BYTES)
        bits = 8 * BYTES
        await one.ready("a", "z", 256, f"kem:{one.exchanges['a'].suites.preferred}")
        (key,) = (await one.kmes["a"].enc_keys("sae-a", "sae-z", KeyRequest.model_validate({}))).keys
        later = Knowledge(one, {Atom("alg", name + SESSION) for name in BOTH})
        known = bits if later.knows(key, SITES) else 0
    return _row("after", True, bits, known, "", "she has all that was said, and every signature broken since")


def before(_seed: bytes, defended: bool, _strength: float) -> Row:
    """Forge the one kind of signature that was broken long ago; defended, there are two kinds."""
    return asyncio.run(_before(defended))


def during(_seed: bytes, defended: bool, _strength: float) -> Row:
    """Forge every signature while the session lasts; defended, a QKD key is in the combination."""
    return asyncio.run(_during(defended))


def after(_seed: bytes, defended: bool, _strength: float) -> Row | None:
    """Break every signature when the session is over: nothing has to stand against that."""
    return asyncio.run(_after()) if defended else None
