"""An old backup restored: keys that were used come back, and would be used twice.

In: stores of both ends, copied before keys were delivered.  Out: keys that come out a second time. Two messages under
one one-time pad give away their sum, so a key that comes twice counts as known. Undefended, somebody copied the files
of both ends and puts the copies back; defended, the backups are those of `noclone kms backup`, which hold no keys.
"""

from __future__ import annotations

import asyncio

from noclone.errors import NocloneError
from noclone.kms.keys import Refused
from noclone.kms.requests import KeyRequest
from noclone.kms.store import Store
from noclone.redteam.rows import Row
from noclone.redteam.stage import Stage, stage
from noclone.redteam.stolen_database import copy_of

NUMBER = 8
REQUEST = KeyRequest.model_validate({"number": NUMBER})


async def _take_back(one: Stage, defended: bool) -> str:
    """Put the older state of both ends back; return why that is not possible."""
    for node in one.nodes:
        await one.relays[node].close()
        await one.kmes[node].close()
        one.kmes[node].store.close()
    problem = ""
    for node in one.nodes:
        place = one.folder / f"{node}-restored.db"
        try:
            if defended:
                backup = one.folder / f"{node}.backup"
                Store.restore(place, backup, kek=one.keks[node], clock=one.clock).close()
            else:
                (one.folder / f"{node}-copy.db").rename(place)
                wal = one.folder / f"{node}-copy.db-wal"
                if wal.exists():
                    wal.rename(f"{place}-wal")
        except NocloneError as error:
            problem = error.message
            place = one.folder / f"{node}-empty.db"
        one.open(node, place)
    return problem


async def _trial(defended: bool) -> Row:
    async with stage([("a", "z")]) as one:
        await one.fill()
        for node in one.nodes:
            if defended:
                one.kmes[node].store.back_up(one.folder / f"{node}.backup")
            else:
                copy_of(one, node, one.folder / f"{node}-copy.db")
        first = [key.value for key in (await one.kmes["a"].enc_keys("sae-a", "sae-z", REQUEST)).keys]
        problem = await _take_back(one, defended)
        reason = ""
        try:
            again = [key.value for key in (await one.kmes["a"].enc_keys("sae-a", "sae-z", REQUEST)).keys]
        except Refused as refusal:
            again, reason = [], refusal.reason
        twice = len(set(first) & set(again))
        return Row(
            "restored-backup",
            defended,
            twice / NUMBER,
            256 * NUMBER,
            256.0 * twice,
            "broken" if twice else "held",
            detected_after=1 if reason else None,
            unit="requests",
            noticed_by=(reason,) if reason else (),
            note=problem or (f"{twice} of {NUMBER} keys came out twice" if twice else "no key came out twice"),
        )


def trial(_seed: bytes, defended: bool, _strength: float) -> Row:
    """Restore both ends to an older state."""
    return asyncio.run(_trial(defended))
